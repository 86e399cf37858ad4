"""The race of generation: what it measures, and how it writes it down. No peer is needed here."""

import json
import xml.etree.ElementTree as ET

import pytest
from benchmarks.generate_peers import PEERS, measure
from benchmarks.generate_race import BIG, CLAIMS, SMALL, picture, ratios, tables
from benchmarks.readme_table import splice

from benchmarks import generate_race


def test_speeds_leave_the_prefill_out() -> None:
    """By this clock a prompt token costs 1 ms of prefill, a new token 10 ms, a batch no more."""
    now_s, seen = [0.0], set()

    def generate(prompts: list[list[int]], n: int) -> list[list[int]]:
        assert all(0 <= i < 50 for row in prompts for i in row)
        now_s[0] += 0.001 * len(prompts[0]) + 0.01 * n
        seen.add((len(prompts), len(prompts[0]), n))
        return [[7] * n for _ in prompts]

    sizes = {"vocab_size": 50, "prompt": 32, "new": 100, "prefill": 512}
    found = measure(generate, sizes, clock=lambda: now_s[0])
    assert found["decode_1"] == pytest.approx(100)
    assert found["decode_8"] == pytest.approx(800)
    assert found["prefill"] == pytest.approx(512 / 0.522)
    assert found["ids"] == [7] * 100
    assert (8, 32, 101) in seen
    assert "prefill" not in measure(generate, sizes | {"prefill": 0}, clock=lambda: now_s[0])


def rounds(peer: str, precision: str, rates: list[float], ids: list[int]) -> list[dict]:
    return [
        {"peer": peer, "precision": precision, "round": i, "ids": ids, "setting": "best"}
        | {"decode_1": rate, "decode_8": 8 * rate, "first_s": 0.25, "peak_bytes": 2**30}
        for i, rate in enumerate(rates)
    ]


def test_the_table_has_medians_ranges_and_the_same_text() -> None:
    found = rounds("tinygpt", "exact", [90.0, 80.0, 100.0], [1, 2, 3])
    found += rounds("tinygpt", "int8", [200.0], [1, 9, 3])
    found += rounds("transformers", "float32", [30.0], [1, 2, 3])
    page = tables({"distilgpt2": found})
    exact = "| tinygpt exact | 90 (80 to 100) | 720 (640 to 800) | - | 0.25 | 1,024 |"
    assert f"{exact} the same | best |" in page
    assert "| the first 1 | best |" in page
    drawn = ET.fromstring(picture(found))
    texts = [t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:] == [
        *("tinygpt int8", "200"),
        *("tinygpt exact", "90"),
        *("transformers float32", "30"),
    ]


def test_a_ratio_is_of_one_round_against_the_best_peer() -> None:
    found = rounds("tinygpt", "exact", [90.0, 80.0, 100.0], [1])
    found += rounds("transformers", "float32", [200.0, 1.0, 1.0], [1])
    found += rounds("openvino", "float32", [30.0, 40.0, 50.0], [1])
    for one in found:
        one["first_s"] = 0.5 if one["peer"] == "tinygpt" else 1.0
    page = ratios({"distilgpt2": found})
    ours = "| distilgpt2 | decode, batch 1 | tinygpt exact | openvino float32 |"
    assert f"{ours} 2.00 (2.00 to 3.00) |" in page
    assert "first token, s | tinygpt exact | transformers float32 | 2.00 (2.00 to 2.00) |" in page
    assert "int8" not in page


def test_claims_name_contestants() -> None:
    names = {f"{peer} {precision}" for peer, precision in BIG + SMALL}
    assert {ours for _, _, ours, _ in CLAIMS} <= names
    assert {peer for *_, peers in CLAIMS for peer in peers} <= names


def test_what_has_been_measured_is_not_measured_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(generate_race, "WORK", tmp_path)
    done = rounds("tinygpt", "exact", [90.0], [1])
    (tmp_path / "tinygpt.jsonl").write_text(json.dumps(done[0]) + "\n", "utf-8")
    calls = []

    def run(command, **_):
        calls.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(generate_race.subprocess, "run", run)
    again = ("tinygpt", "tinygpt", "exact", tmp_path, {})
    generate_race._measured(*again, 0, False)
    assert calls == []
    with pytest.raises(KeyboardInterrupt):
        generate_race._measured(*again, 1, False)
    assert calls[0][2:5] == ["measure", "tinygpt", "exact"]


def test_every_contestant_is_known_and_the_page_has_room_for_them() -> None:
    assert {peer for peer, _ in BIG + SMALL} == set(PEERS)
    assert "new" in splice(generate_race.PAGE.read_text("utf-8"), "generate-race", "new")
