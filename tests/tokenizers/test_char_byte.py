"""Characters and bytes: exact round trips, ids that can't be, and text out of single ids."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokenizers.hard_texts import BPE, HARD, check_any_ids, check_lossless, nasty, texts

from tinygpt.errors import TokenizerError
from tinygpt.tokenizers.char_byte import ByteTokenizer, CharTokenizer, TextStream, Tokenizer

BYTE = ByteTokenizer()


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
    for tokenizer in (CharTokenizer.from_text("a"), BYTE, BPE):
        assert tokenizer.encode("").shape == (0,)
        assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("characters", ["", "ba", "aab", "a\udc80"])
def test_char_refuses_impossible_alphabets(characters: str) -> None:
    with pytest.raises(TokenizerError):
        CharTokenizer(characters)


@pytest.mark.parametrize("tokenizer", [CharTokenizer.from_text("abc"), BYTE, BPE])
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
    text = tokenizer.token_bytes[last].decode("utf-8", "replace")
    assert tokenizer.decode(np.array([last], np.uint16)) == text


# --- bytes


@given(texts | nasty)
@settings(deadline=None)
def test_byte_round_trip_is_exact_and_ids_are_the_bytes(text: str) -> None:
    check_lossless(BYTE, text)
    assert BYTE.encode(text).tolist() == list(text.encode())


@pytest.mark.parametrize("text", HARD)
def test_byte_round_trip_of_hard_texts(text: str) -> None:
    check_lossless(BYTE, text)


@given(st.lists(st.integers(0, 255)))
def test_byte_holds_bytes_that_are_no_text(ids: list[int]) -> None:
    check_any_ids(BYTE, ids)
    assert b"".join(BYTE.token_bytes[i] for i in ids) == bytes(ids)


def test_lone_continuation_bytes_decode_to_replacement_characters() -> None:
    assert BYTE.decode([0x80, 0x41, 0xBF]) == "\ufffdA\ufffd"
    assert BYTE.decode(list("é".encode())[:1]) == "\ufffd"
    assert (BYTE.kind, BYTE.vocab_size, BYTE.eot_id) == ("byte", 256, None)


@pytest.mark.parametrize("text", ["\ud800", "ab\ncd\udfff"])
def test_byte_refuses_lone_surrogates(text: str) -> None:
    with pytest.raises(TokenizerError, match=r"U\+D[0-9A-F]{3}\) at line \d, column \d .*UTF-8"):
        BYTE.encode(text)


# --- streams


@given(st.lists(st.integers(0, BPE.vocab_size - 1)))
def test_stream_pieces_join_to_the_decoded_text(ids: list[int]) -> None:
    stream = TextStream(BPE)
    for _ in range(2):  # finish makes it ready for another text
        assert "".join([stream.push(i) for i in ids] + [stream.finish()]) == BPE.decode(ids)


@pytest.mark.parametrize("tokenizer", [BYTE, BPE])
@given(text=texts)
def test_stream_never_shows_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    stream = TextStream(tokenizer)
    shown = ""
    for i in tokenizer.encode(text):
        shown += stream.push(i)
        assert text.startswith(shown)
    assert (shown, stream.finish()) == (text, "")
