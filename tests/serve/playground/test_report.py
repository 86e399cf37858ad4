"""Tests of serve/playground/report.py: one report at a time, followed, cancelled, shown."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.comparison import compare
from tinygpt.errors import DataError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.report.charts.page import inline_hash, page_style
from tinygpt.serve.errors import Refusal
from tinygpt.serve.playground.report import Report, Reports, with_report

TEXT = "the first line\n" + "abc DEF abc\n" * 40


@pytest.fixture
def lm(model_folder: Path) -> LanguageModel:
    return tinygpt.load(model_folder, engine="torch")


class Held:
    """A `compare` that goes on when it is told to."""

    def __init__(self) -> None:
        self.go, self.tell, self.begun = threading.Event(), None, threading.Event()

    def __call__(self, models: Any, texts: Any, progress: Callable[[str, float], None]) -> Any:
        progress("speed", 0.25)
        self.begun.set()
        assert self.go.wait(10)
        progress("more", 0.5)
        raise DataError("/home/me/texts/a.txt is gone")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    found = Held()
    monkeypatch.setattr(compare, "compare", found)
    return found


def ended(report: Report) -> dict[str, Any]:
    for _ in range(1000):
        if (found := report.to_dict())["state"] != "running":
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def test_progress_and_the_time_that_is_left(held: Held) -> None:
    now = [100.0]
    report = Reports(lambda: now[0]).start([], None)
    assert held.begun.wait(10)
    now[0] = 110.0
    found = report.to_dict()
    assert (found["state"], found["progress"], found["what"]) == ("running", 0.25, "speed")
    assert (found["elapsed_s"], found["eta_s"]) == (10.0, 30.0)
    held.go.set()
    found = ended(report)
    assert found["state"] == "failed"
    assert found["error"] == "a.txt is gone"
    assert found["eta_s"] is None


def test_one_at_a_time(held: Held) -> None:
    reports = Reports()
    first = reports.start([], None)
    with pytest.raises(Refusal) as caught:
        reports.start([], None)
    assert caught.value.status_code == 409
    held.go.set()
    ended(first)
    reports._thread.join(10)
    second = reports.start([], None)
    assert reports.find(second.id) is second
    with pytest.raises(Refusal) as caught:
        reports.find(first.id)
    assert caught.value.status_code == 404


def test_cancelling_is_told_at_once(held: Held) -> None:
    reports = Reports()
    report = reports.start([], None)
    assert held.begun.wait(10)
    report.cancel()
    assert report.to_dict()["state"] == "cancelled"
    held.go.set()
    reports._thread.join(10)
    assert not reports._thread.is_alive()
    assert report.to_dict()["state"] == "cancelled"
    assert report.to_dict()["error"] is None


def test_what_nobody_expected_is_told_in_general_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("secret /home/me")

    monkeypatch.setattr(compare, "compare", broken)
    found = ended(Reports().start([], None))
    assert found["state"] == "failed"
    assert "secret" not in found["error"]


@pytest.mark.slow
def test_a_report_from_start_to_end(lm: LanguageModel, model_folder: Path) -> None:
    client = page_client([lm])
    answer = client.post("/page/report", json={"models": ["tiny", "tiny"], "text": TEXT})
    assert answer.status_code == 202
    where = f"/page/report/{answer.json()['id']}"
    assert client.get(f"{where}.html").status_code in (200, 409)
    for _ in range(600):
        if (found := client.get(where).json())["state"] != "running":
            break
        time.sleep(0.1)
    assert (found["state"], found["progress"], found["error"]) == ("done", 1.0, None)
    page = client.get(f"{where}.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "sandbox" in policy
    assert inline_hash(page_style()) in policy
    assert "tiny (2)" in page.text
    table = client.get(f"{where}.md")
    assert table.text.startswith("# tiny and tiny (2)")
    document = client.get(f"{where}.json").json()
    assert document["models"][0]["path"] is None
    for text in (page.text, table.text, client.get(f"{where}.json").text):
        assert str(model_folder.parent) not in text
    assert client.get(f"{where}.exe").status_code == 400
    assert client.delete(where).json()["state"] == "done"


def test_the_page_may_show_a_report_in_a_frame() -> None:
    allowed = with_report("default-src 'none'; style-src 'self'; img-src 'self'")
    sheet = f"'{inline_hash(page_style())}'"
    assert allowed == f"default-src 'none'; style-src {sheet} 'self'; img-src 'self'"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"models": []}, 400),
        ({"models": ["tiny"] * 5}, 400),
        ({"models": ["x"]}, 404),
        ({"models": ["tiny"], "text": ""}, 400),
        ({"models": ["tiny"], "text": "a" * 40_000}, 400),
        ({"models": "tiny"}, 400),
    ],
)
def test_what_is_not_allowed(lm: LanguageModel, body: dict[str, Any], status: int) -> None:
    assert page_client([lm]).post("/page/report", json=body).status_code == status


def test_routes_of_a_report_that_is_cancelled(lm: LanguageModel, held: Held) -> None:
    client = page_client([lm])
    where = f"/page/report/{client.post('/page/report', json={'models': ['tiny']}).json()['id']}"
    assert client.get(f"{where}.html").status_code == 409
    assert client.delete(where).json()["state"] == "cancelled"
    assert client.post("/page/report", json={"models": ["tiny"]}).status_code == 409
    held.go.set()
    assert client.get("/page/report/other").status_code == 404
    assert client.get("/page/report/other.html").status_code == 404
