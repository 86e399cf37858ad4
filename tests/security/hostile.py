"""Model folders that mean harm, built where a test wants them, and texts that do.

`FOLDERS` maps "S3 what is wrong" to a builder and a piece of the error; the S number is that of
the checklist in docs/trust.md. Nothing here is larger on the disk than a few MB: what claims to be
huge is sparse.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.config.model_config import ModelConfig
from tinygpt.model.hf_weights import expected_shapes, to_hf
from tinygpt.tokenizers.char_byte import BYTE_LETTERS, CharTokenizer

CONFIG = ModelConfig(vocab_size=3, n_positions=8, n_embd=4, n_layer=1, n_head=2)
CANARY = "CANARY"
"""A file that a pickle of ours would make in the working folder, if anything of it ran."""

PAYLOADS = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "\x9b31mC1\x85\x00NUL\r\n\bback",
    "\u202eevil\u2066bidi\u2069\u200f",
    "\u2028line\u2029paragraph",
    "<script>alert(1)</script>",
    "</script><script>alert(2)//",
    "<!--<script>",
    "<img src=x onerror=alert(3)>",
    '"><svg/onload=alert(4)>',
    "' onmouseover='alert(5)",
    "javascript:alert(6)",
    "[click](javascript:alert(7))",
    "![x](https://evil.example/x.png)",
    "| a | b |\n|---|---|",
    "`code` **bold** # head",
    "[bold red]rich[/bold red][/]",
    "[link=https://evil.example]x[/link]",
    "{{ 7*7 }}{% raw %}",
    "=1+1",
    "@SUM(1)",
    "&lt;b&gt;&#60;i>",
    "%s%n{0}{x}",
    "../../../etc/passwd",
    "\ud800",
)
"""Texts that try to be obeyed: by a terminal, a browser, Markdown, rich, a template, a sheet."""


def write(folder: Path, name: str, data: Any) -> None:
    """Write a file of a folder: bytes, text, or JSON of anything else."""
    raw = data if isinstance(data, bytes | str) else json.dumps(data)
    (folder / name).write_bytes(raw.encode() if isinstance(raw, str) else raw)


def tensors(config: ModelConfig = CONFIG) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of a model as its file has them."""
    ours = {n: np.full(s, 0.1, np.float32) for n, s in expected_shapes(config).items()}
    return {name: np.ascontiguousarray(array) for name, array in to_hf(ours, config).items()}


def safetensors(header: Any, body: bytes = b"") -> bytes:
    """Return a safetensors file with any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def plain_parts(arrays: dict[str, np.ndarray[Any, Any]]) -> tuple[dict[str, Any], bytes]:
    """Return the header and the body of a file with these tensors."""
    header, body = {}, b""
    for name, array in arrays.items():
        dtype = {"float16": "F16", "float32": "F32", "float64": "F64"}[str(array.dtype)]
        places = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": places}
        body += array.tobytes()
    return header, body


def good(folder: Path) -> None:
    """Write a folder without fault."""
    folder.mkdir()
    write(folder, "config.json", CONFIG.to_dict())
    CharTokenizer.from_text("abc").save(folder, CONFIG.n_positions)
    write(folder, "model.safetensors", safetensors(*plain_parts(tensors())))


class Evil:
    """Makes the canary when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


# --- builders; each is given a folder that `good` has just written

Builder = Callable[[Path], None]


def _put(name: str, data: Any) -> Builder:
    return lambda folder: write(folder, name, data() if callable(data) else data)


def _config(**changes: Any) -> Builder:
    return _put("config.json", CONFIG.to_dict() | changes)


def _tokenizer(**changes: Any) -> Builder:
    def build(folder: Path) -> None:
        data = json.loads((folder / "tokenizer.json").read_bytes())
        model = data["model"] | changes.pop("model", {})
        write(folder, "tokenizer.json", data | {"model": model} | changes)

    return build


def _bpe(
    added: Iterable[Any] = (), merges: Any = (), letters: dict[str, int] = BYTE_LETTERS
) -> Builder:
    added = [{"content": text, "id": len(letters) + i} for i, text in enumerate(added)]
    step = {"type": "ByteLevel", "add_prefix_space": False}
    model = {"type": "BPE", "vocab": letters, "merges": list(merges)}
    steps = {"pre_tokenizer": step, "decoder": step, "added_tokens": added, "model": model}
    return _put("tokenizer.json", steps)


def _header(**more: Any) -> Builder:
    def build(folder: Path) -> None:
        header, body = plain_parts(tensors())
        write(folder, "model.safetensors", safetensors(header | more, body))

    return build


def _value(value: float, dtype: str = "float32") -> Builder:
    def build(folder: Path) -> None:
        arrays = {name: array.astype(dtype) for name, array in tensors().items()}
        arrays["transformer.h.0.mlp.c_fc.weight"][-1, -1] = value
        write(folder, "model.safetensors", safetensors(*plain_parts(arrays)))

    return build


def _sparse(name: str, size: int, start: bytes = b"") -> Builder:
    def build(folder: Path) -> None:
        write(folder, name, start)
        os.truncate(folder / name, size)

    return build


def _pickle(data: bytes) -> Builder:
    def build(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        write(folder, "pytorch_model.bin", data)

    return build


def _polyglot() -> bytes:
    """Return a pickle that is a zip archive too, with another pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
        archive.writestr("archive/version", "3")
    return pickle.dumps(Evil()) + buffer.getvalue()


def _pipe(name: str) -> Builder:
    def build(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return build


def _link(name: str, target: str) -> Builder:
    def build(folder: Path) -> None:
        (folder.parent / "outside").write_text("secret")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return build


def _index(names: Any) -> Builder:
    def build(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        data = names if isinstance(names, bytes) else {"weight_map": names}
        write(folder, "model.safetensors.index.json", data)

    return build


_EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
_ZERO = {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}
_DEEP = b"[" * 100_000
_SHAPE = b'{"a":{"dtype":"F32","shape":[0,%s],"data_offsets":[0,0]}}'
_REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
_MANY = {f"t{i}": i for i in range(100_000)}
_SETITEM = b"\x80\x02]q\x00(K\x01K\x02u."
_SETITEM_CLASS = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00K\x01K\x05s."
_NESTED = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."

PICKLES: dict[str, bytes] = {
    "os.system": pickle.dumps(Evil()),
    "nested": pickle.dumps({"wte.weight": [{"x": (1, [Evil()])}]}),
    "polyglot": _polyglot(),
    "SETITEM on a list": _SETITEM,
    "SETITEM on a function": _SETITEM_CLASS,
    "200,000 lists": _NESTED,
    "a length of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f",
    "nothing": b"",
}
"""Contents of a pytorch_model.bin: refused with and without --allow-pickle."""

FOLDERS: dict[str, tuple[Builder, str]] = {
    **{f"S2 pickle, {name}": (_pickle(data), "pickle") for name, data in PICKLES.items()},
    "S2 pickle called safetensors": (
        _put("model.safetensors", PICKLES["os.system"]),
        "not a safetensors file",
    ),
    "S3 header of 99 MB": (
        _sparse("model.safetensors", 99_000_100, struct.pack("<Q", 99_000_000) + b"{}"),
        "header has 99,000,000 bytes",
    ),
    "S3 header of 3.9 MB of spaces": (
        _sparse("model.safetensors", 3_900_100, struct.pack("<Q", 3_900_000) + b"{}"),
        "damaged",
    ),
    "S3 header of 2**63": (
        _put("model.safetensors", struct.pack("<Q", 2**63) + b"{}"),
        "not a safetensors file",
    ),
    "S3 header deep": (_put("model.safetensors", safetensors(_DEEP)), "nested too deeply"),
    "S3 tensor twice": (
        _put("model.safetensors", safetensors(b'{"a":{},"a":{}}')),
        "there twice",
    ),
    "S3 shape of 150,000 sizes": (
        _put("model.safetensors", safetensors(_SHAPE % b",".join([b"9" * 18] * 150_000))),
        "150,001 dimensions",
    ),
    "S3 sizes of 4,000 digits": (
        _put("model.safetensors", safetensors(_SHAPE % (b"9" * 4000))),
        "does not fit",
    ),
    "S3 no numbers, 2**62 wide": (_header(z=_ZERO), "does not fit"),
    "S3 no numbers, foreign": (_header(z=_EMPTY), "not part of a GPT-2"),
    "S3 name is a path": (_header(**{"../../etc/passwd": _EMPTY}), "not part of a GPT-2"),
    "S3 name of a megabyte": (_header(**{"x" * 2**20: _EMPTY}), "not part of a GPT-2"),
    "S3 name obeys": (_header(**{PAYLOADS[0]: _EMPTY}), "not part of a GPT-2"),
    "S3 mask of no layer": (_header(**{"h.7.attn.bias": _EMPTY}), "no place for"),
    "S3 overlap": (
        _header(z={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}),
        "overlap or leave a gap",
    ),
    "S3 trailing bytes": (
        lambda folder: write(
            folder, "model.safetensors", (folder / "model.safetensors").read_bytes() + b"x"
        ),
        "the file holds",
    ),
    "S3 dtype unknown": (_header(z=_EMPTY | {"dtype": "F8_E5M2" * 9}), "has dtype"),
    "S3 NaN": (_value(np.nan), "NaN, infinity"),
    "S3 infinity": (_value(-np.inf), "NaN, infinity"),
    "S3 NaN in half floats": (_value(np.nan, "float16"), "NaN, infinity"),
    "S3 too large for float32": (_value(1e300, "float64"), "too large for float32"),
    "S3 50 GB of nothing": (
        _sparse("model.safetensors", 50 * 10**9, safetensors({"wte.weight": _EMPTY})),
        "the file holds",
    ),
    "S4 config of 3 GB": (_sparse("config.json", 3 * 10**9, b"{"), "larger than"),
    "S4 config deep": (_put("config.json", _DEEP), "nested too deeply"),
    "S4 config of 10,000 keys": (
        _put("config.json", {f"k{i}": i for i in range(10_000)}),
        "10,000 keys",
    ),
    "S4 config key twice": (_put("config.json", '{"n_layer":1,"n_layer":2}'), "there twice"),
    "S4 model type of a megabyte": (_config(n_head="x" * 900_000), "n_head="),
    "S4 sizes of 4,000 digits": (_config(n_embd=10**4000), "tinygpt opens no more"),
    "S4 100 billion positions": (_config(n_positions=10**11), "tinygpt opens no more"),
    "S4 10 billion positions": (_config(n_positions=10**10), "has shape"),
    "S4 1,001 layers": (_config(n_layer=1001), "1,000 layers"),
    "S4 1,000 layers": (_config(n_layer=1000), "missing"),
    "S4 epsilon of 400 digits": (_config(layer_norm_epsilon=10**400), "finite number"),
    "S4 epsilon NaN": (_config(layer_norm_epsilon=float("nan")), "finite number"),
    "S4 generation config of 3 GB": (
        _sparse("generation_config.json", 3 * 10**9, b"{"),
        "larger than",
    ),
    "S4 generation config deep": (_put("generation_config.json", _DEEP), "nested too deeply"),
    "S4 50,000 stop strings": (
        _put("generation_config.json", {"stop_strings": ["x"] * 50_000}),
        "stop_strings holds 50,000",
    ),
    "S5 tokenizer of 3 GB": (_sparse("tokenizer.json", 3 * 10**9, b"{"), "larger than"),
    "S5 tokenizer config of 3 GB": (
        _sparse("tokenizer_config.json", 3 * 10**9, b"{"),
        "larger than",
    ),
    "S5 tokenizer deep": (_put("tokenizer.json", _DEEP), "nested too deeply"),
    "S5 vocabulary of 100,000 words": (_tokenizer(model={"vocab": _MANY}), "not one character"),
    "S5 regex of its own": (_tokenizer(pre_tokenizer=_REGEX), "pre_tokenizer.pattern"),
    "S5 regex in a sequence": (
        _tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [_REGEX]}),
        "pre_tokenizer.pattern",
    ),
    "S5 regex in the normalizer": (
        _tokenizer(normalizer={"type": "Replace", **_REGEX}),
        "normalizer",
    ),
    "S5 id twice": (_tokenizer(model={"vocab": {"a": 0, "b": 0, "c": 1}}), "no token has id 2"),
    "S5 id of 30 digits": (
        _tokenizer(model={"vocab": {"a": 0, "b": 1, "c": 10**30}}),
        "no token has id 2",
    ),
    "S5 token twice": (
        lambda folder: write(
            folder,
            "tokenizer.json",
            (folder / "tokenizer.json").read_bytes().replace(b'"a": 0', b'"a": 1, "a": 0'),
        ),
        "there twice",
    ),
    "S5 added token of no letters": (_bpe([""]), "0 characters"),
    "S5 added token of a megabyte": (_bpe(["x" * 2**20]), "characters"),
    "S5 5,000 added tokens": (_bpe([f"<{i}>" for i in range(5000)]), "5,000 added tokens"),
    "S5 added token twice": (_bpe(["<x>", "<x>"]), "there twice"),
    "S5 added token for a letter": (_bpe(["a"]), "no token has id 97"),
    "S5 half a surrogate pair": (_bpe(["\ud800"]), "surrogate"),
    "S5 100,000 merges": (_bpe(merges=["a b"] * 100_000), "100,000 merges"),
    "S5 merge twice": (
        _bpe(merges=["a b", "a b"], letters=BYTE_LETTERS | {"ab": 256}),
        "there twice",
    ),
    "S6 link out of the folder": (_link("config.json", "../outside"), "outside its folder"),
    "S6 link to /etc/passwd": (_link("generation_config.json", "/etc/passwd"), "outside"),
    "S6 link to a device": (_link("model.safetensors", "/dev/zero"), "no regular file"),
    "S6 link to itself": (_link("notes.txt", "notes.txt"), "which is not there"),
    "S6 index leaves the folder": (_index({"a": "../outside"}), "not the name of a file"),
    "S6 index is absolute": (_index({"a": "/etc/passwd"}), "not the name of a file"),
    "S6 index of NUL": (_index({"a": "x\0y"}), "not the name of a file"),
    "S6 index of a megabyte": (_index({"a": "../" + "x" * 2**20}), "not the name of a file"),
    "S6 index deep": (_index(_DEEP), "nested too deeply"),
    **{
        f"S6 {name} is a pipe": (_pipe(name), "no regular file")
        for name in (
            *("model.safetensors", "generation_config.json", "tokenizer_config.json"),
            *("training.json", "metrics.jsonl", "README.md"),
        )
    },
}
