"""The page about a Comparison: complete, valid, safe, and the same colours everywhere."""

import dataclasses
import itertools
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from tinygpt.comparison.config_diff import config_keys
from tinygpt.comparison.result import Comparison, ModelReport, Quality, Sample, ScoredText
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.bootstrap import Difference
from tinygpt.evaluation.result import ContextBin, Evaluation
from tinygpt.model import costs
from tinygpt.profiling.result import Speed, Spread
from tinygpt.report import comparison_page
from tinygpt.report.charts.palette import DARK, LIGHT, marks
from tinygpt.report.comparison import figures
from tinygpt.report.comparison.headline import headline
from tinygpt.report.comparison.notes import footnotes
from tinygpt.report.comparison.rows import sections, title
from tinygpt.runs.learning_curve import CurvePoint, LearningCurve

HOSTILE = "</script><script>alert('x')</script>\x1b[31m\u202e\u2066<img src=x onerror=alert(1)>&\"'"
VOID = {"meta", "wbr", "link", "br", "img", "input"}


def blank(cls: type) -> dict[str, object]:
    """Nothing for every field: an empty tuple where nothing else is allowed, else None."""
    fields = dataclasses.fields(cls)
    return {f.name: () if re.fullmatch(r"tuple\[.*\]", str(f.type)) else None for f in fields}


def evaluation(bits: float, **changes) -> Evaluation:
    zeros = {f.name: 0 for f in dataclasses.fields(Evaluation)}
    zeros |= {"start": "", "sha256": "0" * 64, "n_bytes": 4096, "n_tokens": 4096}
    zeros |= {"bits_per_byte": bits, "context": 128, "stride": 64, "total_nats": 1.0}
    return Evaluation(**zeros | changes)


CONTEXT = tuple(
    ContextBin(begin_bytes=begin, end_bytes=end, bits_per_byte=bits, n_bytes=64)
    for begin, end, bits in ((0, 31, 3.5), (32, 63, 2.5))
)


def sample(prompt: str, text: str | None, missing: str | None = None) -> Sample:
    known = {"prompt": prompt, "seed": 0, "temperature": 0.8, "text": text, "missing": missing}
    return Sample(**blank(Sample) | known)


def model(name: str, config: ModelConfig, bits: float | None, **changes) -> ModelReport:
    missing = None if bits is not None else f"{name}: no weights"
    spread = Spread(1000.0, 900.0, 1100.0, 5)
    rates = {f.name: spread for f in dataclasses.fields(Speed) if "per_s" in f.name}
    sizes = dict.fromkeys(("prompt_bytes", "prompt_tokens", "decoded_bytes", "decoded_tokens"), 9)
    where = {"engine": "torch", "device": "cpu", "precision": "float32", "threads": 2, "isa": None}
    flops = costs.flops_per_token(config, config.n_positions)
    e = None if bits is None else evaluation(bits)
    bins = () if bits is None else CONTEXT
    fields = {
        "name": name,
        "path": None,
        "commit": None,
        "missing_weights": missing,
        "tokenization": "raw characters",
        "first_tokens": ("a", " b"),
        "sentence_tokens": ("To", " be", ",\n", "<b>"),
        "config": config.to_dict(),
        "head_dim": config.head_dim,
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "blocks": config.blocks,
        "costs_counted": False,
        "config_labels": {"config.json": {"architecture": 15}},
        "n_params": costs.n_params(config),
        "n_params_by_component": costs.parameters(config),
        "flops_per_token": flops,
        "flops_per_byte": flops / 1.0,
        "kv_cache_bytes_per_token": costs.kv_cache_bytes_per_token(config),
        "kv_cache_bytes": costs.account(config).kv_cache_bytes,
        "weights_bytes": costs.account(config).weights_bytes,
        "context_tokens": config.n_positions,
        "context_bytes": 128.0,
        "bytes_per_token": 1.0,
        "speed": Speed(**rates, **sizes, **where, random_weights=bits is None),
        "speed_missing": None,
        "quality": (
            Quality(
                **blank(Quality)
                | {"text": "play", "evaluation": e, "matched": e, "missing": missing}
            ),
        ),
        "samples": (sample("Once", None if bits is None else f" {name} wrote this", missing),),
        "loss_by_context": bins,
    }
    return ModelReport(**blank(ModelReport) | fields | changes)


def compared(*models: ModelReport, **changes) -> Comparison:
    known = {"name": "play", "source": "a play", "n_bytes": 4096, "n_characters": 4096}
    known |= {"sha256": "0" * 64, "prefix_bytes": 100, "common_border": True}
    scored = ScoredText(**blank(ScoredText) | known)
    fields = {
        "tinygpt_version": "0",
        "created": "2026-11-22T00:00:00+00:00",
        "machine": {"cores": 2},
        "corpus": None,
        "texts": (scored,),
        "models": models,
        "rules": ("every model scores the same bytes",),
        "config_keys": config_keys([{"config.json": m.config} for m in models]),
    }
    return Comparison(**blank(Comparison) | {"schema_version": 1} | fields | changes)


def point(step: int, bits: float, train: float | None) -> CurvePoint:
    return CurvePoint(
        step=step,
        train_bytes=1024.0 * step,
        elapsed_s=1.0 * step,
        val_bits_per_byte=bits,
        train_bits_per_byte=train,
    )


CURVE = LearningCurve(points=(point(0, 6.0, None), point(10, 3.5, 4.0), point(20, 2.9, 3.1)))


@pytest.fixture
def pair() -> Comparison:
    """TinyGPT as a run with a curve, and distilgpt2 without its weights."""
    return compared(
        model("TinyGPT", PRESETS["tinygpt"], 2.757, curve=CURVE),
        model("distilgpt2", PRESETS["distilgpt2"], None),
    )


@pytest.fixture
def trio(pair) -> Comparison:
    """All three judged."""
    others = model("two", PRESETS["tinygpt"], 2.9), model("three", PRESETS["distilgpt2"], 1.25)
    return dataclasses.replace(pair, models=(pair.models[0], *others))


@pytest.fixture
def hostile() -> Comparison:
    """Every text that comes from files, users and models is an attack."""
    changes = {
        "samples": (sample(HOSTILE, HOSTILE),),
        "first_tokens": (HOSTILE,),
        "sentence_tokens": (HOSTILE,),
    }
    bad = model(HOSTILE, PRESETS["tinygpt"], 2.5, **changes)
    gone = model("gone", PRESETS["distilgpt2"], None, missing_weights=HOSTILE)
    keys = config_keys([{"config.json": {HOSTILE: HOSTILE}}, {}])
    changes = {"machine": {HOSTILE: HOSTILE}, "rules": (HOSTILE,), "config_keys": keys}
    result = compared(bad, gone, **changes)
    scored = dataclasses.replace(result.texts[0], name=HOSTILE, source=HOSTILE)
    return dataclasses.replace(result, texts=(scored,))


class Page(HTMLParser):
    """A page taken apart; it refuses a tag that is not closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw: dict[str, str] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        else:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def test_every_row_note_rule_and_number_of_the_comparison_is_there(pair) -> None:
    page = Page(comparison_page(pair))
    table = page.words[len(page.words) - page.words[::-1].index("All figures") :]
    for section in sections(pair):
        assert section.title in table
        for row in section.rows:
            at = table.index(row.label)
            assert tuple(table[at + 1 : at + 1 + len(row.values)]) == row.values, row.label
    for words in (*footnotes(pair), *pair.rules, title(pair), "TinyGPT wrote this", pair.created):
        assert words in page.text, words
    for key in (*PRESETS["distilgpt2"].to_dict(), "Number of Transformer blocks."):
        assert key in page.text
    keys = page.words[page.words.index("what it is") :]
    assert keys.index("Different") < keys.index("n_layer") < keys.index("The same")


def test_the_embedded_json_is_comparison_json(pair, hostile) -> None:
    for comparison in (pair, hostile):
        source = comparison_page(comparison)
        assert json.loads(Page(source).raw["script"]) == json.loads(comparison.to_json())
        assert source.count("<script") == 1
        assert source.count("</script") == 1


def test_hostile_texts_stay_texts(pair, hostile) -> None:
    source = comparison_page(hostile)
    assert not set(source) & set("\x1b\u202e\u2066")
    page = Page(source)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(comparison_page(pair)).tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
    assert page.text.count("<script>alert('x')</script>\\x1b[31m\\u202e\\u2066<img") > 8


def test_nothing_is_loaded_and_nothing_runs(trio) -> None:
    page = Page(comparison_page(trio))
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script-src" not in policy
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "style", "action"} & attributes.keys(), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    assert [a["type"] for a in page.all("script")] == ["application/json"]
    assert not re.search(r"@import|url\(|https?:", page.raw["style"])


def test_it_can_be_read_without_eyes_and_mouse(trio) -> None:
    page = Page(comparison_page(trio))
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["h1"] == tags["main"] == 1
    assert tags["figure"] == tags["figcaption"] == tags["svg"] >= 7
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in page.all("svg"))
    assert all(a["scope"] in ("col", "row", "rowgroup") for a in page.all("th"))
    assert all(a.get("tabindex") == "0" for a in page.all("div") if a.get("class") == "scroll")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["href"][1:] in ids
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-4]", tag)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"


def test_a_model_has_one_letter_and_one_colour_everywhere(trio) -> None:
    found = re.findall(
        r'class="(m\d)"><rect[^>]*></rect><text[^>]*>(\w+)</text>|class="chip (m\d)">(\w+)<',
        comparison_page(trio),
    )
    pairs = Counter((a or c, b or d) for a, b, c, d in found)
    assert set(pairs) == {("m0", "A"), ("m1", "B"), ("m2", "C")}
    assert min(pairs.values()) > 10
    many = marks([trio.models[0]] * 30)
    assert len({mark.letter for mark in many}) == 30


def test_the_verdict_says_who_and_how_much_or_why_not(pair, trio) -> None:
    assert headline(pair) == [
        "On play, A (TinyGPT) pays 2.757 bits per byte.",
        "How well B (distilgpt2) predicts can't be said: its weights are not at hand. Sizes, costs "
        "and tokens are true without them.",
    ]
    (said,) = headline(trio)
    assert said.startswith("On play, C (three) pays 1.250 bits per byte, 1.507 (54.7%) less than A")


def test_what_is_not_known_is_left_out_or_said(pair) -> None:
    names = [figure.title for figure in figures.quality(pair)]
    assert names == ["Bits per byte"] + [
        f"Quality against {what}" for what in ("size", "compute", "speed")
    ]
    assert all("not known" in figure.svg for figure in figures.quality(pair)[1:])
    nothing = compared(model("distilgpt2", PRESETS["distilgpt2"], None, sentence_tokens=None))
    page = Page(comparison_page(nothing))
    for heading in ("How well they predict, ", "Quality against", "What they write", "same words"):
        assert heading not in page.text
    assert "The blocks, to one scale" in page.text
    assert figures.quality(nothing) == figures.learning(nothing) == []


def test_curves_and_context_are_in_bits_per_byte(pair) -> None:
    runs, context = figures.learning(pair)
    assert "held-out text: from 6.000 at 0 to 2.900 at 20.5 k" in runs.svg
    assert "training text: from 4.000 at 10.2 k to 3.100 at 20.5 k" in runs.svg
    assert "from 3.500 at 15.5 to 2.500 at 47.5" in context.svg


def test_yardsticks_are_dashed_lines_and_intervals_are_said(pair, trio) -> None:
    ngram = Yardstick(
        name="5-gram", bits_per_byte=2.345, trained_on="it", settings="smoothed", order=5
    )
    interval = {"bits_per_byte": -0.1, "low": -0.3, "high": 0.1, "p": 0.4, "detected": False}
    pair_of = {"first": "TinyGPT", "second": "two", "n_compared": 1, "n_blocks": 32}
    difference = Difference(**interval, **pair_of)
    changes = {"yardsticks": (ngram,), "differences": (difference,), "matched_differences": ()}
    scored = dataclasses.replace(pair.texts[0], **changes)
    known = {"texts": (scored,), "yardsticks_from": "TinyGPT"}
    without, with_them = (
        [figure.svg.count('class="level"') for figure in drawn(comparison)]
        for comparison in (pair, dataclasses.replace(pair, **known))
        for drawn in (lambda c: [figures.quality(c)[0], figures.learning(c)[0]],)
    )
    assert (without, with_them) == ([0, 0], [1, 1])
    said = headline(dataclasses.replace(trio, **known))
    assert said[1].startswith("No difference detected between TinyGPT and two (95% interval")
    page = Page(comparison_page(dataclasses.replace(pair, **known)))
    assert "5-gram 2.345" in page.words


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("colours", "page"), [(LIGHT, "#ffffff"), (DARK, "#14161a")])
def test_colours_stand_out_from_the_page(colours, page) -> None:
    for colour in colours:
        low, high = sorted((_luminance(colour), _luminance(page)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
BLINDNESS = {
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_any_two_differ_for_colour_blind_people(colours, blindness) -> None:
    def seen(colour: str) -> list[float]:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        turned = [
            sum(w * p for w, p in zip(row, linear, strict=True)) for row in BLINDNESS[blindness]
        ]
        return [max(0.0, t) ** (1 / 2.2) for t in turned]

    for one, other in itertools.combinations(colours, 2):
        assert math.dist(seen(one), seen(other)) > 0.25, (one, other)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_it_fits_is_silent_and_stays_offline(
    trio, pair, hostile, tmp_path, open_page, scheme
) -> None:
    for name, comparison in (("trio", trio), ("pair", pair), ("hostile", hostile)):
        path = tmp_path / f"{name}.html"
        path.write_text(comparison_page(comparison), "utf-8")
        for width in (390, 1024, 1600):
            page = open_page(path, width, scheme)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (name, width)
            for box in page.locator("svg text").all()[:200]:
                place = box.bounding_box()
                assert place["x"] >= 0, (name, width, box.text_content())
                assert place["x"] + place["width"] <= width, (name, width, box.text_content())
        assert page.evaluate("JSON.parse(document.getElementById('comparison').text).models.length")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert len(page.pdf(format="A4")) > 10_000
