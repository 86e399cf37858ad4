"""A tokenizer's files: the ids of transformers, and what is refused by name."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tokenizers.hard_texts import (
    BPE,
    EOT,
    LETTERS,
    MERGES,
    check_lossless,
    hard_strings,
    tiny_bpe,
)
from transformers import AutoTokenizer, GPT2Tokenizer

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.formats.hub import gpt2_vocabulary
from tinygpt.tokenizers import bpe as module
from tinygpt.tokenizers.bpe import BPETokenizer, train_bpe
from tinygpt.tokenizers.char_byte import ByteTokenizer, CharTokenizer, Tokenizer
from tinygpt.tokenizers.load import load_tokenizer

SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


TRAINED = train_bpe(["to be or not to be, that is the question; " * 9, "\r\né😀é😀"], 280)
BYTE = ByteTokenizer()


@pytest.mark.parametrize(
    "tokenizer", [CharTokenizer.from_text("\0\r\n é́𝄞"), BYTE, TRAINED, BPE, tiny_bpe(())]
)
def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "one", 16)
    loaded = load_tokenizer(tmp_path / "one")
    assert type(loaded) is type(tokenizer)
    assert loaded.token_bytes == tokenizer.token_bytes
    assert loaded.eot_id == tokenizer.eot_id
    loaded.save(tmp_path / "two", 16)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def check_like_auto(tokenizer: Tokenizer, folder: Path, strings: list[str]) -> Any:
    """Compare with what AutoTokenizer makes of a folder; return that."""
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    auto = AutoTokenizer.from_pretrained(folder)
    assert len(auto) == tokenizer.vocab_size
    for text in strings:
        ids = tokenizer.encode(text).tolist()
        assert auto(text)["input_ids"] == ids, text
        assert auto.decode(ids) == text
    return auto


def test_65_characters_stay_65(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_text(SHAKESPEARE[::-1] * 2)
    assert tokenizer.vocab_size == 65
    tokenizer.save(tmp_path, 128)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == 65


def test_autotokenizer_opens_a_saved_char_tokenizer(tmp_path: Path) -> None:
    text = "It 's \t a . b , c ?\r\n\0\ufeff\u0301 é n't 👩‍👩‍👧 <unk> [UNK]\u2028"
    tokenizer = CharTokenizer.from_text(text)
    tokenizer.save(tmp_path, 77)
    auto = check_like_auto(tokenizer, tmp_path, [text, text[::-1], "", " ", "\n\n"])
    assert auto.model_max_length == 77
    with pytest.raises(Exception, match="UNK"):
        auto("Q")
    auto.save_pretrained(tmp_path / "resaved")
    assert load_tokenizer(tmp_path / "resaved").token_bytes == tokenizer.token_bytes


@pytest.mark.parametrize("tokenizer", [BYTE, TRAINED])
def test_autotokenizer_opens_a_saved_byte_and_trained_bpe(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path, 77)
    auto = check_like_auto(tokenizer, tmp_path, hard_strings(random.Random(3), 300))
    assert (auto.model_max_length, auto.eos_token_id) == (77, None)
    rng = np.random.default_rng(0)
    for ids in rng.integers(0, tokenizer.vocab_size, (300, 8)):  # mostly not UTF-8
        assert auto.decode(ids.tolist()) == tokenizer.decode(ids)
    auto.save_pretrained(tmp_path / "resaved")
    loaded = load_tokenizer(tmp_path / "resaved")
    assert (loaded.kind, loaded.token_bytes) == (tokenizer.kind, tokenizer.token_bytes)


def test_letters_in_another_order_are_a_bpe_without_merges(tmp_path: Path) -> None:
    tokenizer = train_bpe(["ab"], 256)
    tokenizer.save(tmp_path, 16)
    assert load_tokenizer(tmp_path).kind == "bpe"
    assert load_tokenizer(tmp_path).encode("!").tolist() == [0]


@pytest.mark.parametrize("special", [(EOT,), (), ("<pad>", EOT, "<a b>")])
def test_autotokenizer_opens_a_saved_bpe(special: tuple[str, ...], tmp_path: Path) -> None:
    tokenizer = tiny_bpe(special)
    tokenizer.save(tmp_path, 77)
    strings = hard_strings(random.Random(1), 200)
    auto = check_like_auto(tokenizer, tmp_path, ["<pad> <a b> <a", *strings])
    assert auto.model_max_length == 77
    assert auto.eos_token_id == tokenizer.eot_id
    auto.save_pretrained(tmp_path / "resaved")
    assert load_tokenizer(tmp_path / "resaved").token_bytes == tokenizer.token_bytes


def test_vocab_and_merges_without_tokenizer_json(tmp_path: Path) -> None:
    BPE.save(tmp_path, 16)
    (tmp_path / "tokenizer.json").unlink()
    merges = (tmp_path / "merges.txt").read_text("utf-8")
    assert merges.startswith("#version: 0.2\nt h\n")
    for form in (merges, merges.partition("\n")[2], merges.replace("\n", "\r\n")):
        (tmp_path / "merges.txt").write_text(form, "utf-8", newline="")
        loaded = load_tokenizer(tmp_path)
        assert loaded.token_bytes == BPE.token_bytes
        assert loaded.encode(f" the{EOT}é").tolist() == BPE.encode(f" the{EOT}é").tolist()


@pytest.mark.parametrize(
    ("tokenizer", "name", "files"),
    [
        (CharTokenizer.from_text("ab"), "PreTrainedTokenizerFast", []),
        (BYTE, "PreTrainedTokenizerFast", []),
        (TRAINED, "PreTrainedTokenizerFast", ["merges.txt", "vocab.json"]),
        (BPE, "GPT2Tokenizer", ["merges.txt", "vocab.json"]),
    ],
)
def test_files_are_those_that_transformers_4_needs_too(
    tokenizer: Tokenizer, name: str, files: list[str], tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "new" / "folder", 128)
    written = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert written == sorted([*files, "tokenizer.json", "tokenizer_config.json"])
    config = json.loads((tmp_path / "new" / "folder" / "tokenizer_config.json").read_text("utf-8"))
    assert config["tokenizer_class"] == name
    assert config["clean_up_tokenization_spaces"] is False


def test_a_merge_of_hash_signs_is_not_a_comment(tmp_path: Path) -> None:
    vocab = {token: i for i, token in enumerate([*LETTERS.values(), "##"])}
    BPETokenizer(vocab, [("#", "#")], {}).save(tmp_path, 16)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "merges.txt").write_text("# #\n")
    assert load_tokenizer(tmp_path).encode("##").tolist() == [256]


def edited(folder: Path, tokenizer: Tokenizer, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Save a tokenizer and edit its tokenizer.json."""
    tokenizer.save(folder, 16)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    edit(data)
    path.write_text(json.dumps(data), "utf-8")
    return folder


def first_published_form(data: dict[str, Any]) -> None:
    """What GPT-2's own tokenizer.json looks like: older than most keys."""
    data["model"] = {key: data["model"][key] for key in ("dropout", "vocab", "merges")}
    data["model"]["merges"] = [" ".join(pair) for pair in MERGES]
    data["added_tokens"][0]["normalized"] = True
    del data["pre_tokenizer"]["use_regex"]
    data["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}


def pairs_and_sequence(data: dict[str, Any]) -> None:
    data["model"]["merges"] = [list(pair) for pair in MERGES]
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [data["pre_tokenizer"]]}
    data["truncation"] = {"max_length": 1, "strategy": "LongestFirst", "stride": 0}


@pytest.mark.parametrize("form", [first_published_form, pairs_and_sequence])
def test_other_forms_of_the_same_bpe_are_opened(form: Any, tmp_path: Path) -> None:
    loaded = load_tokenizer(edited(tmp_path, BPE, form))
    assert loaded.token_bytes == BPE.token_bytes
    assert loaded.encode(" the the").tolist() == BPE.encode(" the the").tolist()


def model(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda data: data["model"].update(changes)


def top(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda data: data.update(changes)


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BOS = {"type": "TemplateProcessing", "special_tokens": {EOT: {"id": EOT}}}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (model(type="Unigram"), "model.type is 'Unigram'"),
        (model(type=None), "model.type is None"),
        (model(type=[]), "unhashable"),
        (model(dropout=0.1), "model.dropout is 0.1"),
        (model(byte_fallback=True), "model.byte_fallback is True"),
        (model(ignore_merges=True), "model.ignore_merges is True"),
        (model(continuing_subword_prefix="##"), "model.continuing_subword_prefix is '##'"),
        (model(end_of_word_suffix="</w>"), "model.end_of_word_suffix is '</w>'"),
        (model(merges=["a b c"]), "the merge .* is not two tokens"),
        (model(merges=[["t", 5]]), "the merge .* is not two tokens"),
        (model(merges=["t q"]), "the merge 't' 'q'"),
        (model(merges=None), "not readable"),
        (model(vocab={}), "no token has id 0"),
        (model(vocab=[["a", 0]]), "not readable"),
        (lambda d: d["model"]["vocab"].pop("Ġ"), "no token has id"),
        (lambda d: d["model"]["vocab"].update(the="258"), "no token has id 257"),
        (lambda d: d["model"]["vocab"].update({"▁a": 264}), "'▁a' is not spelled"),
        (top(normalizer={"type": "NFC"}), "normalizer.type is 'NFC'"),
        (top(normalizer="NFC"), "not readable"),
        (top(pre_tokenizer=None), "pre_tokenizer.type is None"),
        (top(pre_tokenizer=BYTES | {"add_prefix_space": True}), "add_prefix_space is True"),
        (top(pre_tokenizer=BYTES | {"use_regex": False}), "use_regex is False"),
        (
            top(pre_tokenizer={"type": "Sequence", "pretokenizers": [BYTES, BYTES]}),
            "pre_tokenizer.type is 'Sequence'",
        ),
        (top(pre_tokenizer={"type": "Sequence"}), "pre_tokenizer.type is 'Sequence'"),
        (top(decoder={"type": "WordPiece"}), "decoder.type is 'WordPiece'"),
        (top(post_processor=BOS), "post_processor.special_tokens is"),
        (top(post_processor={"type": "BertProcessing"}), "post_processor.type is"),
        (top(model=None), "not readable"),
        (lambda d: d["added_tokens"][0].update(lstrip=True), "asks for lstrip"),
        (lambda d: d["added_tokens"][0].update(id=7), "no token has id"),
        (top(added_tokens=[{"id": 264}]), "not readable"),
    ],
)
def test_what_is_not_gpt2s_bpe_is_refused_by_name(edit: Any, reason: str, tmp_path: Path) -> None:
    folder = edited(tmp_path, BPE, edit)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_tokenizer(folder)
    assert str(caught.value).startswith(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (model(vocab={"b": 0, "a": 1}), "code point order"),
        (model(vocab={"a": 0, "b": 2}), "no token has id 1"),
        (model(vocab={"a": 0, "<unk>": 1}), "'<unk>' is a special token, or not one character"),
        (model(unk_token="a"), "'a' is a special token"),
        (model(vocab={"a": 0, "\ud800": 1}), "surrogate"),
        (top(added_tokens=[{"id": 3, "content": "[UNK]"}]), r"'\[UNK\]' is a special token"),
        (top(normalizer={"type": "Lowercase"}), "normalizer.type is 'Lowercase'"),
        (top(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer.type is 'Whitespace'"),
        (lambda d: d["pre_tokenizer"].update(behavior="Removed"), "behavior is 'Removed'"),
        (lambda d: d["pre_tokenizer"].update(pattern={"Regex": "(a+)+$"}), "pattern is"),
        (top(decoder=None), "decoder.type is None"),
    ],
)
def test_what_is_not_our_char_file_is_refused(edit: Any, reason: str, tmp_path: Path) -> None:
    folder = edited(tmp_path, CharTokenizer.from_text("abc"), edit)
    with pytest.raises(CheckpointError, match=reason):
        load_tokenizer(folder)


@pytest.mark.parametrize("key", ["add_prefix_space", "add_bos_token", "add_eos_token"])
def test_a_config_that_adds_to_the_text_is_refused(key: str, tmp_path: Path) -> None:
    BPE.save(tmp_path, 16)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({key: True}))
    with pytest.raises(CheckpointError, match=rf"tokenizer_config.json: {key} is true"):
        load_tokenizer(tmp_path)


def test_missing_files_say_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    message = (
        "has no tokenizer: looked for tokenizer.json, then for vocab.json with merges.txt; copy"
    )
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"a":1e999}'])
def test_damaged_files_are_named(name: str, data: bytes, tmp_path: Path) -> None:
    BPE.save(tmp_path, 16)
    if name != "tokenizer.json":
        (tmp_path / "tokenizer.json").unlink()
    if name == "merges.txt" and not data.strip():
        data = b"the"
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"(tokenizer|vocab).json|merges.txt"):
        load_tokenizer(tmp_path)


def test_oversized_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BPE.save(tmp_path, 16)
    monkeypatch.setattr("tinygpt.tokenizers.load._MAX_FILE_BYTES", 1000)
    with pytest.raises(CheckpointError, match=r"tokenizer.json: .*larger than 1,000 bytes"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("tokenizer", [CharTokenizer.from_text("abc"), BYTE, BPE])
def test_a_folder_that_cant_be_written_is_the_machines_fault(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"tokenizer.json can't be written"):
        tokenizer.save(tmp_path / "file" / "folder", 16)


# --- GPT-2's true vocabulary


@pytest.fixture(scope="session")
def gpt2_folder() -> Path:
    try:
        return gpt2_vocabulary()
    except MachineError as error:
        pytest.skip(f"GPT-2's vocabulary can't be fetched: {error}")


@pytest.fixture(scope="session")
def gpt2(gpt2_folder: Path) -> BPETokenizer:
    tokenizer = load_tokenizer(gpt2_folder)
    assert isinstance(tokenizer, BPETokenizer)
    return tokenizer


@pytest.mark.index
def test_gpt2_ids_equal_transformers_on_1000_hard_strings(
    gpt2_folder: Path, gpt2: BPETokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = GPT2Tokenizer.from_pretrained(gpt2_folder)
    assert (gpt2.vocab_size, gpt2.eot_id, len(theirs)) == (50257, 50256, 50257)
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    strings = hard_strings(random.Random(0), 1000)
    assert len(set(strings)) == 1000
    expected = [theirs(text)["input_ids"] for text in strings]
    for piece in (2000, 1):
        monkeypatch.setattr(module, "_PIECE", piece)
        for text, ids in zip(strings, expected, strict=True):
            assert gpt2.encode(text).tolist() == ids, text
            check_lossless(gpt2, text)
    ids = [i for row in expected for i in row]
    joined = "".join(strings)
    np.testing.assert_array_equal(gpt2.encode(joined), theirs(joined)["input_ids"])
    assert len(ids) > 20_000  # so many tokens were compared


@pytest.mark.index
def test_gpt2_folder_that_we_save_is_the_same_to_autotokenizer(
    gpt2: BPETokenizer, gpt2_folder: Path, tmp_path: Path
) -> None:
    gpt2.save(tmp_path, 1024)
    strings = hard_strings(random.Random(2), 400)
    auto = check_like_auto(gpt2, tmp_path, strings)
    assert (auto.model_max_length, auto.eos_token_id, auto.bos_token_id) == (1024, 50256, 50256)
    rng = np.random.default_rng(0)
    for ids in rng.integers(0, 50257, (300, 8)):  # mostly not UTF-8 at the seams
        assert auto.decode(ids.tolist()) == gpt2.decode(ids)
    assert load_tokenizer(tmp_path).token_bytes == gpt2.token_bytes
    for name in ("vocab.json", "merges.txt"):
        read = [(folder / name).read_text("utf-8") for folder in (tmp_path, gpt2_folder)]
        same = [json.loads(t) if name == "vocab.json" else t.split("\n")[1:] for t in read]
        assert same[0] == same[1]
