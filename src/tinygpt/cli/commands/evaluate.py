"""`tinygpt evaluate MODEL --text FILE`: bits per byte, perplexity, loss by position."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import ConfigError, TokenizerError

if TYPE_CHECKING:
    from tinygpt.evaluation.eval_texts import Text
    from tinygpt.evaluation.result import Evaluation
    from tinygpt.inference.language_model import LanguageModel

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("model", type=options.MODEL)
@click.option(
    "--text",
    "file",
    metavar="FILE",
    type=options.TEXTS,
    help="A UTF-8 text file, a folder of them, or a named corpus. Without it: the held-out part of "
    "a run's corpus.",
)
@shared_options.options("bytes")
@shared_options.options("context", "stride")
@click.option(
    "--unknown",
    type=click.Choice(["refuse", "escape"]),
    default="refuse",
    show_default=True,
    help="Characters that a character model lacks: an error, or paid for by an escape code.",
)
@shared_options.engine("engine", "precision", "device", "dtype", "threads", "allow_pickle")
@shared_options.options("json", "quiet")
def command(
    model: str,
    file: str | None,
    n_bytes: int | None,
    context: int | None,
    stride: int | None,
    unknown: str,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score a text with MODEL: bits per byte of the original text, perplexity, loss by position.

    The first line of a text of your own (at most 256 bytes) is shown to the model and not scored.
    """
    from tinygpt.cli.progress import working
    from tinygpt.evaluation.eval_texts import text_file
    from tinygpt.inference.load import load_with

    text = None if file is None else text_file(file, n_bytes)
    lm = load_with(model, engine_options.for_scoring())
    for note in lm.notes:
        console.say(note, quiet=quiet)
    if text is None:
        text = _held_out(lm, n_bytes)
    escape = _escape(lm) if unknown == "escape" else None
    try:
        with working(quiet) as tell:
            result = lm.evaluate(
                text.text,
                prefix=text.prefix,
                context=context,
                stride=stride,
                escape=escape,
                progress=lambda share: tell(f"{lm.name} on {text.name}", share),
            )
    except TokenizerError as error:
        if escape is not None or lm.tokenizer.kind != "char":
            raise
        raise TokenizerError(
            f"{error}; or pay for it by an escape code: --unknown escape"
        ) from None
    if as_json:
        console.json_document(_document(lm, text, result))
    else:
        console.show(*_renderables(lm, text, result))
    console.next_commands(f"tinygpt compare {console.word(model)} distilgpt2", quiet=quiet)


def _held_out(lm: "LanguageModel", n_bytes: int | None) -> "Text":
    from tinygpt.evaluation.eval_texts import held_out_text

    if lm.path is None or not (lm.path / "training.json").is_file():
        raise ConfigError(
            f"{lm.name} is not a run of tinygpt, so it has no held-out text; "
            "give a text with --text FILE"
        )
    return held_out_text(lm.path, n_bytes)


def _escape(lm: "LanguageModel") -> float | None:
    if lm.escape is None and lm.tokenizer.kind == "char":
        raise ConfigError(
            f"{lm.name}: its training.json does not say how many characters it was trained on, "
            "so the escape code has no price; use --unknown refuse"
        )
    return lm.escape


def _document(lm: "LanguageModel", text: "Text", result: "Evaluation") -> dict[str, Any]:
    return {
        "model": lm.name,
        "path": None if lm.path is None else str(lm.path),
        "commit": lm.commit,
        "text": {"name": text.name, "source": text.described},
        **dataclasses.asdict(result),
    }


def _renderables(lm: "LanguageModel", text: "Text", e: "Evaluation") -> list[Any]:
    from rich.table import Table
    from rich.text import Text as Line

    prefix = f"{e.prefix_bytes:,} bytes, not scored" if not e.start else f"none: after {e.start}"
    rows = {
        "bits per byte": f"{e.bits_per_byte:.4f}",
        "loss": f"{e.loss:.4f} nats per token",
        "perplexity": f"{e.perplexity:,.3f} per token (comparable only with the same vocabulary)",
        "scored": f"{e.n_bytes:,} bytes, {e.n_characters:,} characters, {e.n_tokens:,} tokens",
        "text": f"{text.name}: {text.described}",
        "sha256": e.sha256,
        "context": f"{e.context:,} tokens, stride {e.stride:,}",
        "prefix": prefix,
        "scored by": e.engine,
    }
    if e.n_unknown:
        share = e.unknown_nats / e.total_nats
        rows["unknown"] = f"{e.n_unknown:,} characters, {share:.1%} of the bits (escape code)"
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for i, (name, value) in enumerate(rows.items()):
        facts.add_row(name, Line(console.printable(value), style="" if i else "bold"))
    head = Line(console.printable(lm.name), style="bold")
    return [head, facts, "", _position_table(e)]


def _position_table(e: "Evaluation") -> Any:
    from rich.table import Table

    known = [loss for loss in e.loss_by_position if loss is not None]
    table = Table(title="Loss by position", title_justify="left", title_style="bold")
    table.add_column("tokens of context", justify="right", no_wrap=True)
    table.add_column("nats per token", justify="right", no_wrap=True)
    table.add_column("")
    for i, loss in enumerate(e.loss_by_position):
        first = math.ceil(i * e.context / 8) + 1
        last = math.ceil((i + 1) * e.context / 8)
        if loss is not None:
            bar = "█" * round(24 * loss / max(known)) if max(known) > 0 else ""
            table.add_row(f"{first:,} to {last:,}", f"{loss:.4f}", bar)
    if e.loss_by_position[0] is None:
        table.caption = f"with --stride {e.context} there are targets with little context too"
        table.caption_justify = "left"
    return table
