"""Texts made ready for scoring: prefix rules, cuts at character boundaries, held-out parts."""

import hashlib
import json
from pathlib import Path

import pytest

from tinygpt.errors import CheckpointError, ConfigError, DataError
from tinygpt.evaluation.eval_texts import (
    escape_probability,
    held_out_text,
    own_text,
    python_docs,
    text_file,
)


def make_run(folder: Path, corpus: Path, sha256: str | None = None, **data: object) -> Path:
    """The part of a run folder that evaluation/eval_texts.py reads."""
    folder.mkdir()
    found = hashlib.sha256(corpus.read_bytes()).hexdigest()
    table = {"corpus": str(corpus), "sha256": sha256 or found}
    (folder / "training.json").write_text(json.dumps({"corpus": table, "data": data}), "utf-8")
    return folder


def test_first_line_is_the_prefix_and_not_scored() -> None:
    text = own_text("A title\nThe rest,\nof two lines.\n", name="mine", source="here")
    assert (text.prefix, text.text) == ("A title\n", "The rest,\nof two lines.\n")
    assert (text.name, text.source) == ("mine", "here")


def test_prefix_is_at_most_256_bytes_and_whole_characters() -> None:
    long_line = "ä" * 200 + "\nrest"
    text = own_text(long_line)
    assert text.prefix == "ä" * 128
    assert text.prefix + text.text == long_line
    odd = own_text("x" + "ä" * 200)
    assert odd.prefix == "x" + "ä" * 127  # 255 bytes: one more would cut a character
    assert odd.prefix + odd.text == "x" + "ä" * 200


def test_a_single_short_line_is_scored_without_a_prefix() -> None:
    text = own_text("only this line\n")
    assert (text.prefix, text.text) == ("", "only this line\n")


def test_n_bytes_cuts_the_scored_text_at_a_character() -> None:
    text = own_text("title\n" + "äb" * 10, 4)
    assert text.text == "äb"  # the second ä would make 5 bytes
    assert text.described.endswith("; the first 3 of 30 bytes")
    assert text.prefix + text.text + text.rest == "title\n" + "äb" * 10
    assert own_text("title\nabc", 3).described == "a text of your own"  # all of it: no such remark


@pytest.mark.parametrize("n_bytes", [0, -1, 1])
def test_n_bytes_that_leaves_nothing_is_refused(n_bytes: int) -> None:
    with pytest.raises(ConfigError, match=f"bytes={n_bytes}"):
        own_text("title\n€uro", n_bytes)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        own_text("")


def test_text_file_reads_bytes_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    path.write_bytes(b"one\r\ntwo\r\n")
    text = text_file(path)
    assert (text.prefix, text.text, text.name) == ("one\r\n", "two\r\n", path.name)
    with pytest.raises(DataError, match="neither a named corpus nor a file"):
        text_file(tmp_path / "none.txt")


def test_python_docs_is_on_every_machine() -> None:
    text = python_docs(1000)
    assert text.name == "python-docs"
    assert 997 <= len(text.text.encode()) <= 1000
    assert text.prefix.endswith("\n")


def test_held_out_text_stands_behind_the_end_of_the_training_part(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"line {i} ü\n" for i in range(2000)), "utf-8")
    whole = corpus.read_text("utf-8")
    n_train = int(0.9 * len(whole))
    text = held_out_text(make_run(tmp_path / "run", corpus))
    assert text.text == whole[n_train:]
    assert whole[:n_train].endswith(text.prefix)
    assert 8190 <= len(text.prefix.encode()) <= 8192
    assert text.name == corpus.name
    assert "held-out" in text.source
    few = held_out_text(tmp_path / "run", 100)
    assert text.text.startswith(few.text)
    assert 98 <= len(few.text.encode()) <= 100


def test_held_out_text_of_a_changed_or_lost_corpus_is_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("something else", "utf-8")
    run = make_run(tmp_path / "run", corpus, sha256="0" * 64)
    with pytest.raises(DataError, match=r"has changed.*--text"):
        held_out_text(run)
    corpus.unlink()
    with pytest.raises(DataError, match=r"neither a named corpus nor a file.*--text"):
        held_out_text(run)


def test_held_out_text_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no training\.json"):
        held_out_text(tmp_path)


def test_held_out_text_of_a_run_without_a_corpus_is_refused(tmp_path: Path) -> None:
    """As the config doctor writes training.json."""
    for table in ("{}", '{"corpus": {}}', '{"corpus": null}', '{"corpus": {"corpus": "x.txt"}}'):
        (tmp_path / "training.json").write_text(table, "utf-8")
        with pytest.raises(CheckpointError, match=r"does not say which corpus.*--text"):
            held_out_text(tmp_path)


def test_escape_probability_follows_from_the_training_part(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("text", "utf-8")
    run = make_run(tmp_path / "run", corpus, n_train_characters=999)
    assert escape_probability(run) == 1 / 1000
    assert escape_probability(make_run(tmp_path / "other", corpus)) is None
    assert escape_probability(tmp_path) is None
    assert escape_probability(None) is None
