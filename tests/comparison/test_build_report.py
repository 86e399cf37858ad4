"""A model's own column: what it was trained on, copies, a verdict, and what context is worth."""

import dataclasses
import json
from pathlib import Path

import pytest

from tinygpt.comparison.compare import compare
from tinygpt.comparison.result import Comparison
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import TrainConfig
from tinygpt.data.corpora import load_corpus
from tinygpt.evaluation.eval_texts import own_text, text_file
from tinygpt.inference.load import load, untrained
from tinygpt.report import to_markdown, to_terminal
from tinygpt.tokenizers.char_byte import CharTokenizer
from tinygpt.training.train import train

LINES = "".join(f"the cat number {i} sat on mat number {i * i % 97}.\n" for i in range(400))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    own = tmp_path / "own.txt"
    own.write_text(LINES, "utf-8")
    corpus = load_corpus(str(own))
    sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = dataclasses.replace(PRESETS["tinygpt"], vocab_size=len(corpus.characters), **sizes)
    settings = TrainConfig(max_steps=4, block_size=32, batch_size=2, n_evals=1)
    for _ in train(config, settings, corpus, out=tmp_path / "run"):
        pass
    return tmp_path / "run"


@pytest.fixture
def pair(run, byte_bpe) -> list:
    tokenizer = byte_bpe([("t", "h"), ("th", "e"), ("Ġ", "n"), ("a", "t")])
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=24, n_layer=1, n_head=3
    )
    bpe = dataclasses.replace(untrained("bpe", config, tokenizer, ""), missing_weights=None)
    return [dataclasses.replace(load(run), name="run"), bpe]


def shown(comparison: Comparison, width: int) -> str:
    from rich.console import Console

    with open("/dev/null", "w") as nowhere:
        console = Console(record=True, width=width, file=nowhere)
        console.print(to_terminal(comparison))
        return console.export_text()


def test_a_text_that_was_trained_on_is_reported(pair) -> None:
    """The beginning of the corpus is contaminated, the end is not; both are in table and JSON."""
    seen, held_out = own_text(LINES[:3000], name="seen"), own_text(LINES[-1500:], name="new")
    result = compare(pair, [seen, held_out])
    run, bpe = result.models
    assert run.trained_on == f"{int(0.9 * len(LINES)):,} characters of own.txt"
    dirty, clean = (q.contamination for q in run.quality)
    assert dirty.share == 1.0
    assert dirty.longest_characters == len(seen.text)
    assert clean.share < 0.1
    assert [q.contamination for q in bpe.quality] == [None, None]
    page = to_markdown(result)
    row = next(
        line for line in page.splitlines() if line.startswith("| in its training text, seen")
    )
    assert "100.0% of 50-grams" in row
    assert row.endswith("| not known |")


def test_verdict_yardsticks_and_copies_of_a_run(pair) -> None:
    result = compare(pair, [own_text(LINES[-3000:], name="new")])
    assert result.yardsticks_from == "run"
    (text,) = result.texts
    names = [y.name for y in text.yardsticks]
    assert {"uniform", "unigram", "xz alone", "bzip2 after training text"} <= set(names)
    run, bpe = result.models
    standing, counting, fit, copied = run.verdict
    assert f"{run.quality[0].evaluation.bits_per_byte:.3f} bits per byte: " in standing
    assert "learned" in counting or "predicts this text" in counting
    assert "nats per token on training text" in fit
    assert "in its sample stands in the training text" in copied
    assert len(bpe.verdict) == 2  # nothing is known of its training
    assert all(sample.copied.n_characters == len(sample.text) for sample in run.samples)
    assert all(sample.copied is None for sample in bpe.samples)
    page = to_markdown(result)
    assert "## Verdict on new" in page
    for y in text.yardsticks:
        assert f"| {y.name}: {y.bits_per_byte:.3f} |" in page


def test_without_a_run_the_yardsticks_know_nothing_but_the_text(pair) -> None:
    result = compare(pair[1:], [own_text(LINES[:2000])])
    assert result.yardsticks_from is None
    assert [y.name for y in result.texts[0].yardsticks] == ["xz alone", "bzip2 alone"]


def test_public_texts_are_marked_for_models_that_may_know_them(pair) -> None:
    public = text_file("python-docs", 1000)
    scratch = to_markdown(compare(pair[:1], [public]))
    assert "WARNING" not in scratch
    unknown = to_markdown(compare(pair, [public]))
    assert "WARNING: what all bpe was trained on is not known here" in unknown
    web = [pair[0], dataclasses.replace(pair[1], commit="0123abc")]
    result = compare(web, [public])
    assert [m.web_trained for m in result.models] == [False, True]
    page = to_markdown(result)
    assert "WARNING: bpe was trained on web text, which probably contains python-docs" in page
    assert "probably: web text" in page
    assert "WARNING" not in to_markdown(compare(web, [own_text(LINES[:2000])]))


def test_costs_of_having_it_here(pair) -> None:
    run, bpe = compare(pair, [own_text(LINES[:2000])]).models
    assert run.weights_bytes == 4 * run.n_params
    assert run.kv_cache_bytes == 32 * run.kv_cache_bytes_per_token
    assert 0 < run.load_s.min <= run.load_s.median <= run.load_s.max
    assert bpe.load_s is None  # in memory
    assert bpe.longest_tokens[0] == "the"
    assert [len(token) for token in bpe.longest_tokens] == [3, 2, 2, 1, 1]


def test_what_context_is_worth_in_bytes(pair) -> None:
    text = own_text(LINES[:2000])
    run, bpe = compare(pair, [text]).models
    assert [b.end_bytes for b in run.loss_by_context] == [32]
    assert [b.end_bytes for b in bpe.loss_by_context][:2] == [32, 64]
    assert sum(b.n_bytes for b in bpe.loss_by_context) == len(text.text)


def test_models_of_one_name_are_told_apart(pair) -> None:
    result = compare([pair[0], pair[0], pair[0]], [own_text(LINES[:12_000])])
    assert [m.name for m in result.models] == ["run", "run (2)", "run (3)"]
    assert [d.detected for d in result.texts[0].differences] == [False] * 3
    assert "no difference detected between run and run (2)" in to_markdown(result)
    assert all(m.speed is not None for m in result.models)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_all_of_it_within_its_width(pair, width) -> None:
    result = compare(pair, [own_text(LINES[:9000], name="own")])
    page = shown(result, width).partition("run, seed 0")[0]  # samples may hold wide characters
    assert max(map(len, page.splitlines())) <= width
    assert "…" not in page  # nothing is cut off
    flowing = " ".join(page.replace("│", " ").split())
    for words in ("same context", "uniform:", "0 to 32", "Verdict on own", "cut into tokens"):
        assert words in flowing, words
    assert "n_layer (architecture)" not in flowing  # equal, so not among those that differ
    assert "(architecture)" in flowing


def test_markdown_lists_every_key_the_differing_ones_first(pair) -> None:
    result = compare(pair, [own_text(LINES[:2000])])
    page = to_markdown(result).partition("## Config, key by key")[2]
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(result.config_keys)
    marked = [line.startswith("| **") for line in rows]
    assert marked == sorted(marked, reverse=True)
    assert any("n\\_positions" in row and "architecture" in row for row in rows[:20])
    assert json.loads(result.to_json())["config_keys"][0]["differs"] is True
    assert CharTokenizer.from_text(LINES).vocab_size == int(result.config_keys[0].values[0])
