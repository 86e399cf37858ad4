"""The battery T1-T19 of docs/trust.md: every test reports one figure, `make torture` lists them.

@pytest.mark.battery("T6")
def test_...(figure, size):
    n = size(40, 400)  # trials in `make test-all`, trials in `make torture`
    figure(f"{n} of {n} flipped bits detected")
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.battery.forked import Forks
from tests.battery.micro_run import MICRO, WORDS

TORTURE = "TINYGPT_TORTURE"
"""Set by `make torture`: full sizes, and a battery that misses a test fails."""

IDS = [f"T{n}" for n in range(1, 20)]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_EXPECTED] = bool(os.environ.get(TORTURE))


_EXPECTED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def _battery_id(request: pytest.FixtureRequest) -> None:
    """Hand the test's id on to the report."""
    marker = request.node.get_closest_marker("battery")
    assert marker is not None, "a test of the battery says which: @pytest.mark.battery('T1')"
    assert marker.args[0] in IDS
    request.node.user_properties.append(("battery", marker.args[0]))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """figure("38 of 38 ..."): the line that `make torture` shows for this test."""
    return lambda text: request.node.user_properties.append(("figure", text))


@pytest.fixture
def size() -> Callable[[Any, Any], Any]:
    """size(bounded, full): the one for `make test-all`, the other for `make torture`."""
    return lambda bounded, full: full if os.environ.get(TORTURE) else bounded


@pytest.fixture
def forks(tmp_path: Path) -> Forks:
    """Command lines in forked processes, working in tmp_path."""
    return Forks(tmp_path)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A text file of 4,000 characters."""
    path = tmp_path / "corpus.txt"
    path.write_text((WORDS * 70)[:4000], "utf-8")
    return path


@pytest.fixture
def micro(corpus: Path) -> Callable[..., list[str]]:
    """micro("r", ...): the arguments of a micro run into the folder r; later ones go before."""
    return lambda out, *more: ["train", "--corpus", str(corpus), "--out", str(out), *MICRO, *more]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print a line per test of the battery, and what they add up to."""
    if not config.stash[_EXPECTED]:
        return
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in IDS}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            said = getattr(report, "user_properties", [])
            name = dict(said).get("battery")
            if name is None:
                continue
            if outcome == "skipped":
                reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
                found[name].append((outcome, f"skipped: {reason.removeprefix('Skipped: ')}"))
            elif outcome == "passed":
                found[name] += [(outcome, text) for key, text in said if key == "figure"]
            else:
                found[name].append((outcome, f"FAILED: {report.nodeid}"))
    terminalreporter.section("the battery of docs/trust.md")
    for name, entries in found.items():
        text = "; ".join(text for _, text in entries) or "NO TEST RAN"
        terminalreporter.write_line(f"{name:4} {text}")
    n_bad = sum(1 for e in found.values() if not e or any("FAILED" in t for _, t in e))
    n_skipped = sum(1 for e in found.values() for outcome, _ in e if outcome == "skipped")
    terminalreporter.write_line(
        f"{len(IDS) - n_bad} of {len(IDS)} hold, {n_skipped} part(s) skipped"
    )
    config.stash[_MISSING] = any(not entries for entries in found.values())


_MISSING = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session):
    """Fail a battery of which a test is missing: the summary is written inside."""
    yield
    if session.config.stash.get(_MISSING, False) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
