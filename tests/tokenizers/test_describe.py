"""How a tokenizer cuts a text, for the eye."""

import pytest

from tinygpt.tokenizers.char_byte import ByteTokenizer, CharTokenizer
from tinygpt.tokenizers.describe import first_words, token_texts, tokenization


def test_first_words_end_where_a_word_does() -> None:
    text = "\n  " + "the cat sat on the mat " * 9
    words = first_words(text)
    assert words.startswith("the cat")
    assert 60 < len(words) <= 72
    assert text.lstrip()[len(words)] == " "
    assert words[-1] != " "
    assert first_words("short") == "short"
    assert len(first_words("x" * 500)) == 72


def test_tokens_of_all_tokenizers_make_the_same_words(byte_bpe) -> None:
    words = first_words("To be, or not to be: that is the question. " * 3)
    for tokenizer in (
        CharTokenizer.from_text(words),
        ByteTokenizer(),
        byte_bpe([("t", "h"), ("th", "e"), ("Ġ", "b"), ("Ġb", "e")]),
    ):
        assert "".join(token_texts(tokenizer, tokenizer.encode(words))) == words


def test_a_part_of_a_character_is_spelled() -> None:
    tokens = token_texts(ByteTokenizer(), ByteTokenizer().encode("é"))
    assert tokens == ("\\xc3", "\\xa9")


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (CharTokenizer("ab"), "raw characters"),
        (ByteTokenizer(), "raw bytes"),
        (None, "BPE subwords"),
    ],
)
def test_its_kind_in_words(tokenizer, words) -> None:
    assert tokenization(tokenizer) == words
