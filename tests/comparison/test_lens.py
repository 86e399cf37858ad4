"""The lens: every byte paid once, sums as evaluate has them, two models on the same places."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tinygpt.comparison.lens import look
from tinygpt.comparison.lens_result import Lens
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError, MachineError, TokenizerError
from tinygpt.evaluation.eval_texts import Text, own_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained
from tinygpt.tokenizers.char_byte import ByteTokenizer, CharTokenizer, Tokenizer

TEXT = "the cat sat on the mat\nand the añejo 猫 sat: the end.\n" * 3
ESCAPE = 1 / 1001


@pytest.fixture(scope="module")
def opened(make_gpt, torch_engine) -> Callable[..., LanguageModel]:
    """opened(tokenizer, name): a small model with wide random weights and a context of 16."""

    def make(tokenizer: Tokenizer, name: str = "one", path: Path | None = None) -> LanguageModel:
        sizes = {"n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
        config = ModelConfig(vocab_size=tokenizer.vocab_size, **sizes)
        lm = untrained(name, config, tokenizer, "")
        engine = torch_engine(make_gpt(config))
        return dataclasses.replace(lm, engine=engine, missing_weights=None, path=path)

    return make


@pytest.fixture
def bpe(byte_bpe) -> Tokenizer:
    """Tokens of several bytes, some of which end within the three bytes of 猫."""
    return byte_bpe([("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "t"), ("ç", "Į")])


@pytest.fixture
def tokenizers(bpe) -> dict[str, Tokenizer]:
    return {"char": CharTokenizer.from_text(TEXT), "byte": ByteTokenizer(), "bpe": bpe}


def sums(lens: Lens) -> list[tuple[float, ...]]:
    """Per model the total by tokens, characters and stretches."""
    return [
        (
            math.fsum(token.bits for token in view.tokens),
            math.fsum(lens.character_bits(view)),
            math.fsum(stretch.bits[i] for stretch in lens.stretches()),
            math.fsum(stretch.bits[0] for stretch in lens.stretches(view)),
        )
        for i, view in enumerate(lens.views)
    ]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("window", [{}, {"context": 5, "stride": 2}])
def test_totals_are_those_of_evaluate(opened, tokenizers, kind, window) -> None:
    lm, text = opened(tokenizers[kind]), own_text(TEXT)
    lens = look([lm], text, **window)
    expected = lm.evaluate(text.text, prefix=text.prefix, **window)
    (view,) = lens.views
    assert view.evaluation == expected
    assert view.tokenization == kind
    for total in (*sums(lens)[0], view.bits):
        assert total == pytest.approx(expected.total_nats / math.log(2), rel=1e-9)
    raw = text.text.encode()
    assert "".join(s.text for s in lens.stretches()) == text.text
    places = [(token.begin, token.end) for token in view.tokens]
    assert [begin for begin, _ in places] == [0, *(end for _, end in places[:-1])]
    assert places[-1][1] == len(raw) == expected.n_bytes
    assert len(places) == expected.n_tokens
    for token in view.tokens:
        assert token.token == raw[token.begin : token.end].decode("utf-8", "backslashreplace")


def test_unknown_characters_cost_the_escape_code_or_are_refused(opened, tmp_path) -> None:
    (tmp_path / "training.json").write_text('{"data": {"n_train_characters": 1000}}', "utf-8")
    lm = opened(CharTokenizer.from_text(TEXT.replace("猫", "")), path=tmp_path)
    text = own_text(TEXT)
    lens = look([lm], text, escape_unknown=True)
    expected = lm.evaluate(text.text, prefix=text.prefix, escape=ESCAPE)
    (view,) = lens.views
    assert view.evaluation == expected
    assert expected.n_unknown == 3
    assert sums(lens)[0] == pytest.approx([expected.total_nats / math.log(2)] * 4, rel=1e-9)
    unknown = [token for token in view.tokens if token.token == "猫"]
    assert [t.bits for t in unknown] == pytest.approx([-math.log2(ESCAPE) + 24] * 3)
    assert {(t.rank, t.alternatives) for t in unknown} == {(None, ())}
    assert look([lm, lm], text).views[0].evaluation.n_unknown == 3  # two are a comparison
    for models, pays in (([lm], None), ([lm, lm], False)):
        with pytest.raises(TokenizerError, match="猫"):
            look(models, text, escape_unknown=pays)


def test_alternatives_and_ranks_are_what_the_model_holds_likely(opened, tokenizers) -> None:
    lm = opened(tokenizers["bpe"])
    text = own_text("a\nthe cat that")
    (view,) = look([lm], text).views
    ids = lm.tokenizer.encode("a\nthe cat that").tolist()
    first = len(ids) - len(view.tokens)
    for i, token in enumerate(view.tokens, first):
        with torch.inference_mode():
            p = lm.model(torch.tensor([ids[:i]]))[0, -1].softmax(-1).double().numpy()
        order = np.argsort(-p)
        assert token.rank == order.tolist().index(ids[i]) + 1
        assert 2**-token.bits == pytest.approx(p[ids[i]], rel=1e-4)
        names = [lm.tokenizer.token_bytes[j].decode("utf-8", "backslashreplace") for j in order[:5]]
        assert [a.token for a in token.alternatives] == names
        assert [a.probability for a in token.alternatives] == pytest.approx(p[order[:5]], rel=1e-4)


def test_a_stretch_ends_where_a_token_of_both_ends(opened, tokenizers) -> None:
    text = Text(name="t", text="at the 猫at", prefix="a\n", source="here")
    char, bpe = opened(tokenizers["char"]), opened(tokenizers["bpe"], "two")
    lens = look([char, bpe], text)
    assert [view.name for view in lens.views] == ["one", "two"]
    assert [s.text for s in lens.stretches()] == ["at", " the", " ", "猫", "at"]
    places = [(s.begin, s.end) for s in lens.stretches()]
    assert places == [(0, 2), (2, 6), (6, 7), (7, 10), (10, 12)]
    assert [s.text for s in lens.stretches(lens.views[0])] == list(text.text)
    tokens = [token.token for token in lens.views[1].tokens]
    assert tokens == ["at", " the", " ", "\\xe7\\x8c", "\\xab", "at"]
    per_character = lens.character_bits(lens.views[1])
    assert per_character[2:6] == pytest.approx([lens.views[1].tokens[1].bits / 4] * 4)
    cat = lens.stretches()[3]
    assert cat.bits[1] == pytest.approx(sum(t.bits for t in lens.views[1].tokens[3:5]))


def test_two_models_share_the_border_of_a_comparison(opened, tokenizers, byte_bpe) -> None:
    """A border within a word moves on to the next one, for both; alone, a model keeps its own."""
    pair = [opened(tokenizers["char"]), opened(tokenizers["bpe"], "two")]
    text = Text(name="t", text="he cat sat on", prefix="the mat\nt", source="here", rest=" the mat")
    lens = look(pair, text)
    assert lens.common_border
    assert lens.text.startswith(" cat sat on")
    assert lens.views[0].evaluation.sha256 == lens.views[1].evaluation.sha256
    assert lens.prefix_bytes == len("the mat\nthe")
    assert look(pair[1:], text).text == text.text


def test_a_first_token_with_nothing_before_it_has_no_alternatives(opened) -> None:
    (view,) = look(
        [opened(CharTokenizer("ab"))], Text(name="t", text="aba", prefix="", source="")
    ).views
    assert (view.tokens[0].rank, view.tokens[0].alternatives) == (None, ())
    assert view.tokens[0].bits == pytest.approx(1.0)
    assert len(view.tokens[1].alternatives) == 2  # as many as there are
    assert view.bits == pytest.approx(view.evaluation.total_nats / math.log(2))


def test_an_id_without_token_is_named(opened) -> None:
    lm = opened(CharTokenizer("abc"))
    padded = dataclasses.replace(lm, tokenizer=CharTokenizer("ab"))
    (view,) = look([padded], Text(name="t", text="abab", prefix="a", source="")).views
    assert {"(id 2, no token)"} < {a.token for t in view.tokens for a in t.alternatives}


def test_the_document_is_json_with_the_documented_fields(opened, tokenizers) -> None:
    lens = look([opened(tokenizers["char"]), opened(tokenizers["bpe"], "two")], TEXT, n_bytes=40)
    document = json.loads(lens.to_json())
    page = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text("utf-8")
    told = page.partition("## The lens")[2].partition("\n## ")[0]
    for table in (
        document,
        document["views"][0],
        document["views"][0]["tokens"][0],
        document["views"][0]["tokens"][0]["alternatives"][0],
        document["stretches"][0],
    ):
        for name in table:
            assert f"`{name}`" in told, name
    assert len(document["views"][1]["character_bits"]) == len(document["text"])
    assert document["views"][1]["bits"] == lens.views[1].bits
    assert document["stretches"][0]["bits"] == list(lens.stretches()[0].bits)


def test_the_lens_refuses_what_it_cannot_show(opened, tokenizers) -> None:
    lm = opened(tokenizers["byte"])
    for models in ([], [lm] * 3):
        with pytest.raises(ConfigError, match="one or two"):
            look(models, "text")
    with pytest.raises(TokenizerError, match="surrogate"):
        look([lm], "a\ud800")
    random = dataclasses.replace(lm, missing_weights="run `hf download x`")
    with pytest.raises(MachineError, match="hf download x"):
        look([random], "text")


def test_progress_names_model_and_text(opened, tokenizers) -> None:
    told = []
    look(
        [opened(tokenizers["byte"])], TEXT, progress=lambda what, share: told.append((what, share))
    )
    assert {what for what, _ in told} == {"one on text"}
    shares = [share for _, share in told]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
