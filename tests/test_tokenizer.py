"""Tokenizers: exact round trips, the ids of transformers, and files that are refused by name."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Tokenizer

from tinygpt import tokenizer as module
from tinygpt.errors import CheckpointError, MachineError, TokenizerError
from tinygpt.hub import gpt2_vocabulary
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, TextStream, Tokenizer
from tinygpt.tokenizer_file import load_tokenizer

EOT = "<|endoftext|>"
SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
LETTERS = {b: chr(b) for b in PRINTABLE}
LETTERS |= {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in LETTERS)}
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "Ġ"), ("Ċ", "Ċ"), ("Ã", "©"), ("ð", "Ł")]

HARD = [
    "", " ", "  ", "   a", "a   ", " a ", "\t", "\t\ta", " \t \n ", "\n", "\n\n\n", "\r\n",
    "a\r\nb\r\n", "\r", "a\n b", "a \nb", "a  \n  b", "a\n\n\nb", " \n", "\n ", "\0", "a\0b",
    "\x00\x01\x02\x7f", "\ufeff", "\ufeffHello", "Hello\ufeff",
    "I'm you're he'll they've she'd it's don't", "I'M YOU'RE DON'T", "'s 't 're 've 'm 'll 'd",
    "''s", "' s", "’s", "o'clock's", "'''", "it''s", "''''ll", "0", "00", "1234567890",
    "3.14159", "1,000,000", "٣٤٥", "½²³", "Ⅷ", "a1b2c3", "1st 2nd", "$5.00!", "👍",
    "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽👍🏿", "🇩🇪🇫🇷", "a😀b", "😀 😀", "𝄞𝔘𝔫𝔦", "𐍈",
    "\U0010ffff", "🫠", "e\u0301", "é", "n\u0303o", "a\u0300\u0301\u0302\u0303", "\u0301",
    " \u0301", "Z̸̡͎a̵l̶g̴o̷", "ﬁ", "İı", "日本語", "中文 字符", "한국어", "ひらがな カタカナ",
    "。、！", "𠮷野家", "שלום עולם", "مرحبا بالعالم", "नमस्ते", "ไทย", "\u202eabc\u202c",
    "a\u200bb", "a\u200db", "\u2028", "a\u2028b", "\u2029", "\x85", "a\x85b", "\xa0", "a\xa0b",
    "\u3000全角", "\u1680", "\u180e", "\u2009a", "\u202f", "\x1c\x1d\x1e\x1f", "\x0b\x0c",
    "a\x0b b", "\xad", EOT, f"a{EOT}b", f" {EOT} ", f"{EOT}{EOT}", f"{EOT}\n{EOT}",
    "<|endoftext|", "|endoftext|>", "<|ENDOFTEXT|>", f"<|endof{EOT}text|>", f"\n\n{EOT}",
    f"{EOT}the", f"the{EOT}", f"x  {EOT}  x", "<|im_start|>", "<pad>", "<unk>", "a" * 5000,
    " " * 5000, "\n" * 3000, "^" * 3000, "😀" * 1000, "é" * 1000, "ab" * 2500, "1" * 3000,
    " a" * 2500, "a " * 2500, "\r\n" * 1500, "\t" * 1001, "." * 999, "'" * 999, "\u0301" * 500,
    "\0" * 500, "x = [1,2,3];\n\tif (x != y) {\n\t\treturn;\n\t}\n",
    "https://example.org/a?b=c&d=%20#e", "<p>&amp;</p>",
    "def f(x):\n    return x ** 2  # squared\n", "C:\\path\\file", "--- +++ ===", "ÃƒÂ©",
    "Ġ Ċ Ġthe", "ĠĠ", "word" + " " * 7 + "word", "word" + "\n" * 7 + "word", "word \n \n word",
    "trailing   ", "trailing\t\n",
]  # fmt: skip
PIECES = [
    " ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", "\0", "\ufeff", "\xa0", "\x85", "\u2028",
    "\u3000", "'s", "'ll", "'", "n't", "the", " the", " The", "ing", "THE", "Hello", " world",
    ".", ",", "...", "!?", "--", "7", "42", " 1999", "٣", "½", "é", "e\u0301", "ß", "ſ", "日本",
    "語", "한국", "שלום", " مرحبا", "नमस्ते", "😀", "👩\u200d👩\u200d👧", "🏽", "𝄞", "\u200d",
    "\u202e", EOT, f" {EOT}", "<|", "|>", "endoftext", "a" * 50, " " * 50,
]  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]))
nasty = st.lists(st.sampled_from(PIECES)).map("".join)


def tiny_bpe(special: tuple[str, ...] = (EOT,)) -> BPETokenizer:
    """256 bytes, seven merges, then the special tokens."""
    tokens = [*LETTERS.values(), *(a + b for a, b in MERGES)]
    vocab = {token: i for i, token in enumerate(tokens)}
    return BPETokenizer(vocab, MERGES, {token: len(tokens) + i for i, token in enumerate(special)})


BPE = tiny_bpe()


def hard_strings(rng: random.Random, n: int) -> list[str]:
    """Return n different strings: the list above, mixtures, and random code points."""
    strings = dict.fromkeys(HARD[:n])
    while len(strings) < n:
        points = [rng.choice([0x80, 0x800, 0x3100, 0xD800, 0x20000]) for _ in range(12)]
        code_points = "".join(chr(rng.randrange(top)) for top in points)
        code_points = re.sub("[\ud800-\udfff]", "", code_points)
        mixture = "".join(rng.choices(PIECES, k=rng.randint(2, 15)))
        strings[mixture if rng.random() < 0.7 else code_points] = None
    return list(strings)


def check_lossless(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()


# --- characters


@given(st.data())
def test_char_round_trip_is_exact(data: st.DataObject) -> None:
    alphabet = data.draw(texts.filter(bool))
    tokenizer = CharTokenizer.from_text(alphabet)
    text = data.draw(st.text(st.sampled_from(alphabet)))
    assert len(tokenizer.encode(text)) == len(text)
    check_lossless(tokenizer, text)


def test_char_ids_count_characters_in_code_point_order() -> None:
    tokenizer = CharTokenizer.from_text("banana\r\n𝄞")
    assert tokenizer.characters == "\n\rabn𝄞"
    assert tokenizer.encode("𝄞ab\n").tolist() == [5, 2, 3, 0]
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.eot_id) == ("char", 6, None)


def test_65_characters_stay_65(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_text(SHAKESPEARE[::-1] * 2)
    assert tokenizer.vocab_size == 65
    tokenizer.save(tmp_path, 128)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == 65


@pytest.mark.parametrize("unknown", ["é", "\x00", "\ud800", "\U0010ffff", "B"])
def test_char_names_an_unknown_character_and_its_place(unknown: str) -> None:
    tokenizer = CharTokenizer.from_text("\n?abcz")
    text = f"abc\nab{unknown}c"
    place = rf"\(U\+{ord(unknown):04X}\) at line 2, column 3 \(index 6\).*the tokenizer's 6 char"
    with pytest.raises(TokenizerError, match=place) as caught:
        tokenizer.encode(text)
    assert str(caught.value).startswith(repr(unknown))
    str(caught.value).encode()  # printable, surrogate or not
    assert tokenizer.unknown(text + "a" + unknown) == unknown
    assert tokenizer.known_mask(text).tolist() == [c != unknown for c in text]


def test_char_known_mask_beyond_the_last_known_character() -> None:
    tokenizer = CharTokenizer.from_text("".join(map(chr, range(100))))  # all ids are taken
    assert (
        tokenizer.known_mask("".join(map(chr, range(300)))).tolist() == [True] * 100 + [False] * 200
    )


def test_empty_text_is_no_ids() -> None:
    for tokenizer in (CharTokenizer.from_text("a"), BPE):
        assert tokenizer.encode("").shape == (0,)
        assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("characters", ["", "ba", "aab", "a\udc80"])
def test_char_refuses_impossible_alphabets(characters: str) -> None:
    with pytest.raises(TokenizerError):
        CharTokenizer(characters)


@pytest.mark.parametrize("tokenizer", [CharTokenizer.from_text("abc"), BPE])
@pytest.mark.parametrize("wrong", [-1, "V", 2**40, 2**70, 0.5])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, wrong: Any) -> None:
    wrong = tokenizer.vocab_size if wrong == "V" else wrong
    with pytest.raises(TokenizerError, match=r"id.*(outside 0 to|whole numbers)"):
        tokenizer.decode([0, wrong])
    with pytest.raises(TokenizerError):
        TextStream(tokenizer).push(wrong)
    with pytest.raises(TokenizerError, match="a row"):
        tokenizer.decode(np.zeros((2, 2), dtype=np.int64))
    last = tokenizer.vocab_size - 1
    assert tokenizer.decode(np.array([last], np.uint16)) == tokenizer.token_bytes[last].decode()


# --- byte-level BPE


@given(texts | nasty)
@settings(max_examples=300, deadline=None)
def test_bpe_round_trip_is_exact(text: str) -> None:
    check_lossless(BPE, text)


@given(texts | nasty, st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_bpe_pieces_give_the_ids_of_the_whole(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", len(text) + 1)
        whole = BPE.encode(text)
        patch.setattr(module, "_PIECE", size)
        np.testing.assert_array_equal(BPE.encode(text), whole)


def test_bpe_does_not_cut_a_special_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_bpe((EOT, "<the end>"))
    monkeypatch.setattr(module, "_PIECE", 1)
    assert tokenizer.encode("a b<the end> c").tolist()[3] == tokenizer.vocab_size - 1
    check_lossless(tokenizer, "a b<the end> c")


def test_bpe_merges_and_special_token() -> None:
    the, space_the, eot = (BPE.encode(t).tolist() for t in ("the", " the", EOT))
    assert [len(the), len(space_the), eot] == [1, 1, [BPE.eot_id]]
    assert BPE.encode(f"the the{EOT}the").tolist() == [*the, *space_the, *eot, *the]
    assert BPE.token_bytes[eot[0]] == EOT.encode()
    assert (BPE.kind, BPE.vocab_size, BPE.eot_id) == ("bpe", 264, 263)
    assert tiny_bpe(()).eot_id is None
    assert len(tiny_bpe(()).encode(EOT)) == len(EOT)


@pytest.mark.parametrize("text", ["\ud800", "ab\ncd\udfff", "\ude00\ud83d"])
def test_bpe_refuses_lone_surrogates(text: str) -> None:
    with pytest.raises(TokenizerError, match=r"U\+D[0-9A-F]{3}\) at line \d, column \d .*UTF-8"):
        BPE.encode(text)


def test_bpe_decodes_stray_bytes_as_replacement_characters() -> None:
    ids = [PRINTABLE.index(b) if b in PRINTABLE else 0 for b in (0xE9, 0x41)]
    assert BPE.decode(ids) == "\ufffdA"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v, m, s: v.pop("!"), "no token has id 0"),
        (lambda v, m, s: v.update({"a": 1}), "no token has id"),
        (lambda v, m, s: v.update({'"': True}), "no token has id 1;"),
        (lambda v, m, s: v.update({'"': 1.0}), "no token has id 1;"),
        (lambda v, m, s: v.update({"!!": v.pop("!")}), "1 of the 256 bytes"),
        (lambda v, m, s: v.update({"日本": 264}), "'日本' is not spelled"),
        (lambda v, m, s: v.update({"": 264}), "'' is not spelled"),
        (lambda v, m, s: m.append(("a", "b")), "the merge 'a' 'b'"),
        (lambda v, m, s: s.update({"\ud800": 264}), "surrogate"),
        (lambda v, m, s: s.update({"the": v["the"]}), "the merge 'th' 'e'"),
    ],
)
def test_bpe_refuses_parts_that_disagree(change: Callable[..., Any], reason: str) -> None:
    tokens = [*LETTERS.values(), *(a + b for a, b in MERGES)]
    parts = {token: i for i, token in enumerate(tokens)}, list(MERGES), {EOT: len(tokens)}
    change(*parts)
    with pytest.raises(TokenizerError, match=reason):
        BPETokenizer(*parts)


# --- streams


@given(st.lists(st.integers(0, BPE.vocab_size - 1)))
def test_stream_pieces_join_to_the_decoded_text(ids: list[int]) -> None:
    stream = TextStream(BPE)
    for _ in range(2):  # finish makes it ready for another text
        assert "".join([stream.push(i) for i in ids] + [stream.finish()]) == BPE.decode(ids)


@given(texts)
def test_stream_never_shows_half_a_character(text: str) -> None:
    stream = TextStream(BPE)
    shown = ""
    for i in BPE.encode(text):
        shown += stream.push(i)
        assert text.startswith(shown)
    assert (shown, stream.finish()) == (text, "")


# --- folders


@pytest.mark.parametrize("tokenizer", [CharTokenizer.from_text("\0\r\n é́𝄞"), BPE, tiny_bpe(())])
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
    monkeypatch.setattr("tinygpt.tokenizer_file._MAX_FILE_BYTES", 1000)
    with pytest.raises(CheckpointError, match=r"tokenizer.json: it has more than 1,000 bytes"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("tokenizer", [CharTokenizer.from_text("abc"), BPE])
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
