"""`tinygpt lens MODEL [MODEL] --text FILE`: where each model is surprised, token by token."""

from pathlib import Path

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.limits import LENS_BYTES
from tinygpt.errors import ConfigError, TokenizerError

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("models", nargs=-1, required=True, metavar="MODEL [MODEL]", type=options.MODEL)
@click.option(
    "--text",
    "file",
    metavar="FILE",
    type=options.TEXTS,
    help="A UTF-8 text file or a named corpus; its first line (at most 256 bytes) is the unscored "
    "prefix.  [default: the held-out part of the first run's corpus, or python-docs]",
)
@click.option(
    "--bytes",
    "n_bytes",
    default=str(LENS_BYTES),
    show_default=True,
    metavar="N|all",
    callback=lambda ctx, param, value: shared_options.byte_count(value),
    help="How much of the text is scored and shown.",
)
@shared_options.options("context", "stride")
@click.option(
    "--unknown",
    type=click.Choice(["escape", "refuse"]),
    help="Characters that a character model lacks: pay for them by the escape code, or refuse.  "
    "[default: refuse with one model, escape with two]",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write one self-contained page: every token with its five likeliest alternatives.",
)
@shared_options.engine("engine", "precision", "device", "dtype", "threads", "allow_pickle")
@shared_options.options("json", "quiet")
def command(
    models: tuple[str, ...],
    file: str | None,
    n_bytes: int | None,
    context: int | None,
    stride: int | None,
    unknown: str | None,
    html: Path | None,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Colour a text by the bits that each character costs one MODEL, or two and their difference.

    A MODEL is a run folder, a Hugging Face folder or a hub name such as distilgpt2.
    """
    if len(models) > 2:
        raise ConfigError(f"the lens takes one or two models, not {len(models)}")
    from tinygpt.cli.progress import working
    from tinygpt.comparison.lens import look
    from tinygpt.evaluation.eval_texts import text_file
    from tinygpt.inference.load import load_with
    from tinygpt.report import to_terminal, write_html

    console.refuse_unwritable(html)
    text = None if file is None else text_file(file, n_bytes)
    opened = [load_with(name, engine_options.for_scoring()) for name in models]
    for lm in opened:
        for note in lm.notes:
            console.say(f"note: {note}", quiet=quiet)
    try:
        with working(quiet) as tell:
            lens = look(
                opened,
                text,
                n_bytes=n_bytes,
                context=context,
                stride=stride,
                escape_unknown=None if unknown is None else unknown == "escape",
                progress=tell,
            )
    except TokenizerError as error:
        if unknown is not None or opened[0].tokenizer.kind != "char":
            raise
        raise TokenizerError(
            f"{error}; or pay for it by an escape code: --unknown escape"
        ) from None
    if html is not None:
        write_html(lens, html)
        console.say(f"written: {html}", quiet=quiet)
    if as_json:
        console.json_document(lens.to_dict())
    else:
        console.show(to_terminal(lens))
    names = " ".join(console.word(name) for name in models)
    page = "" if html is not None else f"tinygpt lens {names} --html lens.html"
    console.next_commands(page or f"tinygpt compare {names}", quiet=quiet)
