"""From any model to a new Hugging Face model folder, or to one GGUF file.

A source is a checkpoint of nanoGPT or minGPT (nanogpt.py), or whatever the other verbs take: a run
folder, a model folder, a hub name. What is written appears in one rename or not at all.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.formats.hub import locate
from tinygpt.formats.model_folder import read_config, read_generation_config
from tinygpt.formats.nanogpt import read_checkpoint
from tinygpt.formats.weights import read_weights, write_safetensors
from tinygpt.model.hf_weights import from_hf, to_hf
from tinygpt.storage.files import write_file
from tinygpt.tokenizers.char_byte import Tokenizer
from tinygpt.tokenizers.padding import open_tokenizer

__all__ = ["Converted", "convert"]

_CHECKPOINTS = ("ckpt.pt", "model.pt")  # what nanoGPT and minGPT call theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What `convert` wrote."""

    path: Path
    """The new model folder or GGUF file."""
    kind: str
    """What the source was: "nanoGPT", "minGPT" or "model folder"."""
    config: ModelConfig
    files: tuple[Path, ...]
    """Everything written."""
    notes: tuple[str, ...]
    """One-line remarks for the user."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "config": self.config.to_dict(),
            "files": {str(path): path.stat().st_size for path in self.files},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Model:
    """A model read, in our terms."""

    kind: str
    config: ModelConfig
    generation_config: GenerationConfig
    state: Mapping[str, Any]
    tokenizer: Tokenizer
    notes: tuple[str, ...]


def convert(
    source: str,
    out: Path,
    *,
    meta: Path | None = None,
    text: Path | None = None,
    architecture: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
) -> Converted:
    """Write a model as a new Hugging Face model folder, or as a GGUF file if `out` ends so.

    Args:
        source: a nanoGPT or minGPT checkpoint (or the folder of one), or a model as `load` takes.
        meta, text, architecture: of such a checkpoint, as `nanogpt.read_checkpoint`.
        allow_pickle: the user trusts a source that is a pickle, as each such checkpoint is.

    Raises:
        CheckpointError: no such source, or files that do not make a model.
        ConfigError: `out` is there already, or an architecture that can't be written.
        MachineError: the hub, GPT-2's vocabulary or the disk failed.
    """
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already and is never overwritten; choose another --out")
    checkpoint = _checkpoint(source)
    given = {"meta": meta, "text": text, **(architecture or {})}
    named = [f"--{key.replace('_', '-')}" for key, value in given.items() if value is not None]
    if checkpoint is None and named:
        raise ConfigError(
            f"{named[0]} is for a checkpoint of nanoGPT or minGPT, and {source} is not one; leave "
            "it out"
        )
    if checkpoint is None:
        folder = locate(source, allow_pickle=allow_pickle).path
        if out.suffix == ".gguf":
            return _gguf(folder, out, "model folder", allow_pickle=allow_pickle)
        return _write(_open(folder, allow_pickle=allow_pickle), out)
    imported = read_checkpoint(
        checkpoint, allow_pickle=allow_pickle, meta=meta, text=text, architecture=architecture
    )
    eot_id = imported.tokenizer.eot_id
    model = _Model(
        kind=imported.kind,
        config=imported.config,
        generation_config=GenerationConfig(bos_token_id=eot_id, eos_token_id=eot_id),
        state=imported.state,
        tokenizer=imported.tokenizer,
        notes=imported.notes,
    )
    if out.suffix != ".gguf":
        return _write(model, out)
    with tempfile.TemporaryDirectory() as temporary:
        written = _write(model, Path(temporary, out.stem))
        try:
            return _gguf(written.path, out, model.kind, notes=model.notes)
        except ConfigError as error:  # names the folder in between, which nobody has seen
            raise ConfigError(str(error).replace(str(written.path), source)) from None


def _checkpoint(source: str) -> Path | None:
    """Return the foreign checkpoint that a source is or holds, or None."""
    path = Path(source)
    if path.is_file():
        if path.suffix in (".safetensors", ".bin", ".gguf"):
            raise CheckpointError(
                f"{path} is no checkpoint of nanoGPT or minGPT; give the folder that holds it "
                "beside its config.json"
            )
        return path
    if not path.is_dir() or any(path.glob("*.safetensors*")) or any(path.glob("*.bin")):
        return None
    return next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None)


def _open(folder: Path, *, allow_pickle: bool) -> _Model:
    config, notes = read_config(folder)
    tokenizer, more_notes = open_tokenizer(folder, config)
    tensors = read_weights(folder, allow_pickle=allow_pickle)
    return _Model(
        kind="model folder",
        config=config,
        generation_config=read_generation_config(folder, config),
        state=from_hf(tensors, config, str(folder)),
        tokenizer=tokenizer,
        notes=notes + more_notes,
    )


def _write(model: _Model, out: Path) -> Converted:
    """Write a model folder under a temporary name, and rename it when it is whole."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, data in (
            ("config.json", model.config.to_dict()),
            ("generation_config.json", model.generation_config.to_dict()),
        ):
            write_file(temporary / name, (json.dumps(data, indent=2) + "\n").encode())
        model.tokenizer.save(temporary, model.config.n_positions)
        write_safetensors(temporary / "model.safetensors", to_hf(model.state, model.config))
        temporary.rename(out)
    except MachineError:
        raise
    except OSError as error:
        raise MachineError(
            f"{out} can't be made: {error.strerror or error}; choose another --out"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Converted(
        path=out,
        kind=model.kind,
        config=model.config,
        files=tuple(sorted(out.iterdir())),
        notes=model.notes,
    )


def _gguf(
    folder: Path, out: Path, kind: str, *, notes: tuple[str, ...] = (), allow_pickle: bool = False
) -> Converted:
    from tinygpt.formats.gguf import write_gguf

    written = write_gguf(folder, out, allow_pickle=allow_pickle)
    config, _ = read_config(folder)
    return Converted(
        path=out,
        kind=kind,
        config=config,
        files=(written.path, written.modelfile),
        notes=notes + written.notes,
    )
