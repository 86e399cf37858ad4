"""Tests of playground/workers.py: so much at once, so much waiting, and who leaves ends it."""

import asyncio
import threading
from typing import Any

import pytest

from tinygpt.errors import DataError
from tinygpt.serve.errors import Refusal
from tinygpt.serve.playground.workers import Cancelled, Workers, end_if


class Client:
    """As much of a request as is asked for."""

    def __init__(self) -> None:
        self.gone = False

    async def is_disconnected(self) -> bool:
        return self.gone


def ask(workers: Workers, work: Any, client: Any = None) -> Any:
    return workers.run(client or Client(), work)


def test_the_answer_is_json_as_it_is() -> None:
    answer = asyncio.run(ask(Workers(at_once=1, waiting=0), lambda stop: {"text": "é", "n": 1}))
    assert answer.body == '{"text":"é","n":1}'.encode()
    assert answer.media_type == "application/json"


def test_errors_come_through() -> None:
    def work(stop: threading.Event) -> None:
        raise DataError("no text")

    with pytest.raises(DataError, match="no text"):
        asyncio.run(ask(Workers(at_once=1, waiting=0), work))
    with pytest.raises(ValueError, match="JSON"):
        asyncio.run(ask(Workers(at_once=1, waiting=0), lambda stop: {"n": float("nan")}))


def test_the_loop_goes_on_meanwhile() -> None:
    go = threading.Event()

    async def both() -> Any:
        waiting = asyncio.create_task(ask(Workers(at_once=1, waiting=0), lambda stop: go.wait(10)))
        await asyncio.sleep(0)
        go.set()  # never reached, if the loop stood still
        return (await waiting).body

    assert asyncio.run(both()) == b"true"


def test_who_leaves_ends_the_work() -> None:
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        assert stop.wait(10)
        ended.set()
        end_if(stop)

    async def leave() -> Any:
        client = Client()
        waiting = asyncio.create_task(ask(Workers(at_once=1, waiting=0), work, client))
        await asyncio.sleep(0.05)
        client.gone = True
        return await waiting

    assert asyncio.run(leave()).status_code == 499
    assert ended.is_set()


def test_a_server_that_ends_ends_the_work() -> None:
    ended = threading.Event()

    async def shut_down() -> None:
        waiting = asyncio.create_task(
            ask(Workers(at_once=1, waiting=0), lambda stop: stop.wait(10) and ended.set())
        )
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(shut_down())
    assert ended.wait(10)


def test_one_works_one_waits_and_the_third_is_refused() -> None:
    go, running, most = threading.Event(), [0], [0]

    def work(stop: threading.Event) -> str:
        running[0] += 1
        most[0] = max(most[0], running[0])
        go.wait(10)
        running[0] -= 1
        return "done"

    async def crowd() -> None:
        workers = Workers(at_once=1, waiting=1)
        taken = [asyncio.create_task(ask(workers, work)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal) as caught:
            await ask(workers, work)
        assert caught.value.status_code == 503
        assert caught.value.headers == {"Retry-After": "2"}
        go.set()
        assert [(await one).body for one in taken] == [b'"done"'] * 2
        assert (await ask(workers, work)).body == b'"done"'  # there is room again

    asyncio.run(crowd())
    assert most[0] == 1


def test_who_left_while_waiting_is_not_worked_for() -> None:
    go, worked = threading.Event(), []

    async def crowd() -> None:
        workers, client = Workers(at_once=1, waiting=1), Client()
        first = asyncio.create_task(ask(workers, lambda stop: go.wait(10)))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(ask(workers, lambda stop: worked.append(1), client))
        await asyncio.sleep(0.05)
        client.gone = True
        go.set()
        await first
        assert (await second).status_code == 499

    asyncio.run(crowd())
    assert worked == []


def test_end_if() -> None:
    stop = threading.Event()
    end_if(stop)
    stop.set()
    with pytest.raises(Cancelled):
        end_if(stop)
