"""Malformed inputs, each with its one line on stderr and its exit code (2 user, 1 machine).

Each case builds its input in an empty working folder; `good` is a model without fault. A message
that ends in an ellipsis goes on with what is listed, or with words of the system or of Python.
"""

import gzip
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygpt.cli.main import main
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.schema import to_dict
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.formats.weights import write_safetensors
from tinygpt.model.hf_weights import expected_shapes, to_hf

CONFIG = ModelConfig(vocab_size=3, n_positions=8, n_embd=4, n_layer=1, n_head=2)
RECIPE = {
    "train": to_dict(TrainConfig(max_steps=2)),
    "optim": to_dict(OptimConfig()),
    "corpus": to_dict(CorpusConfig(corpus="t.txt")),
    "tokenizer": to_dict(TokenizerConfig()),
}
S = "good/model.safetensors"
DEEP = "[" * 100_000


def nothing() -> None:
    """Leave the folder empty."""


def write(name: str, data: str | bytes | dict[str, Any]) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data) if isinstance(data, dict) else data
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def text() -> None:
    write("t.txt", "abcacb\n" * 400)


def tokenizer(**changes: Any) -> dict[str, Any]:
    """Return the tokenizer.json of the good folder, with changes to its `model`."""
    data: dict[str, Any] = json.loads(Path("good/tokenizer.json").read_text("utf-8"))
    return data | {"model": data["model"] | changes}


def weights() -> dict[str, Any]:
    shapes = expected_shapes(CONFIG)
    ours = {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}
    return to_hf(ours, CONFIG)


def good() -> None:
    """Write a model folder without fault."""
    from tinygpt.tokenizers.char_byte import CharTokenizer

    write("good/config.json", CONFIG.to_dict())
    CharTokenizer.from_text("abc").save(Path("good"), CONFIG.n_positions)
    write_safetensors(Path(S), weights())


def config(data: str | bytes | dict[str, Any] = "", **changes: Any) -> Callable[[], None]:
    """Give the good folder another config.json, or other values in it."""
    return file("good/config.json", CONFIG.to_dict() | changes if changes else data)


def file(name: str, data: str | bytes | dict[str, Any]) -> Callable[[], None]:
    """Write one more file beside or into the good folder."""

    def build() -> None:
        good()
        write(name, data)

    return build


def header(content: object, body: bytes = b"") -> bytes:
    """Return a safetensors file with any header; a text is taken as it is."""
    raw = (content if isinstance(content, str) else json.dumps(content)).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def fewer() -> None:
    good()
    kept = {name: array for name, array in weights().items() if "ln_f" not in name}
    write_safetensors(Path(S), kept)


def merges(line: str) -> None:
    good()
    os.remove("good/tokenizer.json")
    write("good/vocab.json", {"a": 0, "b": 1, "c": 2})
    write("good/merges.txt", f"#version: 0.2\n{line}\n")


def linked() -> None:
    good()
    os.remove("good/config.json")
    write("secret.json", "{}")
    os.symlink("../secret.json", "good/config.json")


def dangling() -> None:
    good()
    os.remove(S)
    os.symlink("gone", S)


CASES: list[tuple[str, Callable[[], Any], str | list[str], int, str]] = [
    ("no verb", nothing, "trian", 2, 'there is no verb "trian"; did you mean "train"? …'),
    (
        "unknown option",
        nothing,
        "sample good --temprature 1",
        2,
        (
            'there is no option "--temprature"; did you mean "--temperature"? (help: tinygpt '
            "sample --help)"
        ),
    ),
    (
        "option of no number",
        nothing,
        "train --n-layer two",
        2,
        "invalid value for '--n-layer': 'two' is not a valid integer …",
    ),
    (
        "missing argument",
        nothing,
        "sample",
        2,
        "missing argument 'MODEL' (help: tinygpt sample --help)",
    ),
    (
        "too many arguments",
        nothing,
        "sample good a b c",
        2,
        (
            "got unexpected extra arguments (b c); quote the prompt: tinygpt sample good 'a b c' "
            "(help: tinygpt sample --help)"
        ),
    ),
    (
        "option without value",
        nothing,
        "sample good --top-k",
        2,
        "option '--top-k' requires an argument …",
    ),
    (
        "bytes 0",
        good,
        "evaluate good --text t.txt --bytes 0",
        2,
        'bytes="0" is not allowed: a number of 1 or more, or all',
    ),
    (
        "bytes negative",
        good,
        "evaluate good --text t.txt --bytes -5",
        2,
        'bytes="-5" is not allowed: a number of 1 or more, or all',
    ),
    (
        "bytes huge",
        good,
        "evaluate good --text t.txt --bytes " + "9" * 5000,
        2,
        'bytes="999999999999999999" is not allowed: a number of 1 or more, or all',
    ),
    (
        "threads",
        good,
        "sample good a --threads 100000",
        2,
        "threads=100000 is not allowed: 1 to 1024, or 0 for the engine's choice",
    ),
    (
        "threads negative",
        good,
        "sample good a --threads -1",
        2,
        "threads=-1 is not allowed: 1 to 1024, or 0 for the engine's choice",
    ),
    ("device", good, "sample good a --device nonsense", 2, 'device="nonsense" is not known …'),
    ("device absent", good, "sample good a --device cuda:9", 2, 'device="cuda:9"…'),
    (
        "dtype",
        good,
        "sample good a --dtype int8",
        2,
        'dtype="int8" is not known (known: auto, float32, bfloat16)',
    ),
    (
        "temperature",
        nothing,
        "sample good --temperature -1",
        2,
        "temperature=-1.0 is not allowed: 0 or more",
    ),
    (
        "temperature nan",
        nothing,
        "sample good --temperature nan",
        2,
        "temperature=nan is not allowed: expected a finite number",
    ),
    ("top-p", nothing, "sample good --top-p 1.5", 2, "top_p=1.5 is not allowed: 0 < top_p <= 1"),
    (
        "top-k",
        nothing,
        "sample good --top-k 0",
        2,
        "top_k=0 is not allowed: at least 1 (null keeps all)",
    ),
    (
        "num-samples",
        nothing,
        "sample good --num-samples 0",
        2,
        "num_samples=0 is not allowed: at least 1",
    ),
    (
        "stop empty",
        nothing,
        ["sample", "good", "--stop", ""],
        2,
        "stop_strings holds an empty text, which would stop at once",
    ),
    (
        "n_layer 0",
        text,
        "train --corpus t.txt --n-layer 0",
        2,
        "n_layer=0 is not allowed: it must be at least 1",
    ),
    (
        "n_embd n_head",
        text,
        "train --corpus t.txt --n-embd 10 --n-head 3",
        2,
        ("n_embd=10 is not divisible by n_head=3; each head takes an equal share of the width"),
    ),
    (
        "learning rate",
        text,
        "train --corpus t.txt --learning-rate inf",
        2,
        "learning_rate=inf is not allowed: expected a finite number",
    ),
    (
        "both budgets",
        text,
        "train --corpus t.txt --minutes 1 --max-steps 1",
        2,
        "minutes=1.0 and max_steps=1: give one budget, not two",
    ),
    (
        "steps 0",
        text,
        "train --corpus t.txt --max-steps 0",
        2,
        "max_steps=0 is not allowed: at least 1",
    ),
    (
        "block size",
        text,
        "train -q --corpus t.txt --max-steps 1 --block-size 999",
        2,
        (
            "block_size=999 is longer than the model's n_positions=128; choose a block_size "
            "of at most 128"
        ),
    ),
    (
        "absurd model",
        text,
        "train -q --corpus t.txt --max-steps 1 --n-embd 1000000000",
        2,
        (
            "n_layer=4, n_embd=1000000000, n_inner=4000000000, vocab_size=50257, n_positions=128 "
            "are more than 1,000 layers or 100,000,000,000 parameters; tinygpt opens no more"
        ),
    ),
    (
        "early stopping without",
        text,
        "train -q --corpus t.txt --max-steps 1 --early-stopping-patience 0",
        2,
        "early_stopping_patience=0 is not allowed: at least 1",
    ),
    (
        "no model",
        nothing,
        "sample nowhere",
        2,
        (
            '"nowhere" is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "empty name",
        nothing,
        ["sample", ""],
        2,
        (
            '"" is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "file for model",
        file("x.txt", "a"),
        "sample x.txt",
        2,
        (
            "x.txt is not a folder; a model folder holds config.json, model.safetensors and "
            "tokenizer.json"
        ),
    ),
    (
        "empty folder",
        lambda: os.mkdir("empty"),
        "sample empty",
        2,
        (
            "empty has no config.json; a model folder holds config.json, model.safetensors "
            "and tokenizer.json"
        ),
    ),
    (
        "near run",
        file("runs/shakespeare/config.json", "{}"),
        "sample shakespear",
        2,
        (
            '"shakespear" is not a folder, not a run in runs/ and not a hub name '
            '("owner/name", distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl); did you mean'
            ' "shakespeare"?'
        ),
    ),
    (
        "newline",
        nothing,
        ["sample", "a\nb"],
        2,
        (
            '"a b" is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "NUL",
        nothing,
        ["sample", "a\x00b"],
        2,
        (
            '"a\\x00b" is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "spaces",
        nothing,
        ["inspect", "my model"],
        2,
        (
            '"my model" is not a folder, not a run in runs/ and not a hub name ("owner/name",'
            " distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "dash",
        nothing,
        ["sample", "--", "-model"],
        2,
        (
            '"-model" is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "long",
        nothing,
        ["inspect", "x" * 5000],
        2,
        (
            '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."'
            ' is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "unicode",
        nothing,
        ["inspect", "模型\u202e"],
        2,
        (
            '"模型\\u202e" is not a folder, not a run in runs/ and not a hub name ("owner/name",'
            " distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "surrogate",
        nothing,
        ["inspect", "a\udcff"],
        2,
        (
            '"a\\udcff" is not a folder, not a run in runs/ and not a hub name ("owner/name", '
            "distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)"
        ),
    ),
    (
        "up",
        nothing,
        ["inspect", "../secret"],
        2,
        (
            '"../secret" is not a folder, not a run in runs/ and not a hub name '
            '("owner/name", distilgpt2, gpt2, gpt2-medium, gpt2-large, gpt2-xl)'
        ),
    ),
    (
        "revision of folder",
        good,
        "inspect good@main",
        2,
        '"good" is a folder: it has no revision "main"',
    ),
    (
        "revision bad",
        nothing,
        "inspect distilgpt2@a..b",
        2,
        (
            '"a..b" is no revision of distilgpt2: a branch, tag or commit is written with '
            "letters, digits and . _ / -"
        ),
    ),
    (
        "offline",
        nothing,
        "inspect owner/model",
        1,
        (
            "owner/model: HF_HUB_OFFLINE is set, and the cache {cache} does not hold it; "
            "where there is a network run `hf download owner/model`, then copy "
            "models--owner--model into that folder (or point HF_HOME at yours)"
        ),
    ),
    (
        "architecture",
        nothing,
        "sample tinygpt",
        2,
        (
            '"tinygpt" is an architecture without published weights, and there is no '
            "runs/tinygpt; `tinygpt train` makes a model of it"
        ),
    ),
    (
        "link out",
        linked,
        "sample good a",
        2,
        (
            "good/config.json is a link to {here}/secret.json, outside its folder; a link may"
            " lead inside the folder or into the hub's cache: copy the file instead"
        ),
    ),
    (
        "link nowhere",
        dangling,
        "sample good a",
        2,
        "good/model.safetensors is a link to gone, which is not there",
    ),
    (
        "out exists",
        lambda: (text(), os.mkdir("out")),
        "train -q --corpus t.txt --max-steps 1 --out out",
        2,
        (
            "out exists already, and a run is never overwritten; choose another --out, or go "
            "on with it: `tinygpt resume out`"
        ),
    ),
    (
        "out below file",
        text,
        "train -q --corpus t.txt --max-steps 1 --out t.txt/run",
        2,
        "t.txt/run can't be made: …",
    ),
    (
        "write exists",
        lambda: (write("c.json", '{"n_layer":4}'), os.mkdir("d"), write("d/x", "")),
        "doctor c.json --write d",
        2,
        (
            "c.json is not split: missing: vocab_size, n_positions, n_embd, n_head; a model "
            "is its 5 sizes, add them"
        ),
    ),
    (
        "config empty",
        config(""),
        "inspect good",
        2,
        (
            "good/config.json: not readable as JSON: Expecting value: line 1 column 1 (char "
            "0); mend it, or copy it again"
        ),
    ),
    (
        "config folder",
        lambda: (good(), os.remove("good/config.json"), os.mkdir("good/config.json")),
        "inspect good",
        2,
        (
            "good has no config.json; a model folder holds config.json, model.safetensors and"
            " tokenizer.json"
        ),
    ),
    (
        "config truncated",
        config('{"n_layer": 1'),
        "inspect good",
        2,
        (
            "good/config.json: not readable as JSON: Expecting ',' delimiter: line 1 column "
            "14 (char 13); mend it, or copy it again"
        ),
    ),
    (
        "config BOM",
        config(b"\xef\xbb\xbf{}"),
        "inspect good",
        2,
        (
            "good/config.json: not readable as JSON: Unexpected UTF-8 BOM (decode using "
            "utf-8-sig): line 1 column 1 (char 0); mend it, or copy it again"
        ),
    ),
    (
        "config utf16",
        config("{}".encode("utf-16")),
        "inspect good",
        2,
        (
            "good/config.json: not readable as JSON: 'utf-8' codec can't decode byte 0xff in "
            "position 0: invalid start byte; mend it, or copy it again"
        ),
    ),
    (
        "report into a missing folder",
        file("t.txt", "abcacb\n" * 400),
        "compare good --text t.txt --markdown none/out.md",
        1,
        "none/out.md can't be written: none is not a folder; choose another place",
    ),
    (
        "report into a folder",
        file("t.txt", "abcacb\n" * 400),
        "compare good --text t.txt --markdown good",
        1,
        "good can't be written: it is a folder; choose another place",
    ),
    (
        "config NUL",
        config(b"\0" * 64),
        "inspect good",
        2,
        (
            "good/config.json: not readable as JSON: Expecting value: line 1 column 1 (char "
            "0); mend it, or copy it again"
        ),
    ),
    (
        "config list",
        config("[]"),
        "inspect good",
        2,
        "good/config.json: expected a JSON object, got list",
    ),
    (
        "config deep",
        config(DEEP),
        "inspect good",
        2,
        ("good/config.json: not readable as JSON: nested too deeply; mend it, or copy it again"),
    ),
    (
        "config huge file",
        config(b" " * 1000001),
        "inspect good",
        2,
        "good/config.json: larger than 1,000,000 bytes: not a config",
    ),
    (
        "config NaN",
        config(layer_norm_epsilon=float("nan")),
        "inspect good",
        2,
        ("good/config.json: layer_norm_epsilon=nan is not allowed: expected a finite number"),
    ),
    (
        "config inf",
        config(layer_norm_epsilon=float("inf")),
        "inspect good",
        2,
        ("good/config.json: layer_norm_epsilon=inf is not allowed: expected a finite number"),
    ),
    (
        "config dup",
        config('{"n_layer": 1, "n_layer": 2}'),
        "inspect good",
        2,
        (
            'good/config.json: not readable as JSON: the key "n_layer" is there twice; mend '
            "it, or copy it again"
        ),
    ),
    (
        "config long int",
        config('{"n_layer": ' + "9" * 5000 + "}"),
        "inspect good",
        2,
        "good/config.json: not readable as JSON: Exceeds…",
    ),
    (
        "config huge",
        config(n_embd=10**18),
        "inspect good",
        2,
        ("good/config.json: n_embd is above 100,000,000,000; tinygpt opens no more"),
    ),
    (
        "config 1e400",
        config(json.dumps(CONFIG.to_dict()).replace("1e-05", "1e400")),
        "inspect good",
        2,
        ("good/config.json: layer_norm_epsilon=inf is not allowed: expected a finite number"),
    ),
    (
        "config bool",
        config(n_layer=True),
        "inspect good",
        2,
        "good/config.json: n_layer=True is not allowed: expected a whole number",
    ),
    (
        "config text",
        config(n_layer="1"),
        "inspect good",
        2,
        "good/config.json: n_layer='1' is not allowed: expected a whole number",
    ),
    (
        "config float",
        config(n_layer=1.5),
        "inspect good",
        2,
        "good/config.json: n_layer=1.5 is not allowed: expected a whole number",
    ),
    (
        "config negative",
        config(n_layer=-1),
        "inspect good",
        2,
        "good/config.json: n_layer=-1 is not allowed: it must be at least 1",
    ),
    (
        "config missing",
        config({"model_type": "gpt2", "n_embd": 4}),
        "inspect good",
        2,
        'good/config.json: the key "vocab_size" is missing; add it',
    ),
    (
        "config type",
        config(model_type="made_up"),
        "inspect good",
        2,
        "good: transformers can't open it as a causal language model: …",
    ),
    (
        "config cross",
        config(add_cross_attention=True),
        "inspect good",
        2,
        (
            "good/config.json: add_cross_attention=True asks for cross attention to an "
            "encoder, which tinygpt does not compute; only add_cross_attention=false can be "
            "opened"
        ),
    ),
    (
        "config activation",
        config(activation_function="swiglu"),
        "inspect good",
        2,
        ('good/config.json: activation_function="swiglu" is not known; did you mean "silu"? …'),
    ),
    (
        "config heads",
        config(n_head=3),
        "inspect good",
        2,
        (
            "good/config.json: n_embd=4 is not divisible by n_head=3; each head takes an "
            "equal share of the width"
        ),
    ),
    (
        "config dropout",
        config(attn_pdrop=1.5),
        "inspect good",
        2,
        "good/config.json: attn_pdrop=1.5 is not allowed: 0 <= p < 1",
    ),
    (
        "own config key",
        lambda: (config(n_leyer=2)(), write("good/training.json", "{}")),
        "inspect good",
        2,
        'good/config.json: unknown key "n_leyer"; did you mean "n_layer"?',
    ),
    (
        "generation wrong",
        file("good/generation_config.json", {"temperature": "hot"}),
        "sample good a",
        2,
        ("good/generation_config.json: temperature='hot' is not allowed: expected a finite number"),
    ),
    (
        "generation empty",
        file("good/generation_config.json", ""),
        "sample good a",
        2,
        (
            "good/generation_config.json: not readable as JSON: Expecting value: line 1 "
            "column 1 (char 0); mend it, or copy it again"
        ),
    ),
    (
        "generation eos",
        file("good/generation_config.json", {"eos_token_id": "x"}),
        "sample good a",
        2,
        (
            "good/generation_config.json: eos_token_id='x' is not allowed: expected a whole "
            "number or null"
        ),
    ),
    (
        "tokenizer none",
        lambda: (good(), os.remove("good/tokenizer.json")),
        "sample good a",
        2,
        (
            "good has no tokenizer: looked for tokenizer.json, then for vocab.json with "
            "merges.txt; copy them from where the model came from"
        ),
    ),
    (
        "tokenizer empty",
        file("good/tokenizer.json", ""),
        "sample good a",
        2,
        (
            "good/tokenizer.json: not readable as a tokenizer's file (Expecting value: line 1"
            " column 1 (char 0)); tinygpt opens GPT-2's byte-level BPE and its own character "
            "files"
        ),
    ),
    (
        "tokenizer folder",
        lambda: (good(), os.remove("good/tokenizer.json"), os.mkdir("good/tokenizer.json")),
        "sample good a",
        2,
        (
            "good has no tokenizer: looked for tokenizer.json, then for vocab.json with "
            "merges.txt; copy them from where the model came from"
        ),
    ),
    (
        "tokenizer deep",
        file("good/tokenizer.json", DEEP),
        "sample good a",
        2,
        (
            "good/tokenizer.json: not readable as a tokenizer's file (nested too deeply); "
            "tinygpt opens GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "tokenizer list",
        file("good/tokenizer.json", "[]"),
        "sample good a",
        2,
        (
            "good/tokenizer.json: not readable as a tokenizer's file (list indices must be "
            "integers or slices, not str); tinygpt opens GPT-2's byte-level BPE and its own "
            "character files"
        ),
    ),
    (
        "tokenizer type",
        lambda: (good(), write("good/tokenizer.json", tokenizer(type="Unigram"))),
        "sample good a",
        2,
        (
            "good/tokenizer.json: model.type is 'Unigram'; tinygpt opens GPT-2's byte-level "
            "BPE and its own character files"
        ),
    ),
    (
        "tokenizer holes",
        lambda: (good(), write("good/tokenizer.json", tokenizer(vocab={"a": 0, "b": 2, "c": 5}))),
        "sample good a",
        2,
        (
            "good/tokenizer.json: no token has id 1; 3 tokens count from 0; tinygpt opens "
            "GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "tokenizer dup ids",
        lambda: (good(), write("good/tokenizer.json", tokenizer(vocab={"a": 0, "b": 0, "c": 1}))),
        "sample good a",
        2,
        (
            "good/tokenizer.json: no token has id 2; 3 tokens count from 0; tinygpt opens "
            "GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "tokenizer neg",
        lambda: (good(), write("good/tokenizer.json", tokenizer(vocab={"a": -1, "b": 0, "c": 1}))),
        "sample good a",
        2,
        (
            "good/tokenizer.json: no token has id 2; 3 tokens count from 0; tinygpt opens "
            "GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "tokenizer text ids",
        lambda: (
            good(),
            write("good/tokenizer.json", tokenizer(vocab={"a": "0", "b": "1", "c": "2"})),
        ),
        "sample good a",
        2,
        (
            "good/tokenizer.json: no token has id 0; 3 tokens count from 0; tinygpt opens "
            "GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "tokenizer words",
        lambda: (good(), write("good/tokenizer.json", tokenizer(vocab={"ab": 0, "b": 1, "c": 2}))),
        "sample good a",
        2,
        (
            "good/tokenizer.json: 'ab' is a special token, or not one character; tinygpt "
            "opens GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "tokenizer sizes",
        lambda: (good(), write("good/tokenizer.json", tokenizer(vocab={"a": 0, "b": 1}))),
        "sample good a",
        2,
        (
            "good: the tokenizer has 2 ids, config.json says vocab_size=3; the files do not "
            "belong together, copy both from where the model came from"
        ),
    ),
    (
        "merges unknown",
        lambda: merges("a z"),
        "sample good a",
        2,
        (
            "good/vocab.json: 253 of the 256 bytes have no id, so texts would lose them; "
            "tinygpt opens GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "merges three",
        lambda: merges("a b c"),
        "sample good a",
        2,
        (
            "good/vocab.json: the merge ('a', 'b', 'c') is not two tokens; tinygpt opens "
            "GPT-2's byte-level BPE and its own character files"
        ),
    ),
    (
        "merges missing",
        lambda: (merges("a b"), os.remove("good/merges.txt")),
        "sample good a",
        2,
        (
            "good has no tokenizer: looked for tokenizer.json, then for vocab.json with "
            "merges.txt; copy them from where the model came from"
        ),
    ),
    (
        "vocab list",
        lambda: (merges("a b"), write("good/vocab.json", "[]")),
        "sample good a",
        2,
        (
            "good/vocab.json: not readable as a tokenizer's file (unsupported operand type(s)"
            " for |: 'list' and 'dict'); tinygpt opens GPT-2's byte-level BPE and its own "
            "character files"
        ),
    ),
    (
        "prefix space",
        file("good/tokenizer_config.json", {"add_prefix_space": True}),
        "sample good a",
        2,
        (
            "good/tokenizer_config.json: add_prefix_space is true; tinygpt opens GPT-2's "
            "byte-level BPE and its own character files"
        ),
    ),
    (
        "unknown char",
        good,
        "sample good xyz",
        2,
        (
            "'x' (U+0078) at line 1, column 1 (index 0) is not one of the tokenizer's 3 "
            "characters; take it out, or train on a text that holds it"
        ),
    ),
    (
        "too long prompt",
        good,
        "sample good abcabcabcabc",
        2,
        (
            "the prompt has 12 tokens, the model's n_positions is 8; shorten it, or keep its "
            "tail with --truncate-prompt (truncate_prompt=True)"
        ),
    ),
    (
        "weights none",
        lambda: (good(), os.remove(S)),
        "sample good a",
        2,
        (
            "good: no weights (looked for model.safetensors, model.safetensors.index.json and"
            " pytorch_model.bin)"
        ),
    ),
    (
        "weights empty",
        file(S, ""),
        "sample good a",
        2,
        "good/model.safetensors: not a safetensors file, or cut short (0 bytes)",
    ),
    (
        "weights folder",
        lambda: (good(), os.remove(S), os.mkdir(S)),
        "sample good a",
        2,
        "good/model.safetensors can't be read: …",
    ),
    (
        "weights truncated",
        lambda: (good(), write(S, Path(S).read_bytes()[:-4])),
        "sample good a",
        2,
        (
            "good/model.safetensors: tensor 'transformer.wte.weight': shape [3, 4] does not"
            " fit its bytes 1136..1184"
        ),
    ),
    (
        "weights header cut",
        lambda: (good(), write(S, Path(S).read_bytes()[:100])),
        "sample good a",
        2,
        "good/model.safetensors: not a safetensors file, or cut short (100 bytes)",
    ),
    (
        "weights html",
        file(S, "<!DOCTYPE html>" + " " * 50),
        "sample good a",
        2,
        "good/model.safetensors: not a safetensors file, or cut short (65 bytes)",
    ),
    (
        "weights lfs pointer",
        file(S, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
        "sample good a",
        2,
        "good/model.safetensors: a pointer of Git LFS; fetch the file with `git lfs pull`",
    ),
    (
        "header length",
        file(S, struct.pack("<Q", 2**63) + b"{}"),
        "sample good a",
        2,
        "good/model.safetensors: not a safetensors file, or cut short (10 bytes)",
    ),
    (
        "header list",
        file(S, header([])),
        "sample good a",
        2,
        "good/model.safetensors: its safetensors header is not an object",
    ),
    (
        "header dup",
        file(S, header('{"a": 1, "a": 2}')),
        "sample good a",
        2,
        'good/model.safetensors: its safetensors header is damaged: the key "a" is there twice',
    ),
    (
        "header deep",
        file(S, header(DEEP)),
        "sample good a",
        2,
        ("good/model.safetensors: its safetensors header is damaged: nested too deeply"),
    ),
    (
        "header entry",
        file(S, header({"a": 5})),
        "sample good a",
        2,
        ("good/model.safetensors: tensor 'a': its entry is damaged: int is no object"),
    ),
    (
        "header lies",
        file(S, header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, bytes(8))),
        "sample good a",
        2,
        "good/model.safetensors: tensor 'a': shape [4] does not fit its bytes 0..8",
    ),
    (
        "header negative",
        file(S, header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4))),
        "sample good a",
        2,
        (
            "good/model.safetensors: tensor 'a': its entry is damaged: a size or offset is "
            "not a whole number"
        ),
    ),
    (
        "header dtype",
        file(S, header({"a": {"dtype": "Q4", "shape": [4], "data_offsets": [0, 4]}}, bytes(4))),
        "sample good a",
        2,
        ("good/model.safetensors: tensor 'a': it has dtype Q4; tinygpt reads F64, F32, F16, BF16"),
    ),
    (
        "header gap",
        file(S, header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8))),
        "sample good a",
        2,
        "good/model.safetensors: tensors overlap or leave a gap at byte 0",
    ),
    (
        "header rest",
        file(S, header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(8))),
        "sample good a",
        2,
        "good/model.safetensors: the tensors take 4 bytes, the file holds 8",
    ),
    (
        "tensor foreign",
        file(S, header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))),
        "sample good a",
        2,
        ("good: the tensor 'a' is not part of a GPT-2; tinygpt opens GPT-2's language model alone"),
    ),
    (
        "tensor missing",
        fewer,
        "sample good a",
        2,
        (
            "good: 2 tensor(s) missing, the first is 'transformer.ln_f.weight'; do "
            "config.json and the weights belong together?"
        ),
    ),
    (
        "weights of other config",
        config(n_embd=8),
        "sample good a",
        2,
        (
            "good: 'transformer.wte.weight' has shape (3, 4), config.json asks for (3, 8) (as"
            " out, in)"
        ),
    ),
    (
        "more layers",
        config(n_layer=2),
        "sample good a",
        2,
        (
            "good: 12 tensor(s) missing, the first is 'transformer.h.1.ln_1.weight'; do "
            "config.json and the weights belong together?"
        ),
    ),
    (
        "weights of more vocab",
        config(vocab_size=4),
        "sample good a",
        2,
        (
            "good: the tokenizer has 3 ids, config.json says vocab_size=4; the files do not "
            "belong together, copy both from where the model came from"
        ),
    ),
    (
        "index empty",
        lambda: (good(), os.remove(S), write(S + ".index.json", "")),
        "sample good a",
        2,
        ("good/model.safetensors.index.json: damaged: Expecting value: line 1 column 1 (char 0)"),
    ),
    (
        "shard missing",
        lambda: (
            good(),
            os.remove(S),
            write(S + ".index.json", {"weight_map": {"a": "model-1.safetensors"}}),
        ),
        "sample good a",
        2,
        (
            "good/model.safetensors.index.json: the shard model-1.safetensors is missing; "
            "download it again"
        ),
    ),
    (
        "shard outside",
        lambda: (
            good(),
            os.remove(S),
            write(S + ".index.json", {"weight_map": {"a": "../x.safetensors"}}),
        ),
        "sample good a",
        2,
        (
            "good/model.safetensors.index.json: '../x.safetensors' is not the name of a file "
            "beside it"
        ),
    ),
    (
        "shard number",
        lambda: (good(), os.remove(S), write(S + ".index.json", {"weight_map": {"a": 5}})),
        "sample good a",
        2,
        "good/model.safetensors.index.json: 5 is not the name of a file beside it",
    ),
    (
        "pickle",
        lambda: (good(), os.remove(S), write("good/pytorch_model.bin", b"x")),
        "sample good a",
        2,
        (
            "good: its weights are a pickle (pytorch_model.bin), which can run code when "
            "opened; if you trust where it comes from, add --allow-pickle"
        ),
    ),
    (
        "pickle not",
        lambda: (good(), os.remove(S), write("good/pytorch_model.bin", b"x")),
        "sample good a --allow-pickle",
        2,
        (
            "good/pytorch_model.bin: not a plain state_dict of tensors: Weights only load "
            "failed; save it anew as one"
        ),
    ),
    (
        "pickle code",
        lambda: (good(), os.remove(S), write("good/pytorch_model.bin", pickle.dumps(os.system))),
        "sample good a --allow-pickle",
        2,
        (
            "good/pytorch_model.bin: not a plain state_dict of tensors: Weights only load "
            "failed; save it anew as one"
        ),
    ),
    (
        "text none",
        good,
        "evaluate good --text nowhere.txt",
        2,
        'corpus "nowhere.txt" is neither a named corpus nor a file or folder …',
    ),
    (
        "text empty",
        lambda: (good(), write("t.txt", "")),
        "evaluate good --text t.txt",
        2,
        "t.txt is empty; give a text",
    ),
    (
        "text folder",
        lambda: (good(), os.mkdir("t.txt")),
        "evaluate good --text t.txt",
        2,
        "t.txt is a folder without a .txt file; give one that has some",
    ),
    (
        "text utf16",
        lambda: (good(), write("t.txt", "abc".encode("utf-16"))),
        "evaluate good --text t.txt",
        2,
        (
            "t.txt is not UTF-8: byte 0xff at offset 0 (invalid start byte); convert it, for "
            "example with `iconv -f UTF-16 -t UTF-8 t.txt > NEW.txt`"
        ),
    ),
    (
        "text latin1",
        lambda: (good(), write("t.txt", "ab\xe9".encode("latin-1"))),
        "evaluate good --text t.txt",
        2,
        (
            "t.txt is not UTF-8: byte 0xe9 at offset 2 (unexpected end of data); convert it, "
            "for example with `iconv -f WINDOWS-1252 -t UTF-8 t.txt > NEW.txt`"
        ),
    ),
    (
        "text gz",
        lambda: (good(), write("t.txt", gzip.compress(b"abc"))),
        "evaluate good --text t.txt",
        2,
        "t.txt is a gzip archive, not a text; unpack it: `gunzip t.txt`",
    ),
    (
        "text unknown",
        lambda: (good(), write("t.txt", "abcabc\nxyz xyz xyz")),
        "evaluate good --text t.txt",
        2,
        (
            "'\\n' (U+000A) at line 1, column 7 (index 6) is not one of the tokenizer's 3 "
            "characters; take it out, or train on a text that holds it; or pay for it by an "
            "escape code: --unknown escape"
        ),
    ),
    (
        "text NUL name",
        good,
        ["evaluate", "good", "--text", "a\x00b"],
        2,
        'corpus "a\\x00b" is neither a named corpus nor a file or folder …',
    ),
    (
        "corpus none",
        nothing,
        "train --corpus nowhere --max-steps 1",
        2,
        'corpus "nowhere" is neither a named corpus nor a file or folder …',
    ),
    (
        "corpus near",
        nothing,
        "corpus show tinyshakespear",
        2,
        (
            'corpus "tinyshakespear" is neither a named corpus nor a file or folder; did you '
            'mean "tinyshakespeare"? …'
        ),
    ),
    (
        "corpus empty",
        lambda: write("t.txt", ""),
        "train -q --corpus t.txt --max-steps 1",
        2,
        "t.txt is empty; give a text",
    ),
    (
        "corpus binary",
        lambda: write("t.txt", bytes(range(256))),
        "train -q --corpus t.txt --max-steps 1",
        2,
        (
            "t.txt is not UTF-8: byte 0x80 at offset 128 (invalid start byte); convert it, "
            "for example with `iconv -f WINDOWS-1252 -t UTF-8 t.txt > NEW.txt`"
        ),
    ),
    (
        "corpus utf16",
        lambda: write("t.txt", "hello".encode("utf-16")),
        "train -q --corpus t.txt --max-steps 1",
        2,
        (
            "t.txt is not UTF-8: byte 0xff at offset 0 (invalid start byte); convert it, for "
            "example with `iconv -f UTF-16 -t UTF-8 t.txt > NEW.txt`"
        ),
    ),
    (
        "corpus gz",
        lambda: write("t.txt.gz", gzip.compress(b"hello")),
        "train --corpus t.txt.gz --max-steps 1",
        2,
        "t.txt.gz is a gzip archive, not a text; unpack it: `gunzip t.txt.gz`",
    ),
    (
        "corpus short",
        lambda: write("t.txt", "hello"),
        "train -q --corpus t.txt --max-steps 1",
        2,
        (
            "t.txt: its training part (the first 90%) has 4 token(s), one window of "
            "block_size=128 needs 129; give a longer text or a smaller block_size"
        ),
    ),
    (
        "corpus empty folder",
        lambda: os.mkdir("texts"),
        "train --corpus texts --max-steps 1",
        2,
        "texts is a folder without a .txt file; give one that has some",
    ),
    (
        "run file none",
        nothing,
        "train --config none.toml",
        2,
        (
            'config "none.toml" does not exist; give a TOML file, a run folder or the name of a '
            "run in runs/"
        ),
    ),
    (
        "run file empty name",
        nothing,
        ["train", "-q", "--config", ""],
        2,
        ". is not a run folder: it has no training.json; a run is made by `tinygpt train`",
    ),
    (
        "run file broken",
        lambda: write("r.toml", "[model"),
        "train --config r.toml",
        2,
        (
            "r.toml is not readable as TOML: Expected ']' at the end of a table declaration "
            "(at end of document)"
        ),
    ),
    (
        "run file table",
        lambda: write("r.toml", "[modell]\nn_layer=1"),
        "train --config r.toml",
        2,
        'r.toml: unknown table "modell"; did you mean "model"? …',
    ),
    (
        "run file key",
        lambda: write("r.toml", "[model]\nn_layers=1"),
        "train --config r.toml",
        2,
        '[model] of r.toml: unknown key "n_layers"; did you mean "n_layer"? …',
    ),
    (
        "run file value",
        lambda: write("r.toml", '[model]\nn_layer="1"'),
        "train --config r.toml",
        2,
        "[model] of r.toml: n_layer='1' is not allowed: expected a whole number",
    ),
    (
        "run file twice",
        lambda: write("r.toml", "[model]\nn_layer=1\nn_layer=2"),
        "train --config r.toml",
        2,
        "r.toml is not readable as TOML: Cannot overwrite a value (at end of document)",
    ),
    (
        "run file array",
        lambda: write("r.toml", "model=[1]"),
        "train --config r.toml",
        2,
        "r.toml: model must be a table: write [model] above its keys",
    ),
    (
        "run file binary",
        lambda: write("r.toml", b"\xff\xfe\0"),
        "train --config r.toml",
        2,
        (
            "r.toml is not readable as TOML: 'utf-8' codec can't decode byte 0xff in position"
            " 0: invalid start byte"
        ),
    ),
    (
        "run file folder",
        lambda: os.mkdir("r.toml"),
        "train --config r.toml",
        2,
        ("r.toml is not a run folder: it has no training.json; a run is made by `tinygpt train`"),
    ),
    (
        "run not a run",
        good,
        "train --config good",
        2,
        ("good is not a run folder: it has no training.json; a run is made by `tinygpt train`"),
    ),
    (
        "training.json list",
        file("good/training.json", "[]"),
        "train --config good",
        2,
        "good/training.json: expected a JSON object, got list",
    ),
    (
        "doctor none",
        nothing,
        "doctor none.json",
        2,
        "none.json: No such file or directory; give a …",
    ),
    (
        "doctor empty",
        lambda: write("c.json", ""),
        "doctor c.json",
        2,
        "c.json is empty; give a file with settings in it",
    ),
    ("doctor folder", lambda: os.mkdir("c"), "doctor c", 2, "c: Is a directory; give a …"),
    (
        "doctor text",
        lambda: write("c.json", "hello"),
        "doctor c.json",
        2,
        "c.json: line 1, column 1: Expecting value; read as JSON",
    ),
    (
        "doctor deep",
        lambda: write("c.json", DEEP),
        "doctor c.json",
        2,
        "c.json: more than 20 levels, which no config has",
    ),
    (
        "doctor list",
        lambda: write("c.json", "[1]"),
        "doctor c.json",
        2,
        "c.json: expected an object with keys, got a list",
    ),
    (
        "doctor dup",
        lambda: write("c.json", '{"n_layer": 1, "n_layer": 2}'),
        "doctor c.json",
        2,
        'c.json: the key "n_layer" stands twice (lines 1, 1); keep one',
    ),
    (
        "doctor write impossible",
        lambda: write("c.json", '{"n_embd": 10, "n_head": 3}'),
        "doctor c.json --write d",
        2,
        (
            "c.json is not split: missing: vocab_size, n_positions, n_layer; a model is its 5"
            " sizes, add them; n_embd=10 is not divisible by n_head=3; each head takes an equal"
            " share of the width: n_head=2 or n_embd=12 would do"
        ),
    ),
    (
        "resume none",
        nothing,
        "resume nowhere",
        2,
        "nowhere does not exist; give a run folder, or its name in runs/",
    ),
    (
        "resume folder",
        good,
        "resume good",
        2,
        ("good is not a run folder: it has no training.json; a run is made by `tinygpt train`"),
    ),
    (
        "doctor write below file",
        lambda: (config()(), write("x", "")),
        "doctor good/config.json -q --write x/y",
        2,
        "good/config.json is empty; give a file with settings in it",
    ),
    (
        "doctor write exists",
        lambda: (config()(), write("d/config.json", "")),
        "doctor good/config.json -q --write d",
        2,
        "good/config.json is empty; give a file with settings in it",
    ),
    (
        "training.json empty",
        file("good/training.json", "{}"),
        "resume good",
        2,
        'good/training.json: the table "train" is missing',
    ),
    (
        "training.json broken",
        file("good/training.json", "{"),
        "resume good",
        2,
        (
            "good/training.json: not readable as JSON: Expecting property name enclosed in "
            "double quotes: line 1 column 2 (char 1); mend it, or copy it again"
        ),
    ),
    (
        "training.json wrong",
        file("good/training.json", '{"train": 5}'),
        "train -q --config good",
        2,
        'good/training.json: the table "train" is missing',
    ),
    (
        "training.json key",
        file("good/training.json", RECIPE | {"train": {"max_stepz": 5}}),
        "train -q --config good",
        2,
        ('[train] of good/training.json: unknown key "max_stepz"; did you mean "max_steps"? …'),
    ),
    (
        "checkpoint none",
        lambda: (
            file("good/training.json", RECIPE)(),
            write("good/environment.json", "{}"),
            write("t.txt", "abc" * 50),
        ),
        "resume good -q",
        2,
        "good/checkpoints: nothing to go on from: no checkpoint there",
    ),
    (
        "checkpoint damaged",
        lambda: (
            file("good/training.json", RECIPE)(),
            write("good/environment.json", "{}"),
            write("t.txt", "abc" * 50),
            write("good/checkpoints/step-00000001/x", ""),
        ),
        "resume good -q",
        2,
        (
            "good/checkpoints: nothing to go on from: good/checkpoints/step-00000001: "
            "MANIFEST.json is missing or unreadable…"
        ),
    ),
    (
        "training empty evaluate",
        file("good/training.json", "{}"),
        "evaluate good",
        2,
        (
            "good/training.json does not say which corpus the run was trained on; give a text"
            " with --text"
        ),
    ),
    (
        "training no corpus",
        file("good/training.json", {"corpus": {"corpus": "gone.txt"}}),
        "evaluate good",
        2,
        (
            "good/training.json does not say which corpus the run was trained on; give a text"
            " with --text"
        ),
    ),
    (
        "resume file",
        lambda: write("x", ""),
        "resume x",
        2,
        "x is not a run folder: it has no training.json; a run is made by `tinygpt train`",
    ),
    (
        "evaluate without text",
        good,
        "evaluate good",
        2,
        ("good is not a run of tinygpt, so it has no held-out text; give a text with --text FILE"),
    ),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an empty cache of the hub that is switched off."""
    from huggingface_hub import constants

    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    return folder


@pytest.mark.parametrize(
    ("build", "call", "code", "message"),
    [case[1:] for case in CASES],
    ids=[case[0].replace(" ", "-") for case in CASES],
)
def test_malformed(
    build: Callable[[], Any],
    call: str | list[str],
    code: int,
    message: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build()
    arguments = call.split(" ") if isinstance(call, str) else call
    assert main(arguments) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.endswith("\n")
    (line,) = streams.err.splitlines()
    expected = message.replace("{here}", str(here)).replace("{cache}", f"{here.parent}/hf")
    assert line.startswith("error: ")
    said = line.removeprefix("error: ")
    if expected.endswith("…"):
        assert said.startswith(expected.removesuffix("…").rstrip())
    else:
        assert said == expected
    assert not list(here.glob("runs/run-*"))  # a refused run leaves no folder behind


def test_a_file_that_may_not_be_read(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good()

    def forbid(path: Path, max_bytes: int) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(
        "tinygpt.formats.model_folder.read_small", forbid
    )  # root may read everything
    assert main(["inspect", "good"]) == 2
    line = "error: good/config.json can't be read: Permission denied; chmod it\n"
    assert capsys.readouterr().err == line


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len({case[0] for case in CASES}) == len(CASES) >= 60


def test_the_good_folder_has_no_fault(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good()
    assert main(["sample", "good", "abc", "--max-new-tokens", "3", "--quiet"]) == 0
    assert len(capsys.readouterr().out) == 4
