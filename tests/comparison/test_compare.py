"""compare: the same bytes for everyone, true figures, and nothing invented."""

import dataclasses
import io
import json
from pathlib import Path

import pytest

from tinygpt.comparison.compare import compare, default_texts
from tinygpt.comparison.result import ModelReport
from tinygpt.comparison.samples import SAMPLE_CHARACTERS, SAMPLE_SEEDS, SAMPLE_TEMPERATURE
from tinygpt.config.limits import SCORED_BYTES
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import TrainConfig
from tinygpt.data.corpora import Corpus
from tinygpt.errors import ConfigError, DataError, MachineError
from tinygpt.evaluation.eval_texts import Text, held_out_text, known_to_all, own_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import Architecture, load, open_model, untrained
from tinygpt.model import costs
from tinygpt.profiling.speed import measure_speeds
from tinygpt.report import to_markdown, to_terminal
from tinygpt.report.comparison.notes import footnotes
from tinygpt.tokenizers.char_byte import CharTokenizer
from tinygpt.training.train import train

TEXT = "the cat sat on the mat; the dog sat on the log.\nand then the cat ran.\n" * 40


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two steps on a small text, with a context of 32."""
    path = tmp_path / "own.txt"
    path.write_text(TEXT, "utf-8")
    from tinygpt.data.corpora import load_corpus

    corpus: Corpus = load_corpus(str(path))
    sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = dataclasses.replace(
        PRESETS["tinygpt"], vocab_size=CharTokenizer.from_text(TEXT).vocab_size, **sizes
    )
    settings = TrainConfig(max_steps=2, block_size=32, batch_size=2, n_evals=0)
    out = tmp_path / "runs" / "own"
    for _ in train(config, settings, corpus, out=out):
        pass
    return out


@pytest.fixture
def bpe_model(byte_bpe) -> LanguageModel:
    """A small BPE model; its random weights count as real here."""
    tokenizer = byte_bpe([("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "t"), ("Ġ", "s")])
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=48, n_embd=24, n_layer=2, n_head=3
    )
    lm = untrained("small-distilgpt2", config, tokenizer, "")
    return dataclasses.replace(lm, missing_weights=None)


def test_two_scales_side_by_side_on_the_same_bytes(run, bpe_model) -> None:
    tiny = load(run)
    result = compare([tiny, bpe_model], [held_out_text(run, 256)])
    assert result.schema_version == 1
    (text,) = result.texts
    for model in result.models:
        (quality,) = model.quality
        assert quality.missing is None
        assert (quality.evaluation.sha256, quality.evaluation.n_bytes) == (
            text.sha256,
            text.n_bytes,
        )
    one, two = result.models
    assert (one.tokenization, two.tokenization) == ("raw characters", "BPE subwords")
    assert one.bytes_per_token == 1.0
    assert two.bytes_per_token > 1.3
    assert one.n_params == sum(p.numel() for p in set(tiny.model.parameters()))
    assert two.flops_per_byte == pytest.approx(
        costs.flops_per_token(bpe_model.config, 48) / two.bytes_per_token
    )
    assert two.context_bytes == pytest.approx(48 * two.bytes_per_token)
    assert one.config_labels["config.json"].get("training", 0) == 0
    assert one.config_labels["training.json"]["training"] > 5
    assert (
        result.corpus["sha256"]
        == json.loads((run / "training.json").read_text())["corpus"]["sha256"]
    )


def test_quality_is_what_evaluate_says(run, bpe_model) -> None:
    """The escape code costs a run a little on every known character, and nothing to a BPE model."""
    text = held_out_text(run, 200)
    result = compare([load(run), bpe_model], [text])
    aligned = TEXT.encode()[-len(text.text.encode()) :]
    assert result.texts[0].n_bytes <= len(aligned)
    bpe = result.models[1].quality[0].evaluation
    whole = text.prefix + text.text
    border = len(whole) - result.texts[0].n_characters
    expected = bpe_model.evaluate(whole[border:], prefix=whole[:border])
    assert bpe.total_nats == pytest.approx(expected.total_nats)


def test_the_partner_changes_neither_bytes_nor_figure(run, bpe_model) -> None:
    """A run alone and beside a BPE model: the same scored bytes, so the same bits per byte."""
    tiny, text = load(run), held_out_text(run, 200)
    alone = compare([tiny], [text])
    beside = compare([tiny, bpe_model], [text])
    assert alone.texts[0].sha256 == beside.texts[0].sha256
    assert alone.texts[0].yardsticks == beside.texts[0].yardsticks
    assert alone.texts[0].n_bytes == 200
    assert alone.texts[0].common_border
    assert alone.models[0].quality[0].evaluation == beside.models[0].quality[0].evaluation


def test_no_common_border_is_said(run, byte_bpe) -> None:
    """Two tokenizers that never begin a token at the same place within reach."""
    models = []
    for merges in ([("1", "1")], [("0", "1"), ("1", "1")]):
        tokenizer = byte_bpe(merges)
        config = ModelConfig(
            vocab_size=tokenizer.vocab_size, n_positions=48, n_embd=24, n_layer=1, n_head=3
        )
        lm = untrained(f"m{len(merges)}", config, tokenizer, "")
        models.append(dataclasses.replace(lm, missing_weights=None))
    text = Text(name="ones", prefix="01", text="1" * 80, source="here")
    result = compare(models, [text])
    assert json.loads(result.to_json())["texts"][0]["common_border"] is False
    assert "no place where a token starts in every tokenizer" in to_markdown(result)
    assert {m.quality[0].evaluation.n_bytes for m in result.models} == {80}
    fine = compare([load(run)], [own_text("the cat\nsat on the mat\n")])
    assert "no place where" not in to_markdown(fine)


def test_a_text_too_short_to_time_on_has_no_speed_and_says_why(run, bpe_model) -> None:
    result = compare([load(run), bpe_model], ["the cat\nthe dog"])
    for model in json.loads(result.to_json())["models"]:
        assert model["speed"] is None
        assert "too few to time on" in model["speed_missing"]
        assert model["quality"][0]["evaluation"]["n_bytes"] == 7
    page = to_markdown(result)
    assert "not measured (below)" in page
    assert page.count("too few to time on") == 1  # one note for both
    timed = compare([load(run)], ["the cat\n" + TEXT])
    assert timed.models[0].speed_missing is None


def test_what_stands_before_a_text_without_a_prefix_is_said(run, bpe_model) -> None:
    notes = " ".join(footnotes(compare([load(run), bpe_model], ["the cat sat"])))
    for model, start in (("own", "a newline"), ("small-distilgpt2", "<|endoftext|>")):
        assert f"{model} on text 1: no prefix, before the first token stands {start}" in notes
    prefixed = compare([load(run)], ["the cat\nsat"])
    assert "no prefix" not in " ".join(footnotes(prefixed))


def test_the_corpus_is_named_without_the_folders_of_its_owner(run, tmp_path) -> None:
    assert str(tmp_path) in (run / "training.json").read_text("utf-8")
    result = compare([load(run)], [held_out_text(run, 64)])
    assert result.corpus["corpus"] == "own.txt"
    assert str(tmp_path) not in json.dumps([result.corpus, result.to_dict()["texts"]])
    (run / "training.json").write_text('{"train": {}}', "utf-8")  # as the config doctor writes it
    assert compare([load(run)], ["the cat\nthe dog"]).corpus is None


def test_32_kib_of_each_text_unless_told_otherwise(run) -> None:
    assert SCORED_BYTES == 32_768
    assert len(default_texts([])[0].text.encode()) in range(32_765, 32_769)
    long = "the cat\n" + TEXT * 20
    assert compare([load(run)], [long]).texts[0].n_bytes == 32_768
    assert compare([load(run)], [long], n_bytes=None).texts[0].n_bytes == len(TEXT) * 20


def test_rules_name_what_was_applied(run) -> None:
    rules = " ".join(compare([load(run)], ["the cat\nthe dog"]).rules)
    for words in (
        f"drawn at temperature {SAMPLE_TEMPERATURE}",
        "quality is measured at temperature 1",
        "escape code",
        "start of a word",
        "windows move on by half",
    ):
        assert words in rules


def test_unknown_characters_are_paid_for_and_reported(run, bpe_model) -> None:
    own = "first line\n" + "the cat sat – on the mät\n" * 8
    result = compare([load(run), bpe_model], [own])
    tiny, bpe = (m.quality[0].evaluation for m in result.models)
    assert tiny.n_unknown == 2 * 8
    assert bpe.n_unknown == 0
    assert tiny.n_bytes == bpe.n_bytes
    assert "outside its vocabulary" in to_markdown(result)


def test_without_weights_everything_but_quality_is_there(run, byte_bpe) -> None:
    tokenizer = byte_bpe([("t", "h"), ("th", "e")])
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=24, n_layer=2, n_head=3
    )
    lost = untrained("distilgpt2", config, tokenizer, "no hub; run `hf download x`")
    result = compare([load(run), lost], [held_out_text(run, 128)])
    _, column = result.models
    assert column.quality[0].evaluation is None
    assert column.quality[0].missing == "no hub; run `hf download x`"
    assert all(sample.text is None for sample in column.samples)
    assert column.speed.random_weights
    assert column.bytes_per_token > 1
    page = to_markdown(result)
    assert "needs the weights" in page
    assert "hf download x" in page
    assert "random weights" in page


def test_architecture_alone_is_still_a_column(run) -> None:
    alone = Architecture("distilgpt2", PRESETS["distilgpt2"], "nothing at hand")
    result = compare([load(run), alone], [held_out_text(run, 128)])
    _, column = result.models
    assert column.n_params == 81_912_576
    assert (column.speed, column.bytes_per_token, column.first_tokens) == (None, None, None)
    assert column.quality[0].missing == "nothing at hand"
    assert "81,912,576" in to_markdown(result)


def test_open_model_falls_back_for_presets_only(monkeypatch) -> None:
    def unreachable(*_args, **_kwargs):
        raise MachineError("the hub did not answer; run `hf download distilbert/distilgpt2`")

    monkeypatch.setattr("tinygpt.inference.load.load_with", unreachable)
    monkeypatch.setattr("tinygpt.inference.load.gpt2_vocabulary", unreachable)
    found = open_model("distilgpt2")
    assert isinstance(found, Architecture)
    assert "hf download" in found.missing_weights
    with pytest.raises(MachineError):
        open_model("someone/else")


def test_json_is_valid_and_complete(run, bpe_model) -> None:
    result = compare([load(run), bpe_model], [held_out_text(run, 128)])
    data = json.loads(result.to_json())
    assert data["schema_version"] == 1
    assert [m["name"] for m in data["models"]] == [str(run), "small-distilgpt2"]
    wanted = {f.name for f in dataclasses.fields(ModelReport)}
    assert wanted == set(data["models"][0])
    assert data["models"][0]["quality"][0]["evaluation"]["stride"] == 16


def test_samples_are_as_long_as_each_other_and_repeat(run, bpe_model) -> None:
    first, second = (compare([load(run), bpe_model], [held_out_text(run, 128)]) for _ in range(2))
    for column in first.models:
        assert {len(sample.text) for sample in column.samples} == {SAMPLE_CHARACTERS}
        assert tuple(sample.seed for sample in column.samples) == SAMPLE_SEEDS
    assert [m.samples for m in first.models] == [m.samples for m in second.models]


def test_default_texts_are_held_out_and_python_docs(run) -> None:
    names = [text.name for text in default_texts([load(run)], 64)]
    assert len(names) == 2
    assert names[1] == "python-docs"
    assert default_texts([], 64)[0].name == "python-docs"


def test_nothing_to_compare_is_refused(run) -> None:
    with pytest.raises(ConfigError, match="no model"):
        compare([])
    with pytest.raises(DataError, match="no text"):
        compare([load(run)], [])


def test_speeds_are_of_the_same_bytes_and_from_the_clock(run, bpe_model) -> None:
    ticks = iter(range(10_000))
    models = [load(run), bpe_model]
    speeds = measure_speeds(models, TEXT, n_repeats=3, clock=lambda: float(next(ticks)))
    assert {(s.prompt_bytes, s.decoded_bytes) for s in speeds} == {(16, 16)}
    for speed in speeds:  # every interval of this clock is one second
        assert speed.prefill_bytes_per_s.median == speed.decode_bytes_per_s.median == 16
        assert speed.prefill_bytes_per_s.n == 3
    assert speeds[0].decoded_tokens == 16
    assert speeds[1].decoded_tokens < 16
    assert speeds[1].decode_tok_per_s.median == speeds[1].decoded_tokens
    with pytest.raises(DataError, match="too few"):
        measure_speeds(models, "abc")


def test_known_to_all_leaves_out_what_a_character_model_lacks() -> None:
    assert known_to_all("a€b", [CharTokenizer("ab")]) == "ab"


def test_hostile_names_and_samples_are_shown_as_text(run, bpe_model) -> None:
    """Neither Markdown nor the terminal obeys what a model is called or writes."""
    from rich.console import Console

    evil = "\x1b[31m<script>|`[x](y)\u202e"
    result = compare([dataclasses.replace(load(run), name=evil)], [held_out_text(run, 64)])
    sample = dataclasses.replace(result.models[0].samples[0], text="\x1b]0;t\x07</pre>\n# no")
    model = dataclasses.replace(result.models[0], samples=(sample,))
    result = dataclasses.replace(result, models=(model,))
    page = to_markdown(result)
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<script>" not in page
    assert "\n# no" not in page  # indented, so it stays code
    assert repr(result).startswith("<Comparison of ")
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(to_terminal(result))
    shown = console.export_text()
    console.file.close()
    assert "\x1b" not in shown
    assert "\\x1b]0;t\\x07" in shown


def test_table_has_a_row_for_every_aspect(run, bpe_model) -> None:
    page = to_markdown(compare([load(run), bpe_model], [held_out_text(run, 128)]))
    for aspect in (
        "tokenization",
        "vocab\\_size",
        "context length",
        "n\\_layer",
        "n\\_head",
        "n\\_embd",
        "head size",
        "parameters",
        "config contents",
        "blocks",
        "FLOPs per token",
        "FLOPs per byte",
        "KV cache per token",
        "context in bytes",
        "bytes per token",
        "prefill, bytes/s",
        "decode, bytes/s",
        "bits per byte",
    ):
        assert f"| {aspect}" in page, aspect
    for component in ("wte", "wpe", "attention", "MLP", "LayerNorm", "lm\\_head"):
        assert component in page
