"""B of docs/trust.md, S3 to S5: 10,000 mutated headers, configs and tokenizers each.

Only errors of ours come out, and what is accepted works. Mutations are drawn from a seed, so that
a failure repeats; half change bytes, half put a hostile value in a place of the JSON.
"""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.security.hostile import CONFIG, PAYLOADS, good, safetensors

from tinygpt.errors import TinyGPTError
from tinygpt.formats.model_folder import read_config, read_generation_config
from tinygpt.formats.weights import read_safetensors
from tinygpt.model.hf_weights import from_hf
from tinygpt.tokenizers.load import load_tokenizer

N = 10_000
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**63, 2**64, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e308, float("nan"), float("inf"), -float("inf"), 5e-324),
    *("", "a", "abc", "F32", "BF16", "gpt2", "BPE", "WordLevel", *PAYLOADS),
    *([], [[]], [0], [0, 48], [-1, 1], [1] * 100, {}, {"a": 0}, {"type": "Split"}, {"id": 1}),
)
WORDS = (b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"1e999", b"\\u0000", b"\xff", b"-")


def mutated_bytes(raw: bytes, rng: random.Random) -> bytes:
    at, kind = rng.randrange(len(raw)), rng.randrange(4)
    if kind == 0:
        return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at] + raw[at + rng.randrange(1, 9) :]
    if kind == 2:
        return raw[:at] + rng.choice(WORDS) + raw[at:]
    other = rng.randrange(len(raw))
    return raw[:at] + raw[other : other + rng.randrange(1, 40)] + raw[at:]


def mutated_value(data: Any, rng: random.Random) -> Any:
    """Replace, drop or add something at a random place of a JSON value."""
    data = copy.deepcopy(data)
    place = data
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        below = [k for k in keys if isinstance(place[k], dict | list) and place[k]]
        if not below or rng.random() < 0.4:
            break
        place = place[rng.choice(below)]
    kind = rng.randrange(4)
    if keys and kind == 0:
        del place[rng.choice(keys)]
    elif isinstance(place, dict) and kind == 1:
        place[rng.choice([*PAYLOADS, *map(str, keys), "auto_map"])] = rng.choice(VALUES)
    elif keys:
        place[rng.choice(keys)] = rng.choice(VALUES)
    return data


def mutated(data: Any, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return mutated_bytes(json.dumps(data).encode(), rng)
    for _ in range(rng.randrange(1, 4)):
        data = mutated_value(data, rng) or data
    return json.dumps(data).encode()


def hammer(data: Any, use: Callable[[bytes], None], seed: int) -> int:
    """Return how many of N mutations were refused; anything but our own error passes on."""
    rng, refused = random.Random(seed), 0
    for _ in range(N):
        raw = mutated(data, rng)
        try:
            use(raw)
        except TinyGPTError as error:
            long = len(str(error))
            refused += 1
        else:
            long = 0
        assert long < 2000, raw[:2000]
    return refused


@pytest.mark.slow
def test_s3_mutated_headers(tmp_path: Path) -> None:
    good(tmp_path / "good")
    path = tmp_path / "good" / "model.safetensors"
    whole = path.read_bytes()
    n = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + n]), whole[8 + n :]

    def use(raw: bytes) -> None:
        path.write_bytes(safetensors(raw, body))
        state = from_hf(read_safetensors(path), CONFIG, "good")
        assert all(np.isfinite(array).all() for array in state.values())

    assert N * 0.8 < hammer(header, use, 1) < N


@pytest.mark.slow
def test_s4_mutated_configs(tmp_path: Path) -> None:
    good(tmp_path / "good")
    path = tmp_path / "good" / "config.json"

    def use(raw: bytes) -> None:
        path.write_bytes(raw)
        config, notes = read_config(path.parent)
        assert config.n_layer <= 1000
        assert all(len(note) < 60_000 for note in notes)

    assert N * 0.4 < hammer(CONFIG.to_dict(), use, 2) < N


@pytest.mark.slow
def test_s4_mutated_generation_configs(tmp_path: Path) -> None:
    good(tmp_path / "good")
    path = tmp_path / "good" / "generation_config.json"
    sampled = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "stop_strings": ["x"], "min_p": 0.1}

    def use(raw: bytes) -> None:
        path.write_bytes(raw)
        read_generation_config(path.parent, CONFIG)

    assert 0 < hammer(sampled, use, 3) < N


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["characters", "bytes and merges"])
def test_s5_mutated_tokenizers(kind: str, tmp_path: Path) -> None:
    from tinygpt.tokenizers.bpe import BPETokenizer
    from tinygpt.tokenizers.char_byte import BYTE_LETTERS

    good(tmp_path / "good")
    path = tmp_path / "good" / "tokenizer.json"
    if kind != "characters":
        merges = [("a", "b"), ("ab", "c")]
        vocab = BYTE_LETTERS | {"ab": 256, "abc": 257, "<x>": 258}
        BPETokenizer(vocab, merges, {"<x>": 258}).save(path.parent, 8)
    data = json.loads(path.read_bytes())

    def use(raw: bytes) -> None:
        path.write_bytes(raw)
        tokenizer = load_tokenizer(path.parent)
        for text in ("abc", "cab<x>"):
            try:
                ids = tokenizer.encode(text)
            except TinyGPTError:
                continue
            assert tokenizer.decode(ids) == text
            assert max(ids) < tokenizer.vocab_size

    assert 0 < hammer(data, use, 4) < N
