"""A tokenizer under a model with more ids: they cost and write nothing, and too many are refused.

The logits are measured in formats/test_variants.py.
"""

import pytest
from benchmarks.variants import TOKENIZER, VARIANTS, V, saved

import tinygpt
from tinygpt.errors import CheckpointError, TokenizerError


def test_rows_that_no_token_has_write_nothing(tmp_path) -> None:
    saved(tmp_path / "model", vocab_size=V + 46)
    lm = tinygpt.load(tmp_path / "model")
    assert "the model has 304 ids, its tokenizer 258; the last 46 write nothing" in lm.notes[0]
    assert lm.tokenizer.decode([97, V, V + 45]) == TOKENIZER.decode([97])
    assert lm.tokenizer.encode("abba").tolist() == TOKENIZER.encode("abba").tolist()
    assert len(lm.generate("ab", max_new_tokens=40, seed=1)) > 0
    assert lm.evaluate("abba\nab", prefix="ab").bits_per_byte > 0


@pytest.mark.parametrize("n", [-1, 1024])
def test_a_tokenizer_of_another_model_is_refused(n, tmp_path) -> None:
    saved(tmp_path / "model", vocab_size=V + n, bos_token_id=None, eos_token_id=None)
    with pytest.raises(CheckpointError, match=r"the tokenizer has 258 ids.*do not belong together"):
        tinygpt.load(tmp_path / "model")


def test_tokens_that_transformers_added_are_ids_of_their_own(tmp_path) -> None:
    from transformers import AutoTokenizer

    VARIANTS["tokens added by transformers"](tmp_path / "model")
    lm = tinygpt.load(tmp_path / "model")
    text = "ab zebra<|pad|> a<|endoftext|>"
    ids = AutoTokenizer.from_pretrained(tmp_path / "model")(text)["input_ids"]
    assert lm.tokenizer.encode(text).tolist() == ids
    assert lm.tokenizer.decode(ids) == text


def test_ids_of_neither_are_refused_and_files_are_the_tokenizers(tmp_path) -> None:
    saved(tmp_path / "model", vocab_size=V + 3)
    lm = tinygpt.load(tmp_path / "model")
    assert (lm.tokenizer.vocab_size, lm.tokenizer.kind) == (V + 3, "bpe")
    assert lm.tokenizer.eot_id == TOKENIZER.eot_id
    assert lm.tokenizer.token_bytes[V - 1 :] == (b"<|endoftext|>", b"", b"", b"")
    with pytest.raises(TokenizerError, match="outside 0 to 260"):
        lm.tokenizer.decode([V + 3])
    lm.tokenizer.save(tmp_path / "again", 16)
    TOKENIZER.save(tmp_path / "plain", 16)
    for path in sorted((tmp_path / "plain").iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
