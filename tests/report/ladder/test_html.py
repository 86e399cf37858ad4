"""The ladder's page and its section of a comparison's page: complete, safe, honest about gaps."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import pytest
from tests.report.comparison.test_html import HOSTILE, Page, blank, compared, model

from tinygpt.config.model_config import PRESETS
from tinygpt.ladder.results import Cost, DecodeSpeed, Ladder, Pace, RungQuality, RungResult
from tinygpt.report import comparison_page
from tinygpt.report.ladder.html import ladder_page
from tinygpt.report.ladder.rows import cells, ladder_notes
from tinygpt.report.ladder.staircase import staircase
from tinygpt.report.ladder.stairs import ladder_verdict, stairs

COST = Cost(
    n_params=818_048,
    flops_per_token=1_850_000,
    bytes_per_token=1.0,
    flops_per_byte=1_850_000.0,
    training_memory_bytes=2**26,
    weights_bytes=2**21,
    kv_cache_bytes=2**19,
)
PACE = Pace(step_s=0.01, n_steps=20, bytes_per_s=4000.0)
DECODE = DecodeSpeed(
    bytes_per_s=600.0,
    min_bytes_per_s=500.0,
    max_bytes_per_s=700.0,
    decoded_bytes=64,
    random_weights=False,
)


def quality(bits: float, spread: float = 0.0) -> RungQuality:
    known = {"bits_per_byte": bits, "n_seeds": 1, "n_bytes": 300, "sha256": "0" * 64}
    known |= {"min_bits_per_byte": bits - spread, "max_bits_per_byte": bits + spread}
    return RungQuality(**known, context=128, stride=64)


def rung(name: str, bits: float | None, **changes) -> RungResult:
    known = {"name": name, "changes": {"model.n_layer": [4, 6]}, "cost": COST, "decode": DECODE}
    known |= {"pace": PACE, "runs": (), "quality": None if bits is None else quality(bits)}
    return RungResult(**blank(RungResult) | known | {"elapsed_s": 1.0} | changes)


def ladder_of(*rungs: RungResult, **changes) -> Ladder:
    settings = {"minutes": 1.0, "max_steps": None, "train_bytes": None, "flops": None, "seeds": 1}
    plan = {"model": {"vocab_size": 65, "n_positions": 128, "n_layer": 4, "n_head": 4}}
    plan["model"]["n_embd"] = 128
    plan |= {"train": {"batch_size": 8, "block_size": 128}, "tokenizer": {"tokenizer": "char"}}
    plan |= {"optim": {"learning_rate": 5e-3, "beta1": 0.8, "beta2": 0.995}, "from": None}
    fields = {
        "tinygpt_version": "0",
        "created": "2026-11-22T00:00:00+00:00",
        "settings": settings,
        "machine": {"device": "cpu", "threads": 2, "dtype": "float32", "torch": "2"},
        "text": {"name": "play", "n_bytes": 300, "sha256": "0" * 64, "prefix_bytes": 9}
        | {"source": "a play"},
        "plan": tuple(plan | {"name": r.name} for r in rungs),
        "rungs": rungs,
    }
    return Ladder(**fields | changes)


SLOW = {"missing": "a step takes 9 s here", "estimated_train_s": 7200.0}
FAR = {"missing": "the hub did not answer", "missing_weights": "the hub did not answer"}


@pytest.fixture
def ladder() -> Ladder:
    """Two measured rungs, one too slow, one whose weights are elsewhere."""
    return ladder_of(
        rung("small", 3.0, changes={}),
        rung("deep", 2.5),
        rung("wide", None, **SLOW),
        rung("pretrained", None, pace=None, **FAR),
    )


@pytest.fixture
def hostile() -> Ladder:
    """Every text that comes from files and users is an attack."""
    bad = rung(HOSTILE, None, missing=HOSTILE, decode=None, decode_missing=HOSTILE)
    bad = dataclasses.replace(bad, changes={HOSTILE: [HOSTILE, HOSTILE]})
    text = {"name": HOSTILE, "n_bytes": 1, "sha256": HOSTILE, "prefix_bytes": 0, "source": HOSTILE}
    return ladder_of(rung("a", 2.0), bad, text=text)


def test_every_rung_cell_change_note_and_number_is_there(ladder) -> None:
    page = Page(ladder_page(ladder))
    for number, (result, stair) in enumerate(zip(ladder.rungs, stairs(ladder), strict=True), 1):
        at = page.words.index(stair.label)
        row = cells(result, number)
        assert tuple(page.words[at : at + len(row)]) == row
        assert stair.change in page.words[at + len(row)]
    for words in (*ladder_notes(ladder), *ladder_verdict(ladder), "a step takes 9 s here"):
        assert words in page.text
    assert json.loads(page.raw["script"]) == json.loads(json.dumps(ladder.to_dict()))


def test_only_what_was_measured_has_a_bar(ladder) -> None:
    drawn = staircase(stairs(ladder))
    widths = [float(w) for w in re.findall(r'width="([\d.]+)"[^>]*class="bar rung"', drawn)]
    assert len(widths) == 2
    assert widths[1] == pytest.approx(widths[0] * 2.5 / 3.0, abs=0.02)
    assert drawn.count('class="missing"') == 2
    assert re.findall(r'class="guess"[^>]*>([^<]*)<', drawn) == [
        "estimate: about 2 hours of training"
    ]
    assert "-0.500" in drawn
    assert "needs the hub: the weights are not here" in drawn
    assert "not trained within the budget here" in drawn


def test_several_seeds_have_a_range(ladder) -> None:
    one = dataclasses.replace(ladder.rungs[0], quality=quality(3.0, 0.2))
    drawn = staircase(stairs(ladder.with_rung(0, one)))
    assert drawn.count('class="range"') == 3
    assert 'class="range"' not in staircase(stairs(ladder))


def test_the_verdict_names_the_best_and_the_gaps(ladder) -> None:
    assert ladder_verdict(ladder) == [
        "Every rung was given the same budget: 1 min, in which the final evaluation is included.",
        "2 deep pays the least that was measured, 2.500 bits per byte, 0.500 (16.7%) less than "
        "1 small with 3.000.",
        "No quality, not trained within the budget here: 3 wide.",
        "No quality, needs the hub: the weights are not here: 4 pretrained.",
    ]
    begun = dataclasses.replace(ladder, rungs=ladder.rungs[:1])
    assert ladder_verdict(begun)[1:] == [
        "1 small pays the least that was measured, 3.000 bits per byte.",
        "The last 3 of 4 rungs are not done yet.",
    ]
    nothing = dataclasses.replace(ladder, rungs=())
    assert "<svg" not in ladder_page(nothing)


def test_a_vocabulary_that_is_not_here_needs_the_hub(ladder) -> None:
    gone = rung("gpt2", None, pace=None, decode=None, missing="no", decode_missing="no")
    plan = ladder.plan[0] | {"tokenizer": {"tokenizer": "gpt2"}}
    (stair,) = stairs(ladder_of(gone, plan=(plan,)))
    assert stair.why == "needs the hub: the vocabulary is not here"
    (stair,) = stairs(ladder_of(gone))
    assert stair.why == "could not be trained here"


def test_a_comparison_shows_the_ladder_as_a_section(ladder) -> None:
    trio = compared(*(model(name, PRESETS["tinygpt"], 2.5) for name in "abc"))
    without, page = Page(comparison_page(trio)), Page(comparison_page(trio, ladder))
    assert len(page.all("svg")) == len(without.all("svg")) + 6
    assert {"href": "#ladder"} in page.all("a")
    assert {"href": "#ladder"} not in without.all("a")
    assert [a["id"] for a in page.all("script")] == ["ladder-numbers", "comparison"]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-4]", tag)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_hostile_texts_stay_texts(ladder, hostile) -> None:
    source = ladder_page(hostile)
    assert not set(source) & set("\x1b\u202e\u2066")
    page = Page(source)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(ladder_page(ladder)).tags}
    assert page.text.count("<script>alert('x')</script>\\x1b[31m\\u202e\\u2066<img") > 5
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not {"src", "style"} & attributes.keys(), tag


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_it_fits_is_silent_and_prints_whole(
    ladder,
    hostile,
    tmp_path: Path,
    open_page,
    prints_whole,
    scheme,
) -> None:
    pages = {"ladder": ladder_page(ladder), "hostile": ladder_page(hostile)}
    pages["section"] = comparison_page(compared(model("a", PRESETS["tinygpt"], 2.5)), ladder)
    for name, source in pages.items():
        path = tmp_path / f"{name}.html"
        path.write_text(source, "utf-8")
        for width in (390, 1024, 1600):
            page = open_page(path, width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            for box in page.locator(".ladder svg text").all()[:80]:
                place = box.bounding_box()
                assert place["x"] >= 0, (name, width, box.text_content())
                assert place["x"] + place["width"] <= width, (name, width, box.text_content())
            assert page.evaluate("document.scripts.length") == (2 if name == "section" else 1)
            assert page.locator("img").count() == 0
        focused = []
        for _ in range(30):
            page.keyboard.press("Tab")
            focused.append(page.evaluate("document.activeElement.className"))
        assert "skip" in focused
        assert "scroll" in focused
        prints_whole(page)
