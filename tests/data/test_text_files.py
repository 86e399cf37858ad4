"""text_files.py: the user's own files and folders, whole and in pieces."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygpt.data import text_files
from tinygpt.data.text_files import TextFiles, distinct, find, scan
from tinygpt.errors import DataError, MachineError

BLOCK_BYTES = 8


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks and a border small enough for texts of a line."""
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", BLOCK_BYTES)
    monkeypatch.setattr(text_files, "LARGE_BYTES", 0)


def write(folder: Path, texts: dict[str, str | bytes]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find(folder)]


# --- what belongs to a folder


def test_files_come_in_the_order_of_their_paths(tmp_path):
    write(tmp_path, dict.fromkeys(["b.txt", "a/b.txt", "a.txt", "a/a.TXT", "B.txt"], "x"))
    assert names(tmp_path) == ["B.txt", "a.txt", "a/a.TXT", "a/b.txt", "b.txt"]


def test_hidden_and_other_files_are_left_out(tmp_path):
    write(tmp_path, dict.fromkeys(["a.txt", ".b.txt", ".git/c.txt", "d.md", "txt"], "x"))
    assert names(tmp_path) == ["a.txt"]


def test_a_link_to_a_file_is_that_file_and_one_to_a_folder_is_refused(tmp_path):
    outside = write(tmp_path / "outside", {"b.txt": "x"})
    folder = write(tmp_path / "folder", {"a.txt": "x"})
    (folder / "b.txt").symlink_to(outside / "b.txt")
    assert names(folder) == ["a.txt", "b.txt"]
    (folder / "again").symlink_to(folder)
    with pytest.raises(DataError, match=r"folder/again is a link to a folder"):
        find(folder)


def test_what_is_no_text_is_named_with_its_file(tmp_path):
    with pytest.raises(DataError, match=r"is a folder without a \.txt file"):
        find(write(tmp_path / "none", {"a.md": "x"}))
    with pytest.raises(DataError, match=r"b\.txt is empty"):
        scan(find(write(tmp_path / "empty", {"a.txt": "x", "b.txt": ""})), "x")
    with pytest.raises(DataError, match=r"b\.txt is not UTF-8: byte 0xe9 at offset 21"):
        scan(find(write(tmp_path / "latin", {"a.txt": "x", "b.txt": b"x" * 21 + b"\xe9."})), "x")
    folder = write(tmp_path / "links", {"a.txt": "x"})
    (folder / "gone.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"gone\.txt is not a regular file"):
        find(folder)


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(MachineError, match=r"can't be read: Permission denied"):
        find(tmp_path)


# --- the text


def test_a_newline_stands_between_files_that_have_none(tmp_path):
    write(tmp_path, {"a.txt": "one", "b.txt": "two\n", "c.txt": "three\r\n", "d.txt": "four"})
    found = scan(find(tmp_path), "x")
    text = "one\ntwo\nthree\r\nfour"
    assert "".join(found.text.pieces()) == text
    assert (found.n_newlines_added, found.n_bytes) == (1, len(text))
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()


@given(
    texts=st.lists(st.text("aé\n€😀", min_size=1), min_size=1, max_size=4),
    start=st.integers(0, 60),
    length=st.integers(0, 60),
)
def test_a_large_text_is_the_same_text(texts, start, length, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write(folder, {f"{i}.txt": text for i, text in enumerate(texts)})
    joins = ["" if text.endswith("\n") else "\n" for text in texts[:-1]] + [""]
    whole = "".join(text + join for text, join in zip(texts, joins, strict=True))
    large = scan(find(folder), "x").text
    assert isinstance(large, TextFiles)
    assert "".join(large.pieces()) == whole
    assert (len(large), large.n_bytes) == (len(whole), len(whole.encode()))
    assert large.characters == "".join(sorted(set(whole)))
    assert "".join(large.pieces(start, start + length)) == whole[start : start + length]
    assert all(len(piece.encode()) <= BLOCK_BYTES + 1 for piece in large.pieces())


def test_up_to_the_border_a_text_is_a_str(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LARGE_BYTES", 20)
    assert scan(find(write(tmp_path / "a", {"a.txt": "x" * 20})), "x").text == "x" * 20
    large = scan(find(write(tmp_path / "b", {"a.txt": "x" * 21})), "x").text
    assert isinstance(large, TextFiles)


def test_progress_is_told_for_large_texts_alone(tmp_path, monkeypatch):
    files = find(write(tmp_path, {"a.txt": "x" * 80}))
    said = []
    scan(files, "my", lambda what, share: said.append((what, share)))
    assert said[0] == ("reading my, 80 bytes", 0.1)
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert said[-1][1] == 1.0
    monkeypatch.setattr(text_files, "LARGE_BYTES", 80)
    scan(files, "my", lambda what, share: pytest.fail("a small text"))


def test_files_that_are_gone_since(tmp_path):
    large = scan(find(write(tmp_path, {"a.txt": "x" * 80})), "x").text
    (tmp_path / "a.txt").unlink()
    with pytest.raises(MachineError, match=r"a\.txt can't be read: No such file"):
        list(large.pieces())


@given(text=st.text(), seen=st.sets(st.characters(codec="utf-8")))
def test_distinct_finds_all_characters(text, seen):
    assert distinct(text.encode(), seen) == set(text) | seen
