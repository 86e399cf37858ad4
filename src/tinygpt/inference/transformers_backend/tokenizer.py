"""The tokenizer.json of another family's model, held to the rule that every byte of a text counts.

Byte-level BPEs spell bytes in GPT-2's letters; those that come from SentencePiece write a space as
"▁" and a byte that has no token as <0x0A>. Either way the tokens of a text, joined, must be the
text: what normalises it, or loses a character, is refused where it does so.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygpt.errors import CheckpointError, TokenizerError
from tinygpt.tokenizers.char_byte import BYTE_LETTERS, EOT, AnyIds, checked_ids, refuse_surrogates

__all__ = ["TransformersTokenizer"]

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SHOWN = 12  # characters on each side of a difference


class TransformersTokenizer:
    """Any tokenizer of the tokenizers library, ids 0 to V-1 (those without a text are no bytes).

    No token is put before or after a text. Nor is the space that some put before its first word: it
    is not in the text, so that the model would pay for a byte that nobody wrote.
    """

    def __init__(self, backend: Any, vocab_size: int, name: str) -> None:
        """Take a `tokenizers.Tokenizer`.

        Args:
            backend: is changed: it truncates and pads no more.
            vocab_size: ids that the model has; those that the tokenizer lacks write nothing.
            name: of the model, for messages.

        Raises:
            CheckpointError: the tokenizer has ids that the model lacks.
        """
        data = json.loads(backend.to_str())
        if [step for step in _steps(data) if _leave_out_space(step)]:
            backend = type(backend).from_str(json.dumps(data))
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # a text that spells <s> is a text
        highest = max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= vocab_size:
            raise CheckpointError(
                f"{name}: its tokenizer has an id {highest}, the model has {vocab_size:,} ids; the "
                "files do not belong together, copy both from where the model came from"
            )
        self._backend, self._name, self.vocab_size = backend, name, vocab_size
        self._spell = _spelling(data)
        self.kind = str(data["model"].get("type", "BPE")).lower()
        self.eot_id: int | None = backend.token_to_id(EOT)

    def __repr__(self) -> str:
        """Say how many ids it has."""
        return f"<TransformersTokenizer of {self.vocab_size:,} ids, {self.kind}>"

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of each id, maybe part of a character; of a special token, its literal text."""
        added = {i: t.content.encode() for i, t in self._backend.get_added_tokens_decoder().items()}
        tokens = map(self._backend.id_to_token, range(self.vocab_size))
        return tuple(
            b"" if token is None else added[i] if i in added else self._spell(token)
            for i, token in enumerate(tokens)
        )

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32.

        Raises:
            TokenizerError: a lone surrogate, or a text that the tokens do not spell.
        """
        wanted = refuse_surrogates(text)
        ids = self._backend.encode(text, add_special_tokens=False).ids
        spelled = b"".join(map(self.token_bytes.__getitem__, ids))
        if spelled != wanted:
            raise TokenizerError(_difference(wanted, spelled, Path(self._name).name))
        return np.array(ids, dtype=np.int32)

    def decode(self, ids: AnyIds) -> str:
        """Return the text of ids; TokenizerError for an id outside 0 to V-1."""
        row = checked_ids(ids, self.vocab_size).tolist()
        return b"".join(map(self.token_bytes.__getitem__, row)).decode("utf-8", "replace")

    def save(self, folder: Path, n_positions: int) -> None:
        """Refuse: tinygpt trains and writes GPT-2s only."""
        raise TokenizerError(
            f"{self._name}: tinygpt writes no tokenizer of another family to {folder} (context "
            f"{n_positions}); copy its files"
        )


def _steps(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps before a text is cut, those in sequences too."""
    waiting = [data.get("normalizer"), data.get("pre_tokenizer")]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            waiting += [*step.get("normalizers", ()), *step.get("pretokenizers", ())]


def _leave_out_space(step: dict[str, Any]) -> bool:
    """Make a step put no space before a text; False if it puts none."""
    if step.get("type") == "Prepend":
        step.clear()
        step |= {"type": "Sequence", "normalizers": []}
    elif step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never":
        step["prepend_scheme"] = "never"
        step.pop("add_prefix_space", None)
    elif step.get("type") == "ByteLevel" and step.get("add_prefix_space"):
        step["add_prefix_space"] = False
    else:
        return False
    return True


def _spelling(data: dict[str, Any]) -> Callable[[str], bytes]:
    """Return what writes a token of the vocabulary as bytes, told from the decoder."""
    decoder = data.get("decoder") or {}
    steps = decoder.get("decoders", [decoder])
    if any(step.get("type") == "ByteLevel" for step in steps):
        return _byte_level
    replaced = {
        step["pattern"]["String"]: step["content"]
        for step in steps
        if step.get("type") == "Replace" and "String" in step["pattern"]
    }
    replaced |= {s.get("replacement", "▁"): " " for s in steps if s.get("type") == "Metaspace"}
    bytes_too = any(step.get("type") == "ByteFallback" for step in steps)

    def spell(token: str) -> bytes:
        if bytes_too and (found := _BYTE.fullmatch(token)):
            return bytes([int(found[1], 16)])
        for written, meant in replaced.items():
            token = token.replace(written, meant)
        return token.encode()

    return spell


def _byte_level(token: str) -> bytes:
    if not set(token) <= BYTE_LETTERS.keys():
        return token.encode()
    return bytes(BYTE_LETTERS[letter] for letter in token)


def _difference(wanted: bytes, spelled: bytes, name: str) -> str:
    pairs = enumerate(zip(wanted, spelled, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(wanted), len(spelled)))
    begin = len(wanted[:at].decode("utf-8", "ignore").encode())  # of the character
    text = wanted[begin:].decode()[:_SHOWN]
    other = spelled[begin:].decode("utf-8", "replace")[:_SHOWN]
    return (
        f"the tokenizer of {name} changes the text: of {text!r} at byte {begin:,} it makes "
        f"{other!r}; a model is measured only on a text that its tokens spell byte for byte: "
        "compare on another text, or leave this model out"
    )
