"""What one job is given: its text, its tokens, and what the model thought of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.inference.test_generate import Pieces, Script
from tests.serve.batching.test_scheduler import Noted
from tests.serve.serving import Heard, job_of, model_of

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.inference.generate import stream_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.gpt import GPT
from tinygpt.serve.batching.batcher import Batcher
from tinygpt.serve.batching.jobs import Job
from tinygpt.serve.batching.logprobs import spelled
from tinygpt.serve.batching.scheduler import Scheduler
from tinygpt.serve.batching.sequence import ActiveSequence


@pytest.fixture(params=["native", "torch"])
def lm(
    request: Any, tiny_config: ModelConfig, make_gpt: Callable[..., GPT], char_tokenizer: Any
) -> LanguageModel:
    return model_of(make_gpt(tiny_config), char_tokenizer, request.param)


def run(lm: LanguageModel, job: Job, chunk: int = 5) -> Heard:
    heard = Heard()
    batcher = Batcher(lm, n_slots=2, prefill_chunk=chunk)
    batcher.submit(job, heard)
    heard.wait()
    batcher.close(1)
    return heard


def plain(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    """Log probabilities after each id, (T, V), from one pass over all of them."""
    with torch.no_grad():
        return lm.model(torch.tensor([ids]))[0].double().log_softmax(-1)


class TestLogprobs:
    def test_are_a_plain_softmax(self, lm: LanguageModel) -> None:
        prompt = [3, 1, 4, 1]
        heard = run(lm, job_of(prompt, temperature=1.5, top_k=3, logprobs=4, max_new_tokens=10))
        rows = plain(lm, prompt + heard.ids)
        tokens = [token for piece in heard.pieces for token in piece.tokens]
        assert len(tokens) == 10
        for i, token in enumerate(tokens):
            row = rows[len(prompt) + i - 1]
            assert token.logprob == pytest.approx(row[token.id].item(), abs=1e-4)
            best = row.topk(4)
            assert [p for _, p in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)
            texts = [lm.tokenizer.decode([j]) for j in best.indices.tolist()]
            assert [text for text, _ in token.top] == texts
            assert token.text == lm.tokenizer.decode([token.id])

    @pytest.mark.parametrize("chunk", [1, 4, 64])
    def test_of_a_prompt(self, lm: LanguageModel, chunk: int) -> None:
        prompt = list(range(7, 20))
        job = job_of(prompt, echo=True, logprobs=1, max_new_tokens=2)
        heard = run(lm, job, chunk)
        rows = plain(lm, prompt)
        tokens = [token for piece in heard.pieces if piece.prompt for token in piece.tokens]
        assert [token.id for token in tokens] == prompt
        assert (tokens[0].logprob, tokens[0].top) == (None, ())
        for i, token in enumerate(tokens[1:]):
            assert token.logprob == pytest.approx(rows[i, token.id].item(), abs=1e-4)
            assert token.top[0][1] == pytest.approx(rows[i].max().item(), abs=1e-4)
        echoed = "".join(piece.text for piece in heard.pieces if piece.prompt)
        assert echoed == lm.tokenizer.decode(prompt)
        assert len(heard.ids) == 2

    def test_scoring_is_what_evaluate_says(self, lm: LanguageModel) -> None:
        text = "to be or not bE"
        start = [int(i) for i in lm.tokenizer.encode("\n")]  # as `evaluate` starts a text
        ids = start + [int(i) for i in lm.tokenizer.encode(text)]
        heard = run(lm, job_of(ids, echo=True, logprobs=0, max_new_tokens=0))
        tokens = [token for piece in heard.pieces for token in piece.tokens]
        nats = -math.fsum(token.logprob for token in tokens[1:] if token.logprob is not None)
        assert nats == pytest.approx(lm.evaluate(text).total_nats, rel=1e-6)
        assert heard.reason == "length"
        assert heard.ids == []
        assert {token.top for token in tokens} == {()}

    def test_echo_without_logprobs_is_the_text(self, lm: LanguageModel) -> None:
        prompt = [int(i) for i in lm.tokenizer.encode("hello there")]
        heard = run(lm, job_of(prompt, echo=True, max_new_tokens=3))
        assert "".join(p.text for p in heard.pieces if p.prompt) == "hello there"
        assert all(token.logprob is None for piece in heard.pieces for token in piece.tokens)
        assert heard.ids == run(lm, job_of(prompt, max_new_tokens=3)).ids

    def test_the_smaller_id_first_where_two_tie(self) -> None:
        logits = np.array([0, 3, 1, 3, 3], np.float32)
        token = spelled([b"a", b"b", b"c", b"\xc3", b"e"], 2, logits, 2)
        assert [text for text, _ in token.top] == ["b", "\\xc3"]
        assert len(spelled([b"a", b"b", b"c", b"d", b"e"], 2, logits, 20).top) == 5


class TestPenalties:
    @pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
    def test_keep_a_text_from_repeating_itself(self, lm: LanguageModel, penalty: str) -> None:
        prompt, n = [1, 2, 3], 12
        settings: dict[str, Any] = {penalty: 1000.0}
        ids = run(lm, job_of(prompt, max_new_tokens=n, **settings)).ids
        assert len(set(ids)) == n
        rows, out = None, []
        for _ in range(n):  # by hand, greedily
            rows = plain(lm, prompt + out)[-1] if len(prompt) + len(out) <= 16 else rows
            assert rows is not None
            rows[out] = -math.inf
            out.append(int(rows.argmax()))
        assert ids == out


@st.composite
def said(draw: Any) -> tuple[list[bytes], tuple[str, ...]]:
    """Bytes of a text cut anywhere, broken ones among them, and stop strings from it."""
    text = draw(st.text("aé€😀\n", min_size=1, max_size=12))
    data = text.encode() + draw(st.sampled_from([b"", b"\xf0\x9f", b"\xff"]))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=8)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    begin, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    others = draw(st.lists(st.text("aé€�", min_size=1, max_size=3), max_size=2))
    return pieces, tuple(stop for stop in [text[begin:end], *others] if stop)


@given(said())
def test_text_comes_in_whole_characters_and_ends_at_a_stop_string(
    case: tuple[list[bytes], tuple[str, ...]],
) -> None:
    pieces, stops = case
    settings = GenerationConfig(temperature=0.0, max_new_tokens=len(pieces), stop_strings=stops)
    tokenizer: Any = Pieces(tuple(pieces))
    expected = "".join(stream_text(Script(range(len(pieces))), tokenizer, [0], settings))
    heard, session = Heard(), Script(range(len(pieces)))
    scheduler = Scheduler(session, 8, Noted(), lambda: 0.0)
    scheduler.queue.push(ActiveSequence(Job(ids=(0,), generation=settings), heard, tokenizer, 0.0))
    for _ in range(len(pieces)):
        scheduler.step()
    whole = b"".join(pieces).decode("utf-8", "replace")
    found = [(whole.index(stop) + len(stop), whole.index(stop)) for stop in stops if stop in whole]
    assert heard.text == expected == whole[: min(found)[1] if found else None]
    assert heard.reason == ("stop" if found else "length")
    assert heard.text.isprintable() or "\n" in heard.text
