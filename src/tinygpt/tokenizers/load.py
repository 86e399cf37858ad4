"""Reads the tokenizer of a model folder: tokenizer.json, or GPT-2's own vocab.json and merges.txt.

From a file we take vocabulary, merges and special tokens alone; the rules by which they cut a text
are ours (char_byte.py, bpe.py), and a file that asks for others is refused by name.
"""

from collections import Counter
from os.path import isfile
from pathlib import Path
from typing import Any

from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError, TokenizerError
from tinygpt.storage.files import read_small
from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import (
    BYTE_LETTERS,
    CHAR_SPLIT,
    EOT,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    check_vocabulary,
)

__all__ = ["load_tokenizer"]

_MAX_FILE_BYTES = 16 * 2**20  # GPT-2's tokenizer.json has 1.4 MB
_MAX_MERGES_PER_TOKEN = 4  # GPT-2 has one: each merge makes a token
_MAX_SPECIAL, _MAX_SPECIAL_LENGTH = 1000, 1000  # tokens, characters: each is looked for everywhere

# What a tokenizer.json must say, by model.type. A tuple holds alternatives; null, false, 0 and ""
# count as the same, and a key left out as right (but for `type`). Nothing else in it changes ids or
# text: where each byte has an id, a BPE's unk_token never comes up; truncation is up to the caller.
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_AFFIXES = {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
_ALWAYS: dict[str, dict[str, Any]] = {
    "normalizer": {"type": None},
    "post_processor": {"type": (None, "ByteLevel", "TemplateProcessing"), "special_tokens": {}},
}
_RULES: dict[str, dict[str, dict[str, Any]]] = {
    "WordLevel": {"pre_tokenizer": CHAR_SPLIT, "decoder": {"type": "Fuse"}},
    "BPE": {
        "pre_tokenizer": _BYTE_LEVEL,
        "decoder": {"type": "ByteLevel"},
        "model": {"dropout": None, "byte_fallback": False, "ignore_merges": False} | _AFFIXES,
    },
}


def load_tokenizer(folder: Path) -> Tokenizer:
    """Open the tokenizer of a model folder: tokenizer.json, else vocab.json and merges.txt.

    Raises:
        CheckpointError: files missing, damaged, or asking for what tinygpt does not compute.
    """
    names = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "merges.txt")
    path, whole, vocab, merges = (folder / name for name in names)
    if not isfile(whole) and not (isfile(vocab) and isfile(merges)):
        raise CheckpointError(
            f"{folder} has no tokenizer: looked for tokenizer.json, then for vocab.json with "
            "merges.txt; copy them from where the model came from"
        )
    try:
        settings = parse_json(_read(path)) if isfile(path) else {}
        for key in ("add_prefix_space", "add_bos_token", "add_eos_token"):
            if settings.get(key):
                raise TokenizerError(f"{key} is true")
        path = whole
        if isfile(path):
            return _from_tokenizer_json(parse_json(_read(path)))
        path = merges
        lines = [line.rstrip("\r") for line in _read(path).split("\n")]
        pairs = [line for line in lines if line and not line.startswith("#version")]
        path = vocab
        return _bpe(parse_json(_read(path)), pairs, {})
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: {_reason(error)}; tinygpt opens GPT-2's byte-level BPE and its own "
            "character files"
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, TokenizerError):
        return str(error)
    why = f"no {error}" if isinstance(error, KeyError) else str(error)
    if isinstance(error, RecursionError):
        why = "nested too deeply"
    return f"not readable as a tokenizer's file ({why})"


def _from_tokenizer_json(data: dict[str, Any]) -> Tokenizer:
    model, special = data["model"], {}
    kind = model.get("type", "BPE" if "merges" in model else None)  # GPT-2's own file has no type
    if kind not in _RULES:
        raise TokenizerError(f"model.type is {kind!r:.60}")
    for section, rule in (_ALWAYS | _RULES[kind]).items():
        _refuse_other(section, data.get(section) or {}, rule)
    added = data.get("added_tokens") or []
    if len(added) > _MAX_SPECIAL:
        raise TokenizerError(f"it has {len(added):,} added tokens, more than {_MAX_SPECIAL:,}")
    for token in added:
        if not 0 < len(token["content"]) <= _MAX_SPECIAL_LENGTH:
            raise TokenizerError(
                f"an added token has {len(token['content']):,} characters, not 1 to "
                f"{_MAX_SPECIAL_LENGTH:,}"
            )
        if token["content"] in special:
            raise TokenizerError(f"the added token {token['content']!r:.60} is there twice")
        special[token["content"]] = token["id"]
        for flag in ("lstrip", "rstrip", "single_word"):
            if token.get(flag):
                raise TokenizerError(f"the added token {token['content']!r:.60} asks for {flag}")
    vocab = model["vocab"]
    if kind == "BPE":
        return _bpe(vocab, model["merges"], special)
    for token in [*special, *(t for t in vocab if len(t) != 1 or t == model.get("unk_token"))]:
        raise TokenizerError(f"{token!r:.60} is a special token, or not one character")
    check_vocabulary(vocab)
    return CharTokenizer("".join(sorted(vocab, key=vocab.__getitem__)))


def _refuse_other(section: str, step: dict[str, Any], rule: dict[str, Any]) -> None:
    if step.get("type") == "Sequence":  # a sequence of one step is that step
        steps = next((value for value in step.values() if isinstance(value, list)), [])
        step = steps[0] if len(steps) == 1 else step
    for key, right in rule.items():
        value = step.get(key, None if key == "type" else right)
        if (value or None) not in (right if isinstance(right, tuple) else (right or None,)):
            raise TokenizerError(f"{section}.{key} is {value!r:.80}, not {right!r}")


def _bpe(vocab: dict[str, int], merges: list[Any], special: dict[str, int]) -> Tokenizer:
    if vocab == BYTE_LETTERS and not merges and not special:
        return ByteTokenizer()
    if isinstance(merges, list) and len(merges) > 1000 + _MAX_MERGES_PER_TOKEN * len(vocab):
        raise TokenizerError(f"{len(merges):,} merges make {len(vocab):,} tokens: too many")
    pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]
    for pair in pairs:
        if [type(token) for token in pair] != [str, str]:
            raise TokenizerError(f"the merge {pair!r:.60} is not two tokens")
    if len(set(pairs)) < len(pairs):
        twice = next(pair for pair, n in Counter(pairs).items() if n > 1)
        raise TokenizerError(f"the merge {twice!r:.60} is there twice")
    end = {EOT: vocab[EOT]} if EOT in vocab else {}  # special to GPT2Tokenizer in any case
    return BPETokenizer(vocab, pairs, end | special)


def _read(path: Path) -> str:
    return read_small(path, _MAX_FILE_BYTES).decode()
