"""network.py: the budget for silent hosts (downloads are tested in test_download.py)."""

import threading
import time

import pytest

from tinygpt.errors import MachineError
from tinygpt.storage import network


@pytest.fixture(autouse=True)
def nothing_lost_yet(monkeypatch):
    monkeypatch.setattr(network, "_lost_s", 0.0)


def test_silent_hosts_cost_the_budget_once(monkeypatch):
    monkeypatch.setattr(network, "NETWORK_BUDGET_S", 0.3)
    ended = threading.Event()
    started_s = time.monotonic()
    with pytest.raises(MachineError, match=r"no answer in 0\.2 s"):
        network.ask_network(lambda: ended.wait(10), timeout_s=0.2)
    with pytest.raises(MachineError, match=r"no answer in 0\.1 s"):
        network.ask_network(lambda: ended.wait(10))
    with pytest.raises(MachineError, match="no host answered earlier"):
        network.ask_network(lambda: pytest.fail("must not be asked any more"))
    assert time.monotonic() - started_s < 2
    ended.set()


def test_answers_and_refusals_do_not_cost_the_budget(monkeypatch):
    monkeypatch.setattr(network, "NETWORK_BUDGET_S", 0.2)

    def refuse():
        time.sleep(0.1)
        raise KeyError("no such thing")

    for _ in range(3):
        with pytest.raises(KeyError):
            network.ask_network(refuse, replies=(KeyError,))
    assert network.ask_network(lambda: 42) == 42


def test_a_reason_is_one_line_and_never_empty():
    assert network.reason(ConnectionResetError("connection\nreset")) == "connection reset"
    assert network.reason(TimeoutError()) == "TimeoutError"
    assert len(network.reason(ValueError("x" * 999))) == 400


def test_a_process_loses_at_most_five_seconds_to_silence(monkeypatch):
    assert network.NETWORK_BUDGET_S == 5.0
    monkeypatch.setattr(network, "_lost_s", 4.9)
    ended = threading.Event()
    with pytest.raises(MachineError, match=r"no answer in 0\.1 s"):
        network.ask_network(lambda: ended.wait(10))
    ended.set()
    monkeypatch.setattr(network, "_lost_s", 5.0)
    with pytest.raises(MachineError, match="no host answered earlier"):
        network.ask_network(lambda: pytest.fail("must not be asked any more"))
