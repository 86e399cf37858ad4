"""One step after another, without a thread: who gets a slot, what is read, who ends."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tests.serve.serving import Heard, job_of, model_of

from tinygpt.config.model_config import ModelConfig
from tinygpt.inference.generate import generate_ids
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.gpt import GPT
from tinygpt.serve.batching.jobs import Job
from tinygpt.serve.batching.scheduler import Scheduler
from tinygpt.serve.batching.sequence import ActiveSequence

ENDLESS = 10_000


@dataclass
class Noted:
    """An Observer that keeps what it sees."""

    started_s: list[float] = field(default_factory=list)
    n_read: list[int] = field(default_factory=list)
    wrote_s: list[tuple[int, float]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def started(self, job: Job, queue_s: float) -> None:
        self.started_s.append(queue_s)

    def read(self, job: Job, n_tokens: int) -> None:
        self.n_read.append(n_tokens)

    def wrote(self, job: Job, n_before: int, elapsed_s: float) -> None:
        self.wrote_s.append((n_before, elapsed_s))

    def finished(self, job: Job, reason: str, elapsed_s: float) -> None:
        self.reasons.append(reason)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


class Bench:
    """A scheduler with a clock that stands still."""

    def __init__(self, lm: LanguageModel, n_slots: int, chunk: int = 64) -> None:
        self.lm, self.now_s, self.noted = lm, 0.0, Noted()
        self.session: Any = lm.session(n_slots)
        self.scheduler = Scheduler(self.session, chunk, self.noted, lambda: self.now_s)

    def add(self, job: Job) -> tuple[ActiveSequence, Heard]:
        heard = Heard()
        one = ActiveSequence(job, heard, self.lm.tokenizer, self.now_s)
        self.scheduler.queue.push(one)
        return one, heard

    def turn(self, n: int = 1) -> None:
        for _ in range(n):
            self.scheduler.step()

    def turns_until(self, condition: Callable[[], bool]) -> int:
        for n in range(2000):
            if condition():
                return n
            self.turn()
        raise AssertionError("it never happened")


@pytest.fixture(params=["native", "torch"])
def bench(
    request: Any, tiny_config: ModelConfig, make_gpt: Callable[..., GPT], char_tokenizer: Any
) -> Callable[..., Bench]:
    """bench(n_slots, chunk=64)."""
    return functools.partial(Bench, model_of(make_gpt(tiny_config), char_tokenizer, request.param))


def test_first_token_after_one_turn(bench: Callable[..., Bench]) -> None:
    at = bench(2)
    _, heard = at.add(job_of([1, 2, 3], max_new_tokens=3))
    at.turn()
    assert len(heard.ids) == 1
    at.turn(2)
    assert heard.reason == "length"


class TestReading:
    def test_one_chunk_between_two_steps(self, bench: Callable[..., Bench]) -> None:
        at = bench(3, chunk=4)
        _, writes = at.add(job_of([1], max_new_tokens=ENDLESS))
        at.turn()
        at.add(job_of(range(16), max_new_tokens=1))
        at.add(job_of(range(9), max_new_tokens=1))
        for n in range(7):
            at.noted.n_read.clear()
            at.turn()
            assert len(writes.ids) == 2 + n  # the text goes on at every turn
            assert sum(at.noted.n_read) <= 4
        assert at.noted.reasons == ["length", "length"]

    def test_short_prompts_share_a_turn(self, bench: Callable[..., Bench]) -> None:
        at = bench(4, chunk=8)
        heard = [at.add(job_of([i, 1], max_new_tokens=5))[1] for i in range(4)]
        at.turn()
        assert [len(one.ids) for one in heard] == [1, 1, 1, 1]

    def test_a_short_prompt_does_not_wait_for_a_long_one(self, bench: Callable[..., Bench]) -> None:
        at = bench(2, chunk=2)
        _, long = at.add(job_of(range(16), max_new_tokens=1))
        _, short = at.add(job_of([1, 2], max_new_tokens=1))
        assert at.turns_until(lambda: short.reason is not None) <= 2
        assert long.reason is None

    def test_a_full_window_is_read_anew_in_chunks(self, bench: Callable[..., Bench]) -> None:
        at = bench(2, chunk=3)
        job = job_of(range(16), max_new_tokens=20)
        _, heard = at.add(job)
        at.turns_until(lambda: heard.reason is not None)
        assert heard.ids == list(generate_ids(at.lm.session(), list(job.ids), job.generation))
        assert max(at.noted.n_read) == 3
        assert sum(at.noted.n_read) == 16 + 3 * 8  # at tokens 1, 10 and 19


class TestTurnsOfClients:
    def test_one_with_a_hundred_jobs_does_not_hold_up_another(
        self, bench: Callable[..., Bench]
    ) -> None:
        def first_tokens(n_others: int) -> list[int]:
            """Turns to the first token of ten jobs of a client, one after another."""
            at, found = bench(4, chunk=16), []
            for _ in range(n_others):
                at.add(job_of(range(8), client="greedy", max_new_tokens=30))
            at.turn(10)
            for _ in range(10):
                _, heard = at.add(job_of(range(8), client="modest", max_new_tokens=4))
                found.append(at.turns_until(lambda h=heard: bool(h.ids)))
                at.turns_until(lambda h=heard: h.reason is not None)
            return sorted(found)

        alone, beside = first_tokens(0), first_tokens(100)
        assert beside[9] <= 2 * alone[9]

    def test_slots_go_to_clients_by_turns(self, bench: Callable[..., Bench]) -> None:
        at, order = bench(1), []
        for client in "aaabbc":
            _, heard = at.add(job_of([1], client=client, max_new_tokens=1))
            heard.then = lambda _, c=client: order.append(c)
        at.turn(6)
        assert "".join(order) == "abcaba"

    def test_who_gave_its_slot_up_goes_on_where_it_was(self, bench: Callable[..., Bench]) -> None:
        at = bench(2)
        jobs = [
            job_of([3 * i + 1, 4], client="rich", temperature=0.9, seed=i, max_new_tokens=30)
            for i in range(2)
        ]
        heard = [at.add(job)[1] for job in jobs]
        at.turn(5)
        _, poor = at.add(job_of([5], client="poor", max_new_tokens=3))
        at.turn()
        assert len(poor.ids) == 1
        assert len(at.scheduler.queue) == 1
        at.turns_until(lambda: all(one.reason for one in heard))
        for job, one in zip(jobs, heard, strict=True):
            expected = generate_ids(at.lm.session(), list(job.ids), job.generation, seed=job.seed)
            assert one.ids == list(expected)
        assert len(at.noted.started_s) == 3  # going on is no new start

    def test_a_slot_is_not_taken_from_who_has_one(self, bench: Callable[..., Bench]) -> None:
        at = bench(2)
        for client in "ab":
            at.add(job_of([1], client=client, max_new_tokens=20))
        at.turn()
        _, third = at.add(job_of([1], client="c", max_new_tokens=1))
        at.turn(10)
        assert third.ids == []
        at.turn(11)
        assert third.reason == "length"

    def test_an_echo_is_not_interrupted(self, bench: Callable[..., Bench]) -> None:
        at = bench(2, chunk=2)
        heard = [
            at.add(job_of(range(8), client="rich", echo=True, logprobs=0, max_new_tokens=1))[1]
            for _ in range(2)
        ]
        at.turn()
        at.add(job_of([5], client="poor", max_new_tokens=1))
        at.turns_until(lambda: all(one.reason for one in heard))
        for one in heard:
            tokens = [t.id for piece in one.pieces if piece.prompt for t in piece.tokens]
            assert tokens == list(range(8))


class TestEnds:
    def test_late_with_a_slot_and_without(self, bench: Callable[..., Bench]) -> None:
        at = bench(1)
        _, runs = at.add(job_of([1], max_new_tokens=ENDLESS, timeout_s=10))
        _, waits = at.add(job_of([1], max_new_tokens=ENDLESS, timeout_s=9))
        at.turn(3)
        at.now_s = 9.5
        at.turn()
        assert (runs.reason, waits.reason) == (None, "timeout")
        assert waits.ids == []
        at.now_s = 10.0
        at.turn()
        assert runs.reason == "timeout"
        assert len(runs.ids) == 4
        assert at.scheduler.free == [0]

    def test_logits_that_are_no_numbers_end_their_job_alone(
        self, bench: Callable[..., Bench]
    ) -> None:
        at = bench(3)
        jobs = [job_of([i + 1, 2], logprobs=i % 2, max_new_tokens=12) for i in range(3)]
        expected = [
            list(generate_ids(at.lm.session(), list(job.ids), job.generation)) for job in jobs
        ]
        heard = [at.add(job)[1] for job in jobs]
        at.turn(4)
        real = at.session.logits
        bad = np.full(50, np.nan, np.float32)
        at.session.logits = lambda slot: bad if slot == 1 else real(slot)
        at.turn(20)
        assert [one.reason for one in heard] == ["length", "error", "length"]
        assert "no numbers" in heard[1].message
        assert heard[1].ids == expected[1][:4]
        assert [heard[0].ids, heard[2].ids] == [expected[0], expected[2]]

    def test_a_draw_that_fails_inside_the_engine_ends_its_job_alone(
        self, bench: Callable[..., Bench]
    ) -> None:
        at = bench(3)
        if not hasattr(at.session, "decode"):
            pytest.skip("this engine does not sample")
        heard = [at.add(job_of([i + 1], max_new_tokens=12))[1] for i in range(3)]
        at.turn(2)
        real = at.session.decode

        def broken(slots: Any, *rest: Any, **more: Any) -> Any:
            if 2 in slots:
                raise FloatingPointError("slot 2")
            return real(slots, *rest, **more)

        at.session.decode = broken
        at.turn(20)
        assert [one.reason for one in heard] == ["length", "length", "error"]

    def test_freed_slots_serve_again(self, bench: Callable[..., Bench]) -> None:
        at = bench(2)
        for i in range(7):
            at.add(job_of([i], max_new_tokens=1 + i % 3))
        at.turn(12)
        assert at.noted.reasons == ["length"] * 7
        assert sorted(at.scheduler.free) == [0, 1]
        assert at.scheduler.live == []


def test_the_observer_sees_times_and_counts(bench: Callable[..., Bench]) -> None:
    at = bench(1)
    at.add(job_of([1, 2, 3], max_new_tokens=2))
    at.add(job_of([4], max_new_tokens=1))
    at.now_s = 0.5
    at.turn()
    at.now_s = 0.75
    at.turn()
    at.now_s = 2.0
    at.turn()
    assert at.noted.started_s == [0.5, 2.0]
    assert at.noted.n_read == [3, 1]
    assert at.noted.wrote_s == [(0, 0.5), (1, 0.25), (0, 2.0)]
    assert at.noted.reasons == ["length", "length"]
    assert at.noted.errors == []
