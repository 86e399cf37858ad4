"""`tinygpt sample MODEL [PROMPT|-]`: write text with a model, as it comes.

stdout gets the continuation alone; where a person looks on, the prompt is shown before it. Several
samples are drawn together: the first is shown as it comes, the others when their turn has come.
"""

import itertools
import os
import stat
import sys
from collections.abc import Iterator

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.errors import ConfigError, DataError

__all__ = ["command"]

MAX_PROMPT_BYTES = 16 * 2**20
"""Of a prompt on stdin: far more than any context holds."""


@click.command(cls=options.Verb)
@click.argument("model", type=options.MODEL)
@click.argument("prompt", required=False)
@click.option(
    "--seed",
    type=click.INT,
    metavar="INT",
    default=0,
    show_default=True,
    help="The same seed gives the same text on the same machine.",
)
@click.option(
    "--num-samples",
    type=click.INT,
    metavar="INT",
    default=1,
    show_default=True,
    help="How many texts to write; they are drawn together, which is faster.",
)
@click.option(
    "--truncate-prompt",
    is_flag=True,
    help="Keep the end of a prompt that is longer than the model's context, and say so.",
)
@options.add(GenerationConfig, without=("bos_token_id", "eos_token_id"), show_defaults=False)
@shared_options.engine("engine", "precision", "device", "dtype", "threads", "allow_pickle")
@shared_options.options("json", "quiet")
def command(
    model: str,
    prompt: str | None,
    flags: options.Flags,
    seed: int,
    num_samples: int,
    truncate_prompt: bool,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write text with MODEL: a continuation of PROMPT (- reads it from stdin, exactly as it is).

    Without PROMPT a new text is started, and stdin is not read. Settings that are not given come
    from the model's generation_config.json.
    """
    if num_samples < 1:
        raise ConfigError(f"num_samples={num_samples} is not allowed: at least 1")
    GenerationConfig(**flags[GenerationConfig])  # refuses a wrong value before a model is opened
    text = _from_stdin(quiet) if prompt == "-" else prompt or ""
    if prompt is None and _is_piped():
        console.say("stdin is not read: give - as PROMPT to continue what it holds", quiet=quiet)
    from tinygpt.inference.load import load_with

    lm = load_with(model, engine_options)
    for note in lm.notes:
        console.say(note, quiet=quiet)
    n_cut = 0
    if truncate_prompt:
        n_cut = max(0, len(lm.tokenizer.encode(text)) - lm.config.n_positions)
    if n_cut:
        console.say(
            f"the prompt is too long: its first {n_cut:,} tokens are left out, the last "
            f"{lm.config.n_positions:,} are kept",
            quiet=quiet,
        )
    pieces = lm.stream_batch(
        [text] * num_samples,
        seed=seed,
        truncate_prompt=truncate_prompt,
        **flags[GenerationConfig],
    )
    first = next(pieces)  # a prompt that is refused raises here, before anything is said
    console.say(f"engine: {lm.engine}", quiet=quiet)
    pieces = itertools.chain([first], pieces)
    if as_json:
        console.json_document(
            {
                "model": lm.name,
                "engine": str(lm.engine),
                "prompt": text,
                "n_prompt_tokens_cut": n_cut,
                "samples": _samples(pieces, num_samples, seed),
            }
        )
    else:
        _write(pieces, text, num_samples, seed, quiet)
    console.next_commands(f"tinygpt evaluate {console.word(model)} --text python-docs", quiet=quiet)


def _samples(
    pieces: Iterator[tuple[int, str | None]], n: int, seed: int
) -> list[dict[str, str | int]]:
    texts = [""] * n
    for index, piece in pieces:
        texts[index] += piece or ""
    return [
        {"text": text, "seed": seed, "sample_index": index, "n_characters": len(text)}
        for index, text in enumerate(texts)
    ]


def _write(
    pieces: Iterator[tuple[int, str | None]], prompt: str, n: int, seed: int, quiet: bool
) -> None:
    """Write the texts to stdout in order, the first unfinished one as it comes.

    A person sees the prompt before each; on stderr, because it is not the model's text.
    """
    seen = not quiet and console.is_live(sys.stdout) and console.is_live(sys.stderr)
    held, ended, turn = [""] * n, [False] * n, -1
    for index, piece in pieces:
        held[index] += piece or ""
        ended[index] |= piece is None
        while turn < 0 or (turn < n and ended[turn]):
            if turn >= 0:
                console.data(f"{held[turn]}\n")
            turn += 1
            if turn < n and n > 1:
                console.data(f"--- sample {turn + 1} (seed {seed}) ---\n")
            if turn < n and seen:
                console.emphasise(prompt)
        if turn < n:
            console.data(held[turn])
            held[turn] = ""


def _is_piped() -> bool:
    """Tell whether stdin is a pipe or a file, which may hold a text meant for us."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # there is no stdin, or not a real one
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _from_stdin(quiet: bool) -> str:
    """Read the prompt as it is, the newline at its end included."""
    if sys.stdin.isatty():
        console.say("type the prompt; Ctrl-D on a line of its own ends it", quiet=quiet)
    data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise DataError(
            f"the prompt on stdin is longer than {MAX_PROMPT_BYTES:,} bytes; give its end, which "
            "is all that fits into a context: `tail -c 10000 FILE | tinygpt sample MODEL -`"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"the prompt on stdin is not UTF-8: byte 0x{data[error.start]:02x} at offset "
            f"{error.start:,}; convert it to UTF-8"
        ) from None
