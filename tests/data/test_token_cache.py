"""token_cache.py: the ids of a large text are those of the text in memory, kept and checked."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tinygpt.data import text_files, token_cache
from tinygpt.data.batches import prepare, split
from tinygpt.data.corpora import Corpus, load_corpus
from tinygpt.data.token_cache import mapped_ids
from tinygpt.errors import DataError, MachineError, TokenizerError
from tinygpt.storage.cache_folder import cache_dir
from tinygpt.tokenizers.char_byte import ByteTokenizer, CharTokenizer
from tinygpt.tokenizers.load import load_tokenizer

TEXT = "".join(f"{i}. The café's  cat — sat\n\n on😀 the mat.  \n" for i in range(40))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks and a border small enough for texts of a page."""
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(text_files, "LARGE_BYTES", 100)


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    (tmp_path / "my.txt").write_text(TEXT, "utf-8")
    return load_corpus(str(tmp_path / "my.txt"))


def folders() -> list[Path]:
    return sorted((cache_dir() / "ids").iterdir())


@pytest.fixture
def tokenizers(corpus, byte_bpe):
    pairs = [tuple(pair.split()) for pair in ("Ġ t", "h e", "Ġt he", "c a", "Ġ Ġ", "Ċ Ċ")]
    return {
        "char": CharTokenizer(corpus.characters),
        "byte": ByteTokenizer(),
        "bpe": byte_bpe(pairs),
    }


@pytest.fixture(params=["char", "byte", "bpe"])
def tokenizer(request, tokenizers):
    return tokenizers[request.param]


def test_ids_are_those_of_the_text_in_memory(corpus, tokenizer):
    in_memory = Corpus(name="my", text=TEXT, sha256=corpus.sha256, source="")
    expected, found = (prepare(c, tokenizer, 8) for c in (in_memory, corpus))
    for part in ("train", "held_out"):
        assert np.array_equal(getattr(found, part), getattr(expected, part))
    assert found.counts == expected.counts
    assert found.bytes_per_token == expected.bytes_per_token
    assert (found.train_text, found.held_out_text) == split(TEXT)
    assert not found.train.flags.writeable
    assert found.train.dtype == (np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)
    assert len(folders()) == 1  # nothing temporary is left


def test_the_next_time_nothing_is_encoded(corpus, monkeypatch):
    n = len(split(TEXT)[0])
    first = mapped_ids(corpus, CharTokenizer(corpus.characters), n)

    def fail(self, text):
        raise AssertionError("encoded again")

    monkeypatch.setattr(CharTokenizer, "encode", fail)
    again = mapped_ids(corpus, CharTokenizer(corpus.characters), n)
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.held_out, again.held_out)
    assert again.n_train_bytes == first.n_train_bytes == len(TEXT[:n].encode())
    about = json.loads((folders()[0] / "about.json").read_text("utf-8"))
    assert (about["corpus"], about["corpus_sha256"]) == ("my.txt", corpus.sha256)


def test_a_saved_tokenizer_has_the_same_key_and_another_one_has_not(
    corpus, tokenizer, tokenizers, tmp_path
):
    tokenizer.save(tmp_path / "saved", 128)
    for one in (tokenizer, load_tokenizer(tmp_path / "saved")):
        mapped_ids(corpus, one, 100)
    assert len(folders()) == 1
    for one in tokenizers.values():
        mapped_ids(corpus, one, 100)
    assert len(folders()) == 3


def test_damaged_ids_are_made_anew(corpus):
    tokenizer = CharTokenizer(corpus.characters)
    expected = np.array(mapped_ids(corpus, tokenizer, 100).train)
    path = folders()[0] / "ids"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(bytes(data))
    assert np.array_equal(mapped_ids(corpus, tokenizer, 100).train, expected)
    (folders()[0] / "about.json").write_text("{", "utf-8")
    assert np.array_equal(mapped_ids(corpus, tokenizer, 100).train, expected)


def test_a_text_that_changes_meanwhile_is_refused_and_not_kept(corpus):
    corpus.path.write_text(TEXT.replace("cat", "dog"), "utf-8")
    with pytest.raises(DataError, match=r"my\.txt changed while it was read"):
        mapped_ids(corpus, ByteTokenizer(), 100)
    assert folders() == []


def test_an_unknown_character_is_named_with_its_place(corpus):
    known = CharTokenizer(corpus.characters.replace("😀", ""))
    with pytest.raises(TokenizerError, match=r"my\.txt, counted from its character \d+ on: '😀'"):
        mapped_ids(corpus, known, 100)


def test_progress_counts_the_characters(corpus):
    said = []
    tokenizer = CharTokenizer(corpus.characters)
    mapped_ids(corpus, tokenizer, 100, lambda what, share: said.append((what, share)))
    assert said[0][0].startswith("encoding my.txt, 1,")
    assert [share for _, share in said] == sorted({share for _, share in said})
    assert said[-1][1] == 1.0
    said.clear()
    mapped_ids(corpus, tokenizer, 100, lambda what, share: said.append((what, share)))
    assert said[-1] == ("checking the ids of my.txt", 1.0)


def test_a_cache_that_cannot_be_written(corpus, monkeypatch):
    cache_dir().mkdir(parents=True)
    (cache_dir() / "ids").write_text("a file where the folder should be", "utf-8")
    with pytest.raises(MachineError, match=r"the ids of my\.txt can't be kept in .*XDG_CACHE_HOME"):
        mapped_ids(corpus, CharTokenizer(corpus.characters), 100)


def test_the_least_recently_used_go_when_there_is_no_room(corpus, tokenizers, monkeypatch):
    monkeypatch.setattr(token_cache, "MAX_BYTES", 4000)
    oldest, newer, newest = tokenizers.values()
    for age_s, tokenizer in ((100, oldest), (50, newer)):
        mapped_ids(corpus, tokenizer, 100)
        path = max(folders(), key=lambda path: path.stat().st_mtime)
        os.utime(path, (time.time() - age_s,) * 2)
    left = cache_dir() / "ids" / "x.tmp"
    left.mkdir()
    os.utime(left, (time.time() - 90_000,) * 2)
    newer_folder = max(folders(), key=lambda path: path.stat().st_mtime)
    mapped_ids(corpus, newest, 100)
    assert len(folders()) == 2
    assert newer_folder in folders()
    assert left not in folders()


def test_a_tokenizer_with_a_token_across_every_cut_gets_the_whole_text(corpus, byte_bpe, tmp_path):
    bpe = byte_bpe([])
    bpe.save(tmp_path / "bpe", 8)
    vocab = json.loads((tmp_path / "bpe" / "vocab.json").read_text("utf-8"))
    special = type(bpe)(vocab, [], {"cat — sat\n\n on": len(vocab)})
    found = mapped_ids(corpus, special, len(TEXT))
    assert np.array_equal(found.train, special.encode(TEXT))
    assert (found.train == len(vocab)).sum() == 40
