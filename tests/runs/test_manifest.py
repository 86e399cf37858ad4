"""A folder is held against what was written."""

import json

import pytest

from tinygpt.errors import CheckpointError
from tinygpt.runs.manifest import MANIFEST, read_object, verify, write_manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name * 9)
    write_manifest(tmp_path, ("a", "b"))
    return tmp_path


def test_what_was_not_touched_is_whole(folder):
    verify(folder, ("a", "b"))
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert {name: entry["bytes"] for name, entry in files.items()} == {"a": 9, "b": 9}


def test_two_files_that_changed_places_are_noticed(folder):
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    with pytest.raises(CheckpointError, match="a is not what was written"):
        verify(folder, ("a", "b"))


def test_what_the_manifest_does_not_know_is_not_whole(folder):
    (folder / "c").touch()
    with pytest.raises(CheckpointError, match="c is not what was written"):
        verify(folder, ("a", "b", "c"))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a": 1, "a": 2}'])
def test_a_manifest_that_is_no_object_is_an_error_of_ours(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=MANIFEST):
        read_object(folder / MANIFEST)
