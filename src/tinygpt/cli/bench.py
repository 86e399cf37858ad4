"""`tinygpt bench MODEL`: prefill and decode speed, memory, start-up of one model here."""

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import click

from tinygpt.cli import console, options
from tinygpt.errors import MachineError

if TYPE_CHECKING:
    from tinygpt.bench import Measured, Spread
    from tinygpt.language_model import LanguageModel

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("model", type=options.MODEL)
@options.common("device", "threads", "allow_pickle", "json", "quiet")
@click.pass_obj
def command(
    started_s: float,
    model: str,
    device: str,
    threads: int,
    allow_pickle: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time MODEL on this machine: how fast it reads and writes, what it holds, how soon it starts.

    The text is Python's own documentation, batch 1. A known model whose weights are not here is
    timed on random ones, and says so.
    """
    from tinygpt.bench import measure
    from tinygpt.cli.progress import working
    from tinygpt.language_model import LanguageModel
    from tinygpt.model_report import known_to_all, open_model
    from tinygpt.texts import python_docs

    def opened() -> LanguageModel:
        found = open_model(model, device=device, threads=threads, allow_pickle=allow_pickle)
        if not isinstance(found, LanguageModel):
            raise MachineError(found.missing_weights)
        return found

    lm = opened()
    start_up_s = time.monotonic() - started_s
    for note in lm.notes:
        console.say(note, quiet=quiet)
    text = known_to_all(python_docs().text[:4096], [lm.tokenizer])
    with working(quiet) as tell:
        tell(f"timing {lm.name}", 0.0)
        result = measure(lm, text, start_up_s=start_up_s, reopen=opened)
    if as_json:
        head = {"model": lm.name, "path": None if lm.path is None else str(lm.path)}
        head |= {"commit": lm.commit, "missing_weights": lm.missing_weights}
        console.json_document({**head, **dataclasses.asdict(result)})
    else:
        console.show(*_renderables(lm, result))
    console.next_commands(f"tinygpt inspect {console.word(model)}", quiet=quiet)


def _renderables(lm: "LanguageModel", m: "Measured") -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    speed = m.speed
    random = ", random weights" if speed.random_weights else ""
    rows = {
        "prefill": f"{_spread(speed.prefill_bytes_per_s)} bytes/s, "
        f"{speed.prefill_tok_per_s.median:,.0f} tokens/s",
        "decode": f"{_spread(speed.decode_bytes_per_s)} bytes/s, "
        f"{speed.decode_tok_per_s.median:,.0f} tokens/s",
        "text": f"a prompt of {speed.prompt_bytes:,} bytes ({speed.prompt_tokens:,} tokens), then "
        f"{speed.decoded_bytes:,} bytes ({speed.decoded_tokens:,} tokens) one by one",
        "start-up": f"{m.start_up_s:.2f} s from the start of the process to the model"
        f"{random or ', opened'}",
        "load": "no weights to open"
        if m.load_s is None
        else f"{m.load_s.median:.3f} s ({m.load_s.min:.3f} to {m.load_s.max:.3f})",
        "peak memory": _memory(m),
        "measured with": f"{speed.engine}, {speed.device}, {speed.precision}, {speed.threads} "
        f"threads{random}; medians of {speed.prefill_bytes_per_s.n} rounds and their range",
    }
    if lm.missing_weights is not None:
        rows["weights"] = lm.missing_weights
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(console.printable(value)))
    return [Text(console.printable(lm.name), style="bold"), table]


def _memory(m: "Measured") -> str:
    held = [] if m.peak_memory_bytes is None else [f"{console.size(m.peak_memory_bytes)} (process)"]
    if m.peak_device_bytes is not None:
        held.append(f"{console.size(m.peak_device_bytes)} (device)")
    cache = f"KV cache of a full context {console.size(m.kv_cache_bytes)}"
    known = f"weights {console.size(m.weights_bytes)}, {cache}"
    return f"{', '.join(held) or 'unknown here'}; by the config {known}"


def _spread(s: "Spread") -> str:
    return f"{s.median:,.0f} ({s.min:,.0f} to {s.max:,.0f})"
