"""Jobs on a thread: each writes what it would alone, and each ends, whatever happens."""

import functools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.serve.serving import Heard, job_of, model_of

from tinygpt.config.model_config import ModelConfig
from tinygpt.inference.generate import generate_ids
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.gpt import GPT
from tinygpt.serve.batching.batcher import Batcher, Ticket
from tinygpt.serve.batching.jobs import Busy, Draining, Full, Job, Piece
from tinygpt.tokenizers.char_byte import CharTokenizer

ENGINES = ["native", "torch"]
ENDLESS = 10_000


@pytest.fixture(params=ENGINES)
def lm(
    request: Any, tiny_config: ModelConfig, make_gpt: Callable[..., GPT], char_tokenizer: Any
) -> LanguageModel:
    return model_of(make_gpt(tiny_config), char_tokenizer, request.param)


@pytest.fixture
def start() -> Iterator[Callable[..., Batcher]]:
    """start(lm, ...): a batcher, which is closed after the test."""
    made: list[Batcher] = []

    def make(lm: LanguageModel, **bounds: Any) -> Batcher:
        made.append(Batcher(lm, **bounds))
        return made[-1]

    yield make
    for one in made:
        one.close(0)
        assert not one._thread.is_alive()
        assert (one.running, one.waiting, one.slots_in_use) == (0, 0, 0)


def written(lm: LanguageModel, job: Job) -> list[int]:
    """What `sample` writes."""
    ids = generate_ids(
        lm.session(),
        list(job.ids),
        job.generation,
        seed=job.seed,
        sample_index=job.sample_index,
    )
    return list(ids)


def mixed_jobs(n: int, **settings: Any) -> list[Job]:
    """Jobs of all lengths, of four clients; most go on past the window of 16."""
    draws = random.Random(5)
    return [
        job_of(
            [draws.randrange(50) for _ in range(draws.randint(1, 16))],
            client=f"client {i % 4}",
            max_new_tokens=draws.randint(1, 40),
            seed=i // 3,
            sample_index=i % 3,
            **settings,
        )
        for i in range(n)
    ]


def leave_after(n: int, ticket: Ticket, heard: Heard, _: Piece) -> None:
    if len(heard.ids) >= n:
        ticket.cancel()


class TestTheSameTextAsAlone:
    @pytest.mark.parametrize("n_slots", [1, 8, 32])
    def test_greedy_among_others_that_come_and_go(
        self, lm: LanguageModel, start: Callable[..., Batcher], n_slots: int
    ) -> None:
        jobs = mixed_jobs(33 if n_slots > 1 else 9)
        expected = [written(lm, job) for job in jobs]
        batcher = start(lm, n_slots=n_slots, prefill_chunk=5)
        draws, heard, others = random.Random(n_slots), [], []
        for job in jobs:
            heard.append(Heard())
            batcher.submit(job, heard[-1])
            if draws.random() < 0.5:  # someone who leaves in the middle, or before it began
                others.append(Heard())
                ticket = batcher.submit(job, others[-1])
                leaves = functools.partial(leave_after, draws.randint(0, 20), ticket, others[-1])
                others[-1].then = leaves
            heard[0].ended.wait(draws.random() * 0.01)
        assert [one.wait().ids for one in heard] == expected
        assert {one.reason for one in heard} == {"length"}
        assert {one.wait().reason for one in others} == {"length", "cancelled"}

    @pytest.mark.parametrize(
        "settings",
        [
            {"temperature": 1.0},
            {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3},
            {"temperature": 1.2, "top_p": 0.8, "min_p": 0.02},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("logprobs", [None, 2])
    def test_samples_as_sample_draws_them(
        self,
        lm: LanguageModel,
        start: Callable[..., Batcher],
        settings: dict[str, Any],
        logprobs: int | None,
    ) -> None:
        jobs = mixed_jobs(12, logprobs=logprobs, **settings)
        batcher = start(lm, n_slots=5, prefill_chunk=7)
        heard = [Heard() for _ in jobs]
        for job, one in zip(jobs, heard, strict=True):
            batcher.submit(job, one)
        assert [one.wait().ids for one in heard] == [written(lm, job) for job in jobs]

    def test_text_and_stop_strings_as_sample_gives_them(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        whole = lm.generate("Once", temperature=1.0, seed=4, max_new_tokens=60)
        stop = whole[20:23]
        expected = lm.generate(
            "Once", temperature=1.0, seed=4, max_new_tokens=60, stop_strings=(stop,)
        )
        ids = [int(i) for i in lm.tokenizer.encode("Once")]
        job = job_of(ids, temperature=1.0, seed=4, max_new_tokens=60, stop_strings=(stop,))
        heard = Heard()
        start(lm).submit(job, heard)
        assert heard.wait().text == expected == whole[: whole.index(stop)]
        assert heard.reason == "stop"
        assert len(heard.ids) == whole.index(stop) + len(stop)

    def test_ends_before_eos(self, lm: LanguageModel, start: Callable[..., Batcher]) -> None:
        job = job_of([1, 2, 3], max_new_tokens=30)
        ids = written(lm, job)
        eos = ids[7]
        heard = Heard()
        start(lm).submit(job_of([1, 2, 3], max_new_tokens=30, eos_token_id=eos), heard)
        assert heard.wait().ids == ids[: ids.index(eos)]
        assert heard.reason == "stop"


class TestLeaving:
    def test_cancel_takes_effect_within_two_tokens(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher, tickets = start(lm, n_slots=3), []
        heard = [Heard() for _ in range(6)]  # three of them wait
        for i, one in enumerate(heard):
            one.then = lambda _, i=i, one=one: len(one.ids) == 5 and tickets[i].cancel()
            tickets.append(batcher.submit(job_of([1, i], max_new_tokens=ENDLESS), one))
        for one in heard:
            assert one.wait().reason == "cancelled"
            assert 5 <= len(one.ids) <= 7
        tickets[0].cancel()  # once more does no harm

    def test_cancel_while_waiting(self, lm: LanguageModel, start: Callable[..., Batcher]) -> None:
        batcher, first, second = start(lm, n_slots=1), Heard(), Heard()
        batcher.submit(job_of([1], max_new_tokens=ENDLESS), first)
        batcher.submit(job_of([2], max_new_tokens=ENDLESS), second).cancel()
        assert second.wait().reason == "cancelled"
        assert second.ids == []
        assert not first.ended.is_set()

    def test_who_cannot_listen_is_not_asked_again(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher, asked = start(lm, n_slots=2), []

        def gone(piece: Piece) -> None:
            asked.append(piece)
            raise RuntimeError("the loop is closed")

        batcher.submit(job_of([1], max_new_tokens=ENDLESS), gone)
        heard = Heard()
        batcher.submit(job_of([1], max_new_tokens=5), heard)
        assert heard.wait().reason == "length"
        while batcher.slots_in_use:
            heard.ended.wait(0.001)
        assert len(asked) == 1

    def test_drain_refuses_and_finishes(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher, heard = start(lm, n_slots=1), [Heard() for _ in range(3)]
        for one in heard:
            batcher.submit(job_of([1, 2], max_new_tokens=30), one)
        batcher.drain()
        with pytest.raises(Draining) as refused:
            batcher.submit(job_of([1], max_new_tokens=1), Heard())
        assert refused.value.retry_after_s > 0
        assert [one.wait().reason for one in heard] == ["length"] * 3

    def test_close_ends_what_is_left(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher, heard = start(lm, n_slots=1), [Heard() for _ in range(3)]
        for one in heard:
            batcher.submit(job_of([1, 2], max_new_tokens=ENDLESS), one)
        batcher.close(0.05)
        for one in heard:
            assert one.reason == "error"
            assert "ended" in one.message

    def test_timeout_by_the_real_clock(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher, heard = start(lm, n_slots=1), [Heard(), Heard()]
        for one in heard:  # the second one waits for ever
            batcher.submit(job_of([1], max_new_tokens=ENDLESS, timeout_s=0.05), one)
        assert [one.wait().reason for one in heard] == ["timeout"] * 2


class TestBounds:
    def test_a_client_and_everyone_may_queue_so_much(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher = start(lm, n_slots=1, max_waiting=3, max_waiting_per_client=2)
        running = Heard()
        batcher.submit(job_of([1], client="a", max_new_tokens=ENDLESS), running)
        while not running.pieces:
            running.ended.wait(0.001)
        job = job_of([1], client="a", max_new_tokens=1)
        for _ in range(2):
            batcher.submit(job, Heard())
        with pytest.raises(Busy, match="2 texts of yours wait") as busy:
            batcher.submit(job, Heard())
        batcher.submit(replace(job, client="b", timeout_s=30), Heard())
        assert batcher.waiting == 3
        with pytest.raises(Full, match="3 texts wait") as full:
            batcher.submit(replace(job, client="c"), Heard())
        assert 1 <= busy.value.retry_after_s <= 60
        assert 1 <= full.value.retry_after_s <= 60

    def test_free_slots_are_not_queue(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher = start(lm, n_slots=8, max_waiting=1, max_waiting_per_client=1)
        heard = [Heard() for _ in range(8)]
        for one in heard:
            batcher.submit(job_of([1], max_new_tokens=3), one)
        assert [one.wait().reason for one in heard] == ["length"] * 8


class TestWhatGoesWrong:
    @pytest.mark.parametrize("ids", [[], [50], [-1], list(range(17))], ids=lambda i: str(len(i)))
    def test_a_prompt_that_does_not_fit_ends_alone(
        self, lm: LanguageModel, start: Callable[..., Batcher], ids: list[int]
    ) -> None:
        batcher, good, bad = start(lm, n_slots=2), Heard(), Heard()
        job = job_of([1, 2], max_new_tokens=30)
        batcher.submit(job, good)
        batcher.submit(job_of(ids, max_new_tokens=30), bad)
        assert bad.wait().reason == "error"
        assert bad.ids == []
        if len(ids) > 16:
            assert "17 tokens" in bad.message
        assert good.wait().ids == written(lm, job)

    def test_an_error_in_a_step_ends_those_in_it_and_no_more(
        self, lm: LanguageModel, start: Callable[..., Batcher]
    ) -> None:
        batcher, heard = start(lm, n_slots=2), [Heard(), Heard()]
        session, told = batcher._scheduler._session, []
        batcher._scheduler._observer.failed = told.append  # type: ignore[method-assign]
        real = session.step

        def broken(slots: Any, ids: Any) -> None:
            session.step = real  # type: ignore[method-assign]
            raise RuntimeError("/secret/path: bus error")

        session.step = broken  # type: ignore[method-assign]
        for one in heard:
            batcher.submit(job_of([1], max_new_tokens=30), one)
        batcher.submit(job_of([3], max_new_tokens=20), last := Heard())
        assert last.wait().reason == "length"
        assert "error" in {one.wait().reason for one in heard}
        ends = [one for one in heard if one.reason == "error"]
        assert all("secret" not in one.message and "RuntimeError" in one.message for one in ends)
        assert "secret" in str(told[0])

    def test_a_turn_that_breaks_ends_all_and_the_next_go_on(
        self, lm: LanguageModel, start: Callable[..., Batcher], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batcher, heard = start(lm, n_slots=1), [Heard(), Heard()]
        started, breaks = threading.Event(), threading.Event()
        real = batcher._scheduler._decode

        def broken() -> None:
            started.set()
            if breaks.wait(10):
                monkeypatch.undo()
                raise MemoryError
            real()

        monkeypatch.setattr(batcher._scheduler, "_decode", broken)
        for one in heard:
            batcher.submit(job_of([1], max_new_tokens=30), one)
        assert started.wait(10)
        breaks.set()
        assert [one.wait().reason for one in heard] == ["error"] * 2
        batcher.submit(job_of([3], max_new_tokens=4), last := Heard())
        assert last.wait().reason == "length"

    def test_the_end_of_the_thread_ends_every_job(
        self, lm: LanguageModel, start: Callable[..., Batcher], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batcher, heard = start(lm, n_slots=1), Heard()
        monkeypatch.setattr(threading, "excepthook", lambda _: None)

        def dies() -> None:
            raise SystemExit

        monkeypatch.setattr(batcher._scheduler, "step", dies)
        batcher.submit(job_of([1], max_new_tokens=30), heard)
        assert heard.wait().reason == "error"
        batcher._thread.join(10)
        with pytest.raises(Draining):
            batcher.submit(job_of([1], max_new_tokens=30), Heard())


@pytest.mark.parametrize("engine", ENGINES)
def test_one_position_is_enough(
    engine: str,
    tiny_config: ModelConfig,
    make_gpt: Callable[..., GPT],
    char_tokenizer: CharTokenizer,
    start: Callable[..., Batcher],
) -> None:
    for n_positions in (1, 2, 3):
        gpt = make_gpt(replace(tiny_config, n_positions=n_positions))
        lm = model_of(gpt, char_tokenizer, engine)
        batcher, heard = start(lm, n_slots=3), [Heard() for _ in range(5)]
        jobs = [job_of([i], max_new_tokens=9 + i) for i in range(5)]
        for job, one in zip(jobs, heard, strict=True):
            batcher.submit(job, one)
        assert [one.wait().ids for one in heard] == [written(lm, job) for job in jobs]
