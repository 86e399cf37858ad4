"""`tinygpt convert SOURCE --out DIR|NAME.gguf`: a model into a folder or file that others open."""

from pathlib import Path

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.model_config import ModelConfig

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("source", type=options.MODEL)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|NAME.gguf",
    help="The new model folder, or the new GGUF file.",
)
@click.option(
    "--meta",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="nanoGPT's meta.pkl, where it is not beside the checkpoint or its corpus.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The text a character model was trained on: its characters are the vocabulary.",
)
@options.add(ModelConfig, only=("n_head", "activation_function"), show_defaults=False)
@shared_options.options("allow_pickle", "json", "quiet")
def command(
    source: str,
    out: Path,
    meta: Path | None,
    text: Path | None,
    flags: options.Flags,
    allow_pickle: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write SOURCE as a Hugging Face model folder, or as a GGUF file for llama.cpp and ollama.

    SOURCE is a checkpoint of nanoGPT (ckpt.pt) or minGPT (model.pt), or any MODEL. The Model
    settings are for such a checkpoint, where it does not say them itself: minGPT's n_head, and
    gelu_new for an old nanoGPT whose model.py has new_gelu.
    """
    from tinygpt.formats.convert import convert

    converted = convert(
        source,
        out,
        meta=meta,
        text=text,
        architecture=flags[ModelConfig],
        allow_pickle=allow_pickle,
    )
    for note in converted.notes:
        console.say(note, quiet=quiet)
    if as_json:
        console.json_document({"source": source, **converted.to_dict()})
    for path in () if as_json else converted.files:
        console.data(f"{path}  {console.size(path.stat().st_size)}\n")
    word = console.word(str(out))
    if out.suffix == ".gguf":
        modelfile = console.word(str(out.with_suffix(".Modelfile")))
        following = [
            f"ollama create {console.word(out.stem)} -f {modelfile}",
            f"llama-completion -m {word} -no-cnv -p Once",
        ]
    else:
        following = [f"tinygpt sample {word}", f"tinygpt evaluate {word} --text python-docs"]
    console.next_commands(*following, quiet=quiet)
