"""Threads and batch, chosen by a clock that the test holds."""

import pytest
import torch

from tinygpt.training.pacing import batch_for, fastest, thread_counts


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Clock:
    """Each work takes what its thread count takes."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now_s, self.tried = seconds, 0.0, []

    def work(self) -> None:
        self.tried.append(torch.get_num_threads())
        self.now_s += self.seconds[torch.get_num_threads()]

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [1]), (2, [2, 1]), (3, [3, 1]), (8, [8, 4, 2, 1]), (12, [12, 6, 3, 1])]
)
def test_counts_worth_trying(n, expected) -> None:
    assert thread_counts(n) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({2: 1.0, 1: 2.0}, 2),
        ({2: 5.0, 1: 2.0}, 1),  # a neighbour holds one of the cores
        ({2: 1.0, 1: 0.99}, 2),  # not worth it
        ({4: 3.0, 2: 1.0, 1: 2.0}, 2),
    ],
)
def test_the_fastest_count_is_taken_and_set(seconds, expected) -> None:
    clock = Clock(seconds)
    best, took = fastest(list(seconds), clock.work, clock, most_s=1000.0)
    assert best == torch.get_num_threads() == expected
    assert took == pytest.approx(seconds)


def test_a_count_that_is_clearly_slower_is_tried_once() -> None:
    clock = Clock({4: 1.0, 2: 2.0, 1: 1.1})
    fastest([4, 2, 1], clock.work, clock, most_s=1000.0)
    assert clock.tried == [4] * 4 + [2] + [1] * 3


def test_slow_work_is_not_tried_again_and_again() -> None:
    clock = Clock({2: 60.0, 1: 1.0})
    best, took = fastest([2, 1], clock.work, clock, most_s=1.0)
    assert (best, took) == (2, {2: 60.0})
    assert clock.tried == [2, 2]  # one to warm up, one to count


def test_the_batch_grows_with_the_square_root_of_the_tokens() -> None:
    sizes = [batch_for(n, 128) for n in (220_000, 4 * 220_000, 16 * 220_000)]
    assert sizes == [4, 8, 16]
    assert batch_for(220_000, 64) == 8  # as many tokens a step
    assert batch_for(1e12, 128) == 512
    assert batch_for(1000, 1024) == batch_for(0, 128) == 1
