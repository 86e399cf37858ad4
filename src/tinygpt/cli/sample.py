"""`tinygpt sample MODEL [PROMPT|-]`: write text with a model, as it comes.

stdout gets the continuation alone; where a person looks on, the prompt is shown before it.
"""

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import click

from tinygpt.cli import console, options
from tinygpt.errors import ConfigError, DataError
from tinygpt.run_config import GenerationConfig

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("model")
@click.argument("prompt", default="")
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
    help="How many texts to write.",
)
@click.option(
    "--truncate-prompt",
    is_flag=True,
    help="Keep the end of a prompt that is longer than the model's context.",
)
@options.add(GenerationConfig, without=("bos_token_id", "eos_token_id"), show_defaults=False)
@options.common("device", "dtype", "threads", "allow_pickle", "json", "quiet")
def command(
    model: str,
    prompt: str,
    flags: options.Flags,
    seed: int,
    num_samples: int,
    truncate_prompt: bool,
    device: str,
    dtype: str,
    threads: int,
    allow_pickle: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write text with MODEL: a continuation of PROMPT (- reads it from stdin; none starts a text).

    Settings that are not given come from the model's generation_config.json.
    """
    if num_samples < 1:
        raise ConfigError(f"num_samples={num_samples} is not allowed: at least 1")
    GenerationConfig(**flags[GenerationConfig])  # refuses a wrong value before a model is opened
    text = _from_stdin() if prompt == "-" else prompt
    from tinygpt.language_model import load

    lm = load(model, device=device, dtype=dtype, threads=threads, allow_pickle=allow_pickle)
    for note in lm.notes:
        console.say(note, quiet=quiet)
    samples: list[dict[str, Any]] = []
    for index in range(num_samples):
        if num_samples > 1 and not as_json:
            console.data(f"--- sample {index + 1} (seed {seed}) ---\n")
        pieces = lm.stream(
            text,
            seed=seed,
            sample_index=index,
            truncate_prompt=truncate_prompt,
            **flags[GenerationConfig],
        )
        whole = "".join(pieces) if as_json else _write(pieces, text, quiet)
        samples.append(
            {"text": whole, "seed": seed, "sample_index": index, "n_characters": len(whole)}
        )
    if as_json:
        console.json_document({"model": lm.name, "prompt": text, "samples": samples})
    console.next_commands(f"tinygpt evaluate {console.word(model)} --text FILE", quiet=quiet)


def _write(pieces: Iterator[str], prompt: str, quiet: bool) -> str:
    """Write the pieces to stdout as they come, and return them joined.

    A person sees the prompt before them; on stderr, because it is not the model's text.
    """
    seen = not quiet and console.is_live(sys.stdout) and console.is_live(sys.stderr)
    first = next(pieces, "")  # a prompt that is refused is not shown
    if seen:
        console.emphasise(prompt)
    whole = ""
    for piece in itertools.chain((first,), pieces):
        console.data(piece)
        whole += piece
    console.data("\n")
    return whole


def _from_stdin() -> str:
    """Read the prompt as it is, the newline at its end included."""
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"the prompt on stdin is not UTF-8: byte 0x{data[error.start]:02x} at offset "
            f"{error.start:,}; convert it to UTF-8"
        ) from None
