"""A training run shown from its first event to its end: what train, resume and demo share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tinygpt.cli import console
from tinygpt.cli.progress import duration, progress_for_training, working
from tinygpt.cli.signals import Stop, stoppable
from tinygpt.progress import Tell
from tinygpt.runs.events import Evaluated, Event, Resumed, Saved

__all__ = ["Followed", "follow"]


@dataclass(frozen=True, slots=True)
class Followed:
    """How a run ended."""

    saved: Saved
    """Its last save."""
    evaluated: Evaluated | None
    """Its final figures; None if it was interrupted."""
    exit_code: int
    """0, or 130 or 143 if a signal stopped it."""


def follow(
    begin: Callable[[Stop, Tell], Iterable[Event]],
    quiet: bool,
    announce: Callable[[], None] = lambda: None,
) -> Followed:
    """Run a training to its end, with its progress and its outcome on stderr.

    Args:
        begin: starts it, with the flag that Ctrl-C and SIGTERM set, and what shows how far a large
            text is encoded.
        quiet: show only how to go on after a signal.
        announce: says what is about to happen; called with the first event, when nothing that
            `begin` refuses is left.
    """
    saved: Saved | None = None
    final: Evaluated | None = None
    with stoppable() as stop:
        with working(quiet) as tell:

            def encoding(what: str, share: float) -> None:
                if stop():  # there is nothing to save yet
                    raise SystemExit(stop.exit_code)
                tell(what, share)

            events = begin(stop, encoding)
        for event in progress_for_training(_announced(events, announce), quiet):
            if isinstance(event, Saved):
                saved = event
                if event.note:
                    console.say(f"pace    {event.note}", quiet=quiet)
                if event.warning:
                    console.say(event.warning)
            elif isinstance(event, Evaluated) and event.final:
                final = event
            elif isinstance(event, Resumed):
                console.say(f"going on from step {event.step:,}", quiet=quiet)
                if event.warning:  # said even where nothing else is
                    console.say(event.warning)
    assert saved is not None  # the last event of every run
    if saved.reason == "interrupted":
        console.say(
            f"interrupted at step {saved.step:,} and saved; go on with: "
            f"tinygpt resume {console.word(str(saved.path))}"
        )
        return Followed(saved, None, stop.exit_code)
    if saved.reason == "early stopping":
        console.say(
            f"stopped early, at step {saved.step:,}: the monitor_loss no longer improved",
            quiet=quiet,
        )
    if final is not None and final.bits_per_byte is not None:
        bits = f"{final.bits_per_byte:.4f} bits per byte on the held-out text, 32 KiB at most"
        console.say(bits, quiet=quiet)
    console.say(f"done in {duration(saved.elapsed_s)}, saved in {saved.path}", quiet=quiet)
    return Followed(saved, final, 0)


def _announced(events: Iterable[Event], announce: Callable[[], None]) -> Iterator[Event]:
    for n, event in enumerate(events):
        if n == 0:
            announce()
        yield event
