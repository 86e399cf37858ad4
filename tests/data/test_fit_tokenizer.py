"""The tokenizer of a new model: each kind from the corpus to a run that repeats and resumes."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import TOKENIZERS, TokenizerConfig, TrainConfig
from tinygpt.data.corpora import Corpus, load_corpus
from tinygpt.data.fit_tokenizer import make_tokenizer, settle, settled_fields
from tinygpt.errors import ConfigError, DataError, MachineError
from tinygpt.inference.load import load
from tinygpt.runs.folder import read_recipe
from tinygpt.tokenizers.load import load_tokenizer
from tinygpt.training.resume import resume
from tinygpt.training.train import train

TEXT = "to be, or not to be: é 😀\r\n" * 90 + "xyzw " * 52  # the held-out tenth is other words
SETTINGS = TrainConfig(block_size=16, batch_size=4, max_steps=6, n_evals=1, save_every=2)
SIZES = {"char": len(set(TEXT)), "byte": 256, "bpe": 270}


def corpus_of(text: str) -> Corpus:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Corpus(name="test", text=text, sha256=sha256, source="a test")


def run(kind: str, config: ModelConfig, out: Path, **arguments: Any) -> bytes:
    """Train and return the weights."""
    config = dataclasses.replace(config, vocab_size=SIZES[kind])
    chosen = TokenizerConfig(tokenizer=kind)
    options = {"tokenizer_config": chosen, "device": "cpu"} | arguments
    list(train(config, SETTINGS, corpus_of(TEXT), out=out, **options))
    return (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", SIZES)
def test_each_kind_holds_its_corpus(kind: str) -> None:
    tokenizer = make_tokenizer(kind, corpus_of(TEXT), 270)
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.eot_id) == (kind, SIZES[kind], None)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == TEXT.encode()


def test_what_a_kind_settles_is_what_it_makes() -> None:
    corpus = corpus_of(TEXT)
    for kind in ("char", "byte"):
        made = make_tokenizer(kind, corpus, 270)
        assert settled_fields(kind, corpus) == {"vocab_size": made.vocab_size}
    assert settled_fields("bpe", corpus) == {}  # chosen
    assert settled_fields("gpt2", corpus) == {
        "vocab_size": 50257,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    }
    assert {*SIZES, "gpt2"} == set(TOKENIZERS)


@pytest.mark.index
def test_gpt2_settles_what_it_has() -> None:
    try:
        tokenizer = make_tokenizer("gpt2", corpus_of(TEXT), 270)
    except MachineError as error:
        pytest.skip(f"GPT-2's vocabulary can't be fetched: {error}")
    settled = settled_fields("gpt2", corpus_of(TEXT))
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (
        settled["vocab_size"],
        settled["eos_token_id"],
    )


def test_bpe_learns_from_the_training_part_alone() -> None:
    assert make_tokenizer("bpe", corpus_of(TEXT), 271).vocab_size == 271
    with pytest.raises(DataError, match="at most 271"):  # the words held out would give more
        make_tokenizer("bpe", corpus_of(TEXT), 272)
    assert make_tokenizer("bpe", corpus_of(TEXT + TEXT), 273).vocab_size == 273


def test_a_large_corpus_is_learned_from_in_pieces_and_says_how_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.txt").write_bytes(TEXT.encode())
    monkeypatch.setattr("tinygpt.data.text_files.LARGE_BYTES", 1000)
    monkeypatch.setattr("tinygpt.data.text_files._BLOCK_BYTES", 300)
    corpus = load_corpus(str(tmp_path / "my.txt"))
    told: list[tuple[str, float]] = []
    learned = make_tokenizer("bpe", corpus, 271, lambda what, share: told.append((what, share)))
    in_memory = make_tokenizer("bpe", corpus_of(TEXT), 271)
    assert learned.token_bytes == in_memory.token_bytes
    assert {what for what, _ in told} == {"learning tokens from my.txt"}
    shares = [share for _, share in told]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


@pytest.mark.parametrize("kind", SIZES)
def test_a_run_repeats_and_resumes_with_the_same_tokenizer(
    kind: str, tiny_config: ModelConfig, tmp_path: Path
) -> None:
    weights = run(kind, tiny_config, tmp_path / "a")
    assert read_recipe(tmp_path / "a").tokenizer == TokenizerConfig(tokenizer=kind)
    assert run(kind, tiny_config, tmp_path / "b") == weights
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    asked = iter([False] * 30 + [True] * 1000)
    run(kind, tiny_config, tmp_path / "c", stop=lambda: next(asked))
    list(resume(tmp_path / "c", corpus=corpus_of(TEXT)))
    assert (tmp_path / "c" / "model.safetensors").read_bytes() == weights
    lm = load(str(tmp_path / "a"))
    assert lm.tokenizer.kind == kind
    assert lm.generate("to be", max_new_tokens=3, seed=0) == load(str(tmp_path / "b")).generate(
        "to be", max_new_tokens=3, seed=0
    )
    assert lm.evaluate(TEXT[:100]).n_bytes == len(TEXT[:100].encode())
    assert lm.evaluate(TEXT[:100]).start == "a newline"


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_fine_tuning_keeps_the_tokenizer(
    kind: str, tiny_config: ModelConfig, tmp_path: Path
) -> None:
    run(kind, tiny_config, tmp_path / "a")
    start = load(str(tmp_path / "a"))
    new = corpus_of("Ünknown ﻿ letters\0\n" * 60)
    list(train(None, SETTINGS, new, out=tmp_path / "b", start=start, device="cpu"))
    assert load_tokenizer(tmp_path / "b").token_bytes == start.tokenizer.token_bytes
    assert read_recipe(tmp_path / "b").tokenizer == TokenizerConfig(tokenizer=kind)
    np.testing.assert_array_equal(
        load_tokenizer(tmp_path / "b").encode(new.text), start.tokenizer.encode(new.text)
    )


def test_sizes_that_can_not_be_are_refused(tiny_config: ModelConfig, tmp_path: Path) -> None:
    for kind, size, error, message in (
        ("byte", 255, ConfigError, "vocab_size=255, but the tokenizer has 256 ids"),
        ("bpe", 255, ConfigError, "must be at least 256"),
        ("bpe", 9999, DataError, r"give at most \d+"),
    ):
        config = dataclasses.replace(tiny_config, vocab_size=size)
        chosen = TokenizerConfig(tokenizer=kind)
        with pytest.raises(error, match=message):
            train(config, SETTINGS, corpus_of(TEXT), tokenizer_config=chosen, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_size_that_is_not_the_tokenizers_is_refused_with_the_mend() -> None:
    corpus = corpus_of("abc")
    assert settle({"n_layer": 2}, "char", corpus) == {"n_layer": 2, "vocab_size": 3}
    assert settle({"vocab_size": 300}, "bpe", corpus) == {"vocab_size": 300}
    message = (
        r'vocab_size=65 was given, but tokenizer "char" makes it 3 on .*65 is that of the corpus '
        r"tinyshakespeare\); leave vocab_size out, or give --vocab-size 3"
    )
    with pytest.raises(ConfigError, match=message):
        settle({"vocab_size": 65}, "char", corpus)
    with pytest.raises(ConfigError, match=r'"gpt2" makes it 50256; leave eos_token_id out$'):
        settle({"eos_token_id": 1}, "gpt2", corpus)
