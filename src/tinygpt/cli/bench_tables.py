"""What `tinygpt bench` shows of its document: one engine in full, then all of them in a table."""

from typing import Any

from rich.table import Table
from rich.text import Text

from tinygpt.cli import console

__all__ = ["renderables"]


def renderables(document: dict[str, Any]) -> list[Any]:
    """Return what to print of a document of `tinygpt bench --json`."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(document).items():
        table.add_row(name, Text(console.printable(value)))
    head = Text(console.printable(document["model"]), style="bold")
    return [head, table, *([""] if document["others"] else []), *_engines(document)]


def _rows(d: dict[str, Any]) -> dict[str, str]:
    speed = d["speed"]
    random = ", random weights" if speed["random_weights"] else ""
    rows = {
        "prefill": _speed(speed, "prefill"),
        "decode": _speed(speed, "decode"),
        "text": f"a prompt of {speed['prompt_bytes']:,} bytes ({speed['prompt_tokens']:,} tokens), "
        f"then {speed['decoded_bytes']:,} bytes ({speed['decoded_tokens']:,} tokens) one by one",
        "writing": ", ".join(
            f"{_spread(w['tok_per_s'])} tokens/s in a batch of {w['batch_size']}"
            for w in d["writing"]
        ),
        "memory limit": _limit(d),
        "start-up": f"{d['start_up_s']:.2f} s from the start of the process to the model"
        f"{random or ', opened'}",
        "load": "no weights to open" if d["load_s"] is None else _load(d["load_s"]),
        "peak memory": _memory(d),
        "quality": _quality(d),
        "measured with": f"{speed['engine']}, {speed['device']}, {speed['precision']}, "
        f"{speed['threads']} threads{random}; medians of {speed['prefill_bytes_per_s']['n']} "
        "rounds and their range",
        "engine": d["engine"],
    }
    if d["missing_weights"] is not None:
        rows["weights"] = d["missing_weights"]
    return rows


def _engines(d: dict[str, Any]) -> list[Any]:
    """Return a table of all engines and precisions, and why one is not in it."""
    if not d["others"]:
        return []
    columns = ["precision", "decode, tokens/s", "bytes/s", "batch of 8", "prefill", "peak memory"]
    columns += ["start-up", "bits per byte", "difference"]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=not i)
    measured = [one for one in [d, *d["others"]] if "error" not in one]
    exact = next((one for one in measured if one["speed"]["engine"] == "torch"), None)
    for one in measured:
        table.add_row(*_line(one, exact))
    lines = [
        Text(console.printable(f"{one['engine']}: not measured: {one['error']}"))
        for one in d["others"]
        if "error" in one
    ]
    note = "tokens/s, but where bytes are named; difference: from torch float32, bits per byte"
    return [table, *lines, Text(note, style="dim")]


def _line(d: dict[str, Any], reference: dict[str, Any] | None) -> list[str]:
    speed, bits = d["speed"], _bits(d)
    known = None if reference is None else _bits(reference)
    peak = d["peak_memory_bytes"]
    return [
        f"{speed['engine']} {speed['precision']}",
        f"{speed['decode_tok_per_s']['median']:,.0f}",
        f"{speed['decode_bytes_per_s']['median']:,.0f}",
        f"{d['writing'][-1]['tok_per_s']['median']:,.0f}",
        f"{speed['prefill_tok_per_s']['median']:,.0f}",
        "-" if peak is None else console.size(peak),
        f"{d['start_up_s']:.2f} s",
        "-" if bits is None else f"{bits:.4f}",
        "-" if bits is None or known is None else f"{round(bits - known, 5) + 0.0:+.5f}",
    ]


def _bits(d: dict[str, Any]) -> float | None:
    return None if d["evaluation"] is None else d["evaluation"]["bits_per_byte"]


def _quality(d: dict[str, Any]) -> str:
    e = d["evaluation"]
    if e is None:
        return "not of random weights"
    return f"{e['bits_per_byte']:.4f} bits per byte on {e['n_bytes']:,} bytes of python-docs"


def _limit(d: dict[str, Any]) -> str:
    if d["read_bytes_per_s"] is None:
        return "not known here"
    limit = d["read_bytes_per_s"] / d["step_bytes"]
    return (
        f"{console.size(d['step_bytes'])} a token at {console.size(d['read_bytes_per_s'])}/s: "
        f"{limit:,.0f} tokens/s; decode is {d['memory_share']:.0%} of it"
    )


def _memory(d: dict[str, Any]) -> str:
    held = []
    if d["peak_memory_bytes"] is not None:
        held.append(f"{console.size(d['peak_memory_bytes'])} (process)")
    if d["peak_device_bytes"] is not None:
        held.append(f"{console.size(d['peak_device_bytes'])} (device)")
    cache = "unknown" if d["kv_cache_bytes"] is None else console.size(d["kv_cache_bytes"])
    known = f"weights {console.size(d['weights_bytes'])}, KV cache of a full context {cache}"
    return f"{', '.join(held) or 'unknown here'}; by the config {known}"


def _speed(speed: dict[str, Any], what: str) -> str:
    in_bytes, in_tokens = speed[f"{what}_bytes_per_s"], speed[f"{what}_tok_per_s"]
    return f"{_spread(in_bytes)} bytes/s, {in_tokens['median']:,.0f} tokens/s"


def _load(s: dict[str, Any]) -> str:
    return f"{s['median']:.3f} s ({s['min']:.3f} to {s['max']:.3f})"


def _spread(s: dict[str, Any]) -> str:
    return f"{s['median']:,.0f} ({s['min']:,.0f} to {s['max']:,.0f})"
