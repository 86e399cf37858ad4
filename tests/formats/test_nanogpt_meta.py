"""meta.pkl: what nanoGPT writes is read; whatever could run code has no instruction here."""

import collections
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinygpt.errors import CheckpointError
from tinygpt.formats import nanogpt_meta
from tinygpt.formats.nanogpt_meta import read_characters


def meta_of(characters: str) -> dict[str, Any]:
    """What nanoGPT's prepare.py pickles."""
    return {
        "vocab_size": len(characters),
        "itos": dict(enumerate(characters)),
        "stoi": {c: i for i, c in enumerate(characters)},
    }


def write(folder: Path, data: Any, protocol: int = 4) -> Path:
    path = folder / "meta.pkl"
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("characters", ["a", "\n !abé€𝄞", "".join(map(chr, range(32, 2000)))])
def test_what_nanogpt_writes_in_any_protocol(characters, protocol, tmp_path) -> None:
    path = write(tmp_path, meta_of(characters), protocol)
    assert read_characters(path) == tuple(characters)


def test_ids_may_stand_in_a_list_and_in_any_order(tmp_path) -> None:
    assert read_characters(write(tmp_path, {"itos": list("ba")})) == ("b", "a")
    assert read_characters(write(tmp_path, {"itos": {1: "b", 0: "c"}})) == ("c", "b")


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("where", ["alone", "as a value", "as a key's neighbour"])
def test_nothing_runs(where, protocol, tmp_path) -> None:
    canary = tmp_path / "canary"
    evil: Any = Evil(canary)
    if where == "as a value":
        evil = meta_of("ab") | {"more": evil}
    elif where == "as a key's neighbour":
        evil = [meta_of("ab"), evil]
    path = write(tmp_path, evil, protocol)
    with pytest.raises(CheckpointError, match=r"the instruction .*--text") as caught:
        read_characters(path)
    assert "\n" not in str(caught.value)
    assert not canary.exists()
    pickle.loads(path.read_bytes())  # the trap is a real one
    assert canary.exists()


def test_no_instruction_that_finds_calls_or_extends_is_known(tmp_path) -> None:
    """Every opcode that is not ours is refused by name, whatever Python adds."""
    ours = {
        *nanogpt_meta._VALUES,
        *nanogpt_meta._IGNORED,
        *nanogpt_meta._PUTS,
        *nanogpt_meta._GETS,
        *("EMPTY_DICT", "EMPTY_LIST", "MARK", "MEMOIZE", "STOP"),
        *("SETITEM", "SETITEMS", "APPEND", "APPENDS", "DICT", "LIST"),
    }
    others = [op for op in pickletools.opcodes if op.name not in ours]
    names = {op.name for op in others}
    assert {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "REDUCE", "BUILD", "EXT1"} <= names
    assert {"PERSID", "BINPERSID", "NEWOBJ_EX", "NEXT_BUFFER"} <= names
    for op in others:
        data = op.code.encode("latin-1") + b"1\n1\n" + b"\0" * 16
        with pytest.raises(CheckpointError):
            read_characters(write(tmp_path, data))


def test_objects_of_the_standard_library_are_refused_too(tmp_path) -> None:
    for value in (collections.OrderedDict(a=1), {1, 2}, (1, 2), b"ab", 1.5, None, True):
        with pytest.raises(CheckpointError, match="not a pickle of dicts, lists"):
            read_characters(write(tmp_path, meta_of("ab") | {"more": value}))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ([], 'no "itos"'),
        ({}, 'no "itos"'),
        ({"itos": {}}, 'no "itos"'),
        ({"itos": "ab"}, 'no "itos"'),
        ({"itos": {0: "a", 2: "b"}}, 'no "itos"'),
        ({"itos": {"0": "a"}}, 'no "itos"'),
        ({"itos": {0: "ab"}}, "the token 'ab' is not one character"),
        ({"itos": {0: 7}}, "the token of type int is not one character"),
        ({"itos": {0: "a", 1: "a"}}, '"stoi" is not the inverse'),
        ({"itos": {0: "a"}, "stoi": {"a": 1}}, '"stoi" is not the inverse'),
        ({"itos": {0: "a"}, "vocab_size": 2}, "vocab_size=2, but it has 1 characters"),
    ],
)
def test_contents_that_are_no_vocabulary(meta, message, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_characters(write(tmp_path, meta))


def test_hostile_files_cost_little(tmp_path) -> None:
    deep = b"]" + b"]\x94" * 100_000 + b"a" * 100_000 + b"."
    long_name = b"\x8d" + struct.pack("<Q", 2**62) + b"x"
    far_memo = b"}r\xff\xff\xff\xff."  # C's reader would make room for four billion entries
    cyclic = b"}\x94\x8c\x04itos]\x94h\x01as."
    for data in (deep, long_name, far_memo, cyclic, b"", b".", b"}", b"u.", b"h\x05.", b"0", b"s"):
        with pytest.raises(CheckpointError):
            read_characters(write(tmp_path, data))
    with pytest.raises(CheckpointError, match="larger than"):
        read_characters(write(tmp_path, b"}" * (nanogpt_meta.MAX_FILE_BYTES + 1)))
    with pytest.raises(CheckpointError, match="can't be read"):
        read_characters(tmp_path / "none.pkl")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
def test_random_bytes_are_refused_or_read(tmp_path, data) -> None:
    for content in (data, pickle.dumps(meta_of("ab"))[: len(data)] + data):
        try:
            read_characters(write(tmp_path, content))
        except CheckpointError as error:
            assert "\n" not in str(error)  # noqa: PT017
