"""Every byte of a text is in exactly one token, or the tokenizer is refused."""

import pytest
from tests.inference.transformers_backend.foreign import TEXT, byte_level, like_sentencepiece
from tests.tokenizers.hard_texts import HARD

from tinygpt.errors import CheckpointError, TokenizerError
from tinygpt.inference.transformers_backend.tokenizer import TransformersTokenizer

KINDS = {
    "byte-level": byte_level,
    "byte-level with a space": lambda: byte_level(add_prefix_space=True),
    "sentencepiece": like_sentencepiece,
    "metaspace": lambda: like_sentencepiece(metaspace=True),
}


def opened(backend, n_more: int = 0) -> TransformersTokenizer:
    return TransformersTokenizer(backend, backend.get_vocab_size() + n_more, "the model")


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_the_text(kind: str) -> None:
    tokenizer = opened(KINDS[kind]())
    for text in (*HARD, TEXT, "Hello", " x", "<s> spelled </s>", "▁ written"):
        if "▁" in text and "byte-level" not in kind:
            continue
        ids = tokenizer.encode(text).tolist()
        assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode(), text
        assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode(TEXT)) < len(TEXT) / 2


def test_a_space_in_front_is_left_out_and_words_are_cut_as_before() -> None:
    backend = like_sentencepiece()
    with_space = backend.encode("the cat sat", add_special_tokens=False).ids
    tokenizer = opened(backend)
    ids = tokenizer.encode(" the cat sat").tolist()
    assert ids == with_space
    assert tokenizer.encode("the cat sat").tolist() != with_space


def test_a_text_that_spells_a_special_token_is_a_text() -> None:
    tokenizer = opened(like_sentencepiece())
    assert 1 not in tokenizer.encode("a <s> b").tolist()
    assert opened(byte_level()).encode("<|endoftext|>").tolist() != [0]


def test_the_end_of_a_text_is_known() -> None:
    assert opened(byte_level()).eot_id == 0
    assert opened(like_sentencepiece()).eot_id is None


def test_what_normalises_is_refused_where_it_does() -> None:
    from tokenizers import normalizers

    backend = byte_level()
    backend.normalizer = normalizers.Lowercase()
    tokenizer = opened(backend)
    assert tokenizer.encode("all small").size
    with pytest.raises(TokenizerError, match=r"the model changes the text: of 'É and' at byte 3 "):
        tokenizer.encode("so É and")
    backend.normalizer = normalizers.NFC()
    with pytest.raises(TokenizerError, match="byte for byte"):
        opened(backend).encode("cafe\u0301")


def test_what_loses_a_character_is_refused() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, " ": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer = opened(backend)
    assert tokenizer.encode("the the").tolist() == [1, 2, 1]
    with pytest.raises(TokenizerError, match="of 'cat' at byte 4 it makes '<unk>'"):
        tokenizer.encode("the cat")


def test_ids_without_a_text_write_nothing_and_too_few_are_refused() -> None:
    backend = byte_level()
    n = backend.get_vocab_size()
    tokenizer = opened(backend, 8)
    assert tokenizer.token_bytes[n:] == (b"",) * 8
    with pytest.raises(TokenizerError, match="outside"):
        tokenizer.decode([n + 8])
    with pytest.raises(CheckpointError, match=f"an id {n - 1}, the model has {n - 1} ids"):
        TransformersTokenizer(backend, n - 1, "the model")


def test_it_neither_truncates_nor_pads() -> None:
    backend = byte_level()
    backend.enable_truncation(3)
    backend.enable_padding(length=64)
    assert opened(backend).decode(opened(backend).encode(TEXT)) == TEXT


def test_it_is_not_written() -> None:
    with pytest.raises(TokenizerError, match="copy its files"):
        opened(byte_level()).save(None, 8)
