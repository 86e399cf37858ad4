"""The border between prefix and text: the same bytes for every model and beside every partner."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.evaluation.boundary import REACH_BYTES, align
from tinygpt.evaluation.eval_texts import Text, own_text
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer

PROSE = "the cat sat on the mat; the dog sat on the log.\nand then the cat ran. " * 20


@pytest.fixture(scope="module")
def tokenizers(byte_bpe) -> dict[str, Tokenizer]:
    """Characters, and two BPEs that cut words differently."""
    return {
        "char": CharTokenizer.from_text(PROSE),
        "the": byte_bpe([("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "s"), ("a", "t")]),
        "at": byte_bpe([("c", "a"), ("Ġ", "ca"), ("s", "a"), ("e", "r")]),
    }


def text_at(border: int, n: int, whole: str = PROSE) -> Text:
    """A text that is cut in the middle: prefix, n scored characters, and what follows."""
    return Text(
        name="x",
        prefix=whole[:border],
        text=whole[border : border + n],
        source="",
        rest=whole[border + n :],
    )


def test_a_border_inside_a_word_moves_on_to_the_next(tokenizers) -> None:
    moved, found = align(text_at(1, 20), [tokenizers["the"], tokenizers["char"]])
    assert found
    assert (moved.prefix, moved.text) == ("the", " cat sat on the mat;")
    assert align(moved, [tokenizers["the"]]) == (moved, True)  # where it is well it stays


@settings(deadline=None)
@given(border=st.integers(1, 400), n=st.integers(1, 300))
def test_the_partner_changes_no_scored_byte(tokenizers, border, n) -> None:
    """Same N bytes from the same border, whoever is compared, and nothing lost on the way."""
    text = text_at(border, n)
    alone, _ = align(text, [tokenizers["char"]])
    for partners in (["the"], ["at"], ["char", "the"], ["at", "the", "char"]):
        beside, found = align(text, [tokenizers[name] for name in partners])
        assert found
        assert beside == alone
    assert len(alone.text.encode()) == n
    assert alone.prefix + alone.text + alone.rest == PROSE
    assert len(alone.prefix.encode()) - border <= REACH_BYTES


def test_a_line_begins_where_it_begins(tokenizers) -> None:
    text = own_text("A title\n1, 2 and 3 cats\n", 8)
    assert align(text, list(tokenizers.values())) == (text, True)


def test_without_words_the_first_common_place_is_taken(byte_bpe) -> None:
    one, two = byte_bpe([("1", "2"), ("12", "3")]), byte_bpe([("2", "3"), ("4", "1")])
    text = text_at(1, 8, "1234" * 10)  # 123|4|123|4 and 1|23|41|23|41
    moved, found = align(text, [one, two])
    assert found
    assert moved.prefix == "123"
    assert moved.text == "41234123"


def test_no_common_place_is_said_and_nothing_moves(byte_bpe) -> None:
    pairs, odd = byte_bpe([("1", "1")]), byte_bpe([("0", "1"), ("1", "1"), ("11", "11")])
    text = text_at(2, 8, "0" + "1" * 40)  # the first starts at odd places, from 1 on; 01|1111|...
    assert align(text, [pairs])[1]
    apart = byte_bpe([("0", "1"), ("1", "1")])  # 01|11|11: even places
    assert align(text, [pairs, apart]) == (text, False)
    assert align(text, [odd, apart])[1]


def test_no_more_than_half_of_a_short_text_is_given_up(tokenizers) -> None:
    text = text_at(5, 12, "the catastrophic cat")
    moved, found = align(text, [tokenizers["char"]])
    assert (moved.text, found) == (text.text, True)  # the next word is too far


def test_without_a_prefix_nothing_moves(tokenizers) -> None:
    text = own_text("oneword", 3)
    assert align(text, list(tokenizers.values())) == (text, True)


def test_a_character_is_never_cut_and_one_is_always_left(tokenizers) -> None:
    whole = "xx\n€" + "ä" * 50
    moved, _ = align(text_at(2, 1, whole), [tokenizers["the"]])
    assert (moved.prefix, moved.text, moved.rest[:1]) == ("xx\n", "€", "ä")
