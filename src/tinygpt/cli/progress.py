"""Progress on stderr: a moving bar on a terminal, a plain line now and then anywhere else.

The events of a training run pass through, so that the verb that shows them can use them too. Clocks
are not read here: a step says how long the run has taken.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from tinygpt.cli import console
from tinygpt.runs.events import Evaluated, Sampled, Step

if TYPE_CHECKING:
    from tinygpt.ladder.climb import At

__all__ = ["climbing", "duration", "progress_for_training", "working"]

LINE_EVERY_S = 10.0
"""Seconds of a run between two plain lines."""

DRAW_EVERY_S = 0.1
"""Seconds of a run between two changes of the bar; a fast run has hundreds of steps a second."""

E = TypeVar("E")


def progress_for_training(events: Iterable[E], quiet: bool = False) -> Iterator[E]:
    """Show a run's events on stderr while they come, and pass them on.

    Each `Evaluated` leaves a line; each `Step` moves the bar, or where there is no terminal leaves
    a line every ten seconds of the run.
    """
    live = console.is_live(sys.stderr) and not quiet
    every_s = DRAW_EVERY_S if live else LINE_EVERY_S
    shown_s = float("-inf")
    with _bar(live) as move:
        for event in events:
            due = isinstance(event, Step) and event.elapsed_s - shown_s >= every_s
            if isinstance(event, Step) and (due or (live and event.last)):
                shown_s = event.elapsed_s
                if live and event.last:  # what is left can take long, and no event comes
                    move(f"step {event.step:,}  evaluating", 1.0)
                elif live:
                    move(_step_text(event), event.progress)
                else:
                    console.say(f"{event.progress:4.0%}  {_step_text(event)}", quiet=quiet)
            elif isinstance(event, Evaluated):
                console.say(_evaluated_text(event), quiet=quiet)
                if event.warning:
                    console.say(event.warning, quiet=quiet)
            elif isinstance(event, Sampled):
                for line in _sampled_lines(event):
                    console.say(line, quiet=quiet)
            yield event


@contextmanager
def working(quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """Show how far some other work is: call what it gives with (what, share 0 to 1)."""
    live = console.is_live(sys.stderr) and not quiet
    said = ""

    def tell(what: str, share: float) -> None:
        nonlocal said
        if live:
            move(what, share)
        elif what != said:
            said = what
            console.say(f"{what} ...", quiet=quiet)

    with _bar(live, TimeRemainingColumn()) as move:
        yield tell


@contextmanager
def climbing(quiet: bool = False) -> Iterator[Callable[["At"], None]]:
    """Show where the work on a ladder is; plain lines at the start and half way."""
    live = console.is_live(sys.stderr) and not quiet
    said: tuple[int, str, int] | None = None

    def tell(at: "At") -> None:
        nonlocal said
        left = "" if not at.left_s else f", about {duration(at.left_s)} left"
        text = f"rung {at.rung} of {at.n_rungs}, {at.name}: {at.doing}"
        now = (at.rung, at.doing, int(2 * min(at.share, 0.99)))
        if live:
            move(f"{text}{left}", at.share)
        elif now != said:
            said = now
            console.say(f"{text}, {at.share:.0%}{left}", quiet=quiet)

    with _bar(live) as move:
        yield tell


def duration(seconds: float) -> str:
    """Write a time as 45s, 3m20s or 2h05m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


@contextmanager
def _bar(live: bool, *more: ProgressColumn) -> Iterator[Callable[[str, float], None]]:
    if not live:
        yield lambda what, share: None
        return
    columns: tuple[Any, ...] = (
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.description}", markup=False),
        *more,
    )
    bar = Progress(
        *columns,
        console=console.rich_console(sys.stderr),
        transient=True,
        expand=True,
        refresh_per_second=5,
    )
    task = bar.add_task("", total=1.0, visible=False)
    with bar:
        yield lambda what, share: bar.update(
            task, description=console.printable(what), completed=share, visible=True
        )


def _step_text(step: Step) -> str:
    return (
        f"step {step.step:,}  loss {step.loss:.3f} nats  {step.train_bits_per_byte:.3f} bits/byte  "
        f"{_rate(step.bytes_per_s)}  {duration(step.eta_s)} left"
    )


def _evaluated_text(e: Evaluated) -> str:
    scored = "all" if e.n_tokens == e.n_total else f"{e.n_tokens:,} of"
    text = (
        f"step {e.step:,}  val_loss {e.val_loss:.4f} nats/token "
        f"({scored} {e.n_total:,} held-out tokens)"
    )
    if e.monitor_loss is not None:
        text += f"  monitor_loss {e.monitor_loss:.4f}"
    return text if e.kept_step is None else f"{text}  with the weights of step {e.kept_step:,}"


def _sampled_lines(sample: Sampled) -> list[str]:
    """Show a sample behind a rule, so that it can't be taken for ours."""
    text = (sample.prompt + sample.text).strip("\n")
    return [f"sample at step {sample.step:,}:", *(f"  | {line}" for line in text.split("\n"))]


def _rate(bytes_per_s: float) -> str:
    if bytes_per_s >= 1e6:
        return f"{bytes_per_s / 1e6:.1f} MB/s"
    return f"{bytes_per_s / 1e3:.0f} kB/s"
