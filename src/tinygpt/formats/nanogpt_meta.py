"""nanoGPT's meta.pkl: the characters of a corpus, read out of a pickle without running it.

A pickle is a program that may call anything. This reader knows only the instructions that build
dicts, lists, texts and whole numbers; for what finds or calls a class or function it has no code.
`pickletools` names the instructions (https://docs.python.org/3/library/pickletools.html).
"""

import pickletools
from pathlib import Path
from typing import Any

from tinygpt.errors import CheckpointError

__all__ = ["read_characters"]

MAX_FILE_BYTES = 2**22
"""A meta file larger than this is refused unread; Tiny Shakespeare's has 703 bytes."""

_IGNORED = ("PROTO", "FRAME")
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "INT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "UNICODE"),
}
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")


def read_characters(path: Path) -> tuple[str, ...]:
    """Return the text of each id of a character model's meta.pkl.

    Raises:
        CheckpointError: no such file, an instruction that is not among ours, or contents that are
            not a vocabulary of characters.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise CheckpointError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes: not a meta.pkl")
    try:
        meta = _build(data)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a pickle of dicts, lists, texts and whole numbers alone ({error}); give "
            "the training text with --text instead"
        ) from None
    return _characters(meta, path)


def _build(data: bytes) -> Any:
    """Follow the instructions of a pickle; ValueError for one that could do more than hold data."""
    stack: list[Any] = []
    marks: list[int] = []  # where on the stack the items of a list or dict begin
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "MEMOIZE" or name in _PUTS:
            memo[len(memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in _GETS:
            stack.append(memo[int(argument)])
        elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "DICT", "LIST"):
            _fill(name, stack, marks)
        elif name == "STOP":
            return stack.pop()
        elif name not in _IGNORED:
            raise ValueError(f"it holds the instruction {name}")
    raise ValueError("it has no end")


def _fill(name: str, stack: list[Any], marks: list[int]) -> None:
    """Put the items on top of the stack into the dict or list below them, or into a new one."""
    n_items = {"APPEND": 1, "SETITEM": 2}.get(name)
    start = marks.pop() if n_items is None else len(stack) - n_items
    items = stack[start:]
    del stack[start:]
    if name in ("DICT", "LIST"):
        stack.append({} if name == "DICT" else [])
    if name in ("APPEND", "APPENDS", "LIST"):
        list.extend(stack[-1], items)
    else:
        dict.update(stack[-1], zip(items[::2], items[1::2], strict=True))


def _characters(meta: Any, path: Path) -> tuple[str, ...]:
    """Check nanoGPT's three keys against each other and return the characters in order of ids."""
    itos = meta.get("itos") if isinstance(meta, dict) else None
    if isinstance(itos, dict) and all(type(i) is int for i in itos):
        itos = [itos[i] for i in sorted(itos)] if sorted(itos) == [*range(len(itos))] else None
    if not isinstance(itos, list) or not itos:
        raise CheckpointError(
            f'{path}: no "itos", the character of each id from 0 on; give the training text with '
            "--text instead"
        )
    for token in itos:
        if type(token) is not str or len(token) != 1:
            shown = repr(token)[:60] if type(token) is str else f"of type {type(token).__name__}"
            raise CheckpointError(
                f"{path}: the token {shown} is not one character; only vocabularies of characters "
                "can be converted"
            )
    stoi = {character: i for i, character in enumerate(itos)}
    if len(stoi) != len(itos) or meta.get("stoi", stoi) != stoi:
        raise CheckpointError(f'{path}: "stoi" is not the inverse of "itos"; the file is damaged')
    if meta.get("vocab_size", len(itos)) != len(itos):
        raise CheckpointError(
            f"{path}: vocab_size={meta['vocab_size']!r}, but it has {len(itos)} characters; the "
            "file is damaged"
        )
    return tuple(itos)
