"""Every model on the same bytes, with its own and with equal context, and honest differences."""

import dataclasses
import math

import pytest

from tinygpt.comparison.score_models import ROOM, score_all
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import TokenizerError
from tinygpt.evaluation.bootstrap import BLOCK_BYTES
from tinygpt.evaluation.eval_texts import Text
from tinygpt.evaluation.token_losses import by_context, score_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained
from tinygpt.model.gpt import GPT
from tinygpt.progress import Progress
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer

LINE = "the cat sat on the mat; the dog sat on the log, and then the cat ran.\n"
TEXT = Text(name="cats", text=LINE * 140, prefix=LINE, source="here")


def real(name: str, tokenizer: Tokenizer, n_positions: int) -> LanguageModel:
    """Random weights that count as real here."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=n_positions, n_embd=16, n_layer=1, n_head=2
    )
    return dataclasses.replace(untrained(name, config, tokenizer, ""), missing_weights=None)


@pytest.fixture
def pair(byte_bpe) -> list[LanguageModel]:
    char = CharTokenizer.from_text(LINE)
    bpe = byte_bpe([("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "t"), ("Ġ", "s")])
    return [real("char", char, 32), real("bpe", bpe, 64)]


def score(models, text=TEXT, escape_unknown=True):
    return score_all(models, text, escape_unknown=escape_unknown, say=Progress())


def test_equal_context_is_as_many_bytes_of_text_for_everyone(pair) -> None:
    found = score(pair)
    assert found.matched_context_bytes == 32.0  # the character model's 32 tokens of one byte
    char, bpe = found.scores["char"], found.scores["bpe"]
    assert char.matched == char.native
    per_token = bpe.native.n_bytes / bpe.native.n_tokens
    assert per_token > 1.2
    assert bpe.native.context == 64
    assert bpe.matched.context == round(32 / per_token)
    assert bpe.matched.stride == bpe.matched.context // 2
    assert bpe.matched.sha256 == bpe.native.sha256 == char.native.sha256
    expected = pair[1].evaluate(TEXT.text, prefix=TEXT.prefix, context=bpe.matched.context)
    assert bpe.matched.total_nats == pytest.approx(expected.total_nats)


def test_differences_are_of_the_same_figures(pair) -> None:
    found = score(pair)
    for differences, pick in (
        (found.differences, "native"),
        (found.matched_differences, "matched"),
    ):
        (difference,) = differences
        assert (difference.first, difference.second) == ("char", "bpe")
        a, b = (getattr(found.scores[name], pick) for name in ("char", "bpe"))
        assert difference.bits_per_byte == pytest.approx(a.bits_per_byte - b.bits_per_byte)
    assert found.no_interval is None


def test_a_model_beside_itself_is_no_different(pair) -> None:
    twin = dataclasses.replace(pair[0], name="twin")
    (difference,) = score([pair[0], twin]).differences
    assert not difference.detected
    assert (difference.low, difference.high) == (0.0, 0.0)


def test_above_two_models_the_pairs_are_corrected(pair) -> None:
    third = dataclasses.replace(pair[0], name="third")
    found = score([*pair, third]).differences
    assert [d.n_compared for d in found] == [3, 3, 3]


def test_no_interval_has_a_reason(pair) -> None:
    assert "only one model" in score(pair[:1]).no_interval
    short = dataclasses.replace(TEXT, text=LINE * 3)
    found = score(pair, short)
    assert found.differences == found.matched_differences == ()
    assert "too few for an interval" in found.no_interval
    nobody = score([])
    assert (nobody.scores, nobody.matched_context_bytes) == ({}, None)


def test_blocks_are_as_long_as_the_longest_context_where_there_is_room(byte_bpe) -> None:
    long = real("long", CharTokenizer.from_text(LINE), 1500)
    assert score([long]).block_bytes == BLOCK_BYTES  # 9,800 bytes have no room for 16 of 1,500
    n = math.ceil(ROOM * 1500 / len(LINE)) * len(LINE)
    roomy = dataclasses.replace(TEXT, text=(LINE * n)[:n])
    assert score([long], roomy).block_bytes == 1500


def test_unknown_characters_are_refused_or_paid_for(pair, tmp_path) -> None:
    odd = dataclasses.replace(TEXT, text="the cät")
    with pytest.raises(TokenizerError, match="ä"):
        score(pair, odd, escape_unknown=False)
    (tmp_path / "training.json").write_text('{"data": {"n_train_characters": 99}}', "utf-8")
    lm = dataclasses.replace(pair[0], path=tmp_path)
    native = score([lm], odd).scores["char"].native
    known = -math.log1p(-0.01) * 6
    paid = math.log(100) + 16 * math.log(2)
    assert native.unknown_nats == pytest.approx(paid)
    assert native.escape_share == pytest.approx((paid + known) / native.total_nats)
    assert score(pair).scores["char"].native.escape_share == 0.0


def test_every_length_of_context_is_there(pair) -> None:
    scores = score_all(pair, TEXT, escape_unknown=True, with_context=True, say=Progress()).scores
    bins = scores["bpe"].by_context
    assert (bins[0].begin_bytes, bins[0].end_bytes) == (0, 32)
    assert bins[-1].end_bytes in (64, 128)
    assert sum(b.n_bytes for b in bins) == len(TEXT.text)
    lm = pair[1]
    (alone,) = score_text(
        lm.model, lm.tokenizer, TEXT.text, prefix=TEXT.prefix, strides=[lm.config.n_positions]
    )
    for found, expected in zip(bins, by_context(alone), strict=True):
        assert found.n_bytes == expected.n_bytes
        assert found.bits_per_byte == pytest.approx(expected.bits_per_byte, rel=1e-6)
    assert score(pair).scores["bpe"].by_context == ()


def test_what_context_is_worth_costs_no_second_pass(pair, monkeypatch) -> None:
    """The windows that stand side by side are among the sliding ones."""
    read = []
    hidden = GPT.hidden

    def counted(self, idx, *args, **kwargs):
        read.append(idx.numel())
        return hidden(self, idx, *args, **kwargs)

    monkeypatch.setattr(GPT, "hidden", counted)
    score(pair[:1])
    alone = sum(read)
    score_all(pair[:1], TEXT, escape_unknown=True, with_context=True, say=Progress())
    assert sum(read) == 2 * alone
