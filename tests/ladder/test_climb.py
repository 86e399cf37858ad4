"""The ladder: every rung measured alike, gone on with after an interruption, true without a hub."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from tests.training.test_train import CORPUS, corpus_of, prose

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.model_config import PRESETS
from tinygpt.data import fit_tokenizer
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.inference import load as opening
from tinygpt.inference.load import load
from tinygpt.ladder import measure
from tinygpt.ladder.changes import Change
from tinygpt.ladder.climb import climb
from tinygpt.ladder.cost import Allowance
from tinygpt.ladder.results import LADDER, Ladder, read_ladder
from tinygpt.runs.checkpoint import load_newest
from tinygpt.runs.run_file import RunFile

SMALL = RunFile(
    model={"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 32},
    train={"block_size": 32, "batch_size": 2, "n_evals": 1, "eval_tokens": 32, "sample_tokens": 2},
)
CHANGES = (
    Change(name="small", given=SMALL),
    Change(name="deep", given=RunFile(model={"n_layer": 2})),
    Change(name="bpe", given=RunFile(model={"vocab_size": 260}, tokenizer={"tokenizer": "bpe"})),
)
DEEPER = RunFile(model={"n_layer": 3})
STEPS = Allowance(max_steps=3)


class Stop:
    """Says what it was told last."""

    def __init__(self) -> None:
        self.now = False

    def __call__(self) -> bool:
        return self.now


def climbed(out: Path, changes=CHANGES, allowance=STEPS, corpus=CORPUS, **arguments) -> Ladder:
    arguments = {"n_bytes": 300} | arguments
    *_, ladder = climb(
        changes, corpus, allowance, EngineOptions(device="cpu"), out=out, **arguments
    )
    return ladder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Ladder]:
    out = tmp_path_factory.mktemp("ladders") / "whole"
    return out, climbed(out)


@pytest.fixture
def local(tmp_path, byte_bpe) -> Path:
    """A GPT-2-shaped folder with byte-level BPE, as a rung may begin with."""
    first = climbed(
        tmp_path / "first", (CHANGES[0], dataclasses.replace(CHANGES[2], name="start")), STEPS
    )
    return tmp_path / "first" / first.rungs[1].runs[0].folder


# --- what is measured


def test_every_rung_is_an_ordinary_run_on_the_same_bytes(whole) -> None:
    out, ladder = whole
    assert ladder.complete
    assert [rung.name for rung in ladder.rungs] == ["small", "deep", "bpe"]
    assert ladder.rungs[1].changes == {"model.n_layer": [1, 2]}
    scored = {(r.quality.n_bytes, r.quality.sha256) for r in ladder.rungs}
    assert scored == {(ladder.text["n_bytes"], ladder.text["sha256"])}
    held_out = CORPUS.text[int(0.9 * len(CORPUS.text)) :]
    starts = [
        i
        for i in range(257)
        if hashlib.sha256(held_out[i : i + 300].encode()).hexdigest() == ladder.text["sha256"]
    ]
    assert len(starts) == 1
    for number, rung in enumerate(ladder.rungs, 1):
        (run,) = rung.runs
        assert run.folder == f"{number:02d}-{rung.name}"
        lm = load(out / run.folder)
        assert lm.config.to_dict().items() >= ladder.plan[number - 1]["model"].items()
        assert run.steps == 3
        assert run.train_bytes == pytest.approx(3 * 64 * (1 if number < 3 else 1.5), rel=0.5)
        assert rung.quality.bits_per_byte == run.bits_per_byte > 0
        assert rung.decode.decoded_bytes == 16
        assert rung.pace.bytes_per_s > 0
        assert (rung.missing, rung.missing_weights) == (None, None)


def test_several_seeds_have_a_median_and_a_range(tmp_path) -> None:
    (rung,) = climbed(tmp_path / "l", CHANGES[:1], n_seeds=3).rungs
    bits = sorted(run.bits_per_byte for run in rung.runs)
    q = rung.quality
    assert [q.min_bits_per_byte, q.bits_per_byte, q.max_bits_per_byte] == bits
    assert len(set(bits)) == 3
    assert [run.folder for run in rung.runs] == [f"01-small-seed{i}" for i in range(3)]


def test_equal_bytes_and_equal_flops(tmp_path) -> None:
    ladder = climbed(tmp_path / "b", CHANGES[:2], Allowance(train_bytes=2400))
    assert [r.runs[0].train_bytes for r in ladder.rungs] == [2432, 2432]
    ladder = climbed(tmp_path / "f", CHANGES[:2], Allowance(flops=8e7))
    flops = [r.runs[0].training_flops for r in ladder.rungs]
    assert flops == [pytest.approx(8e7, rel=0.02)] * 2
    assert ladder.rungs[0].runs[0].steps > ladder.rungs[1].runs[0].steps


def test_a_rung_beyond_the_budget_keeps_its_cost_and_an_estimate(tmp_path, monkeypatch) -> None:
    real = measure.pace

    def slow(lm, rung, *arguments, **keywords):
        found = real(lm, rung, *arguments, **keywords)
        seconds = 40.0 if rung.name == "deep" else 0.01
        return dataclasses.replace(found, step_s=seconds, bytes_per_s=64 / seconds)

    monkeypatch.setattr(measure, "pace", slow)
    ladder = climbed(tmp_path / "l", CHANGES[:2], Allowance(train_bytes=2400, minutes=1.0))
    first, deep = ladder.rungs
    assert deep.quality is None
    assert deep.runs == ()
    assert deep.missing == "38 steps take about 25 min here, more than the 1 allowed"
    assert deep.estimated_train_s == first.runs[0].train_bytes / deep.pace.bytes_per_s
    assert deep.decode is not None
    assert deep.cost.n_params > first.cost.n_params
    assert not (tmp_path / "l" / "02-deep").exists()


def test_a_rung_beyond_the_memory_is_not_begun(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measure, "free_memory", lambda device: 1000)
    (rung,) = climbed(tmp_path / "l", CHANGES[:1]).rungs
    assert rung.quality is rung.pace is None
    assert "GiB of memory" in rung.missing


def test_a_rung_that_diverges_says_so_and_the_next_one_is_climbed(tmp_path) -> None:
    wild = Change(name="wild", given=RunFile(optim={"learning_rate": 1e30, "grad_clip": 0.0}))
    tame = Change(name="tame", given=RunFile(optim={"learning_rate": 1e-3}))
    _, wild, tame = climbed(tmp_path / "l", (CHANGES[0], wild, tame)).rungs
    assert "is not finite" in wild.missing
    assert wild.quality is None
    assert tame.quality is not None


def test_a_rung_that_the_corpus_is_too_short_for(tmp_path) -> None:
    corpus = corpus_of(prose(400))
    long = Change(name="long", given=RunFile(model={"n_positions": 512}, train={"block_size": 512}))
    _, long = climbed(tmp_path / "l", (CHANGES[0], long), corpus=corpus, n_bytes=20).rungs
    assert "one window of block_size=512 needs 513" in long.missing
    assert long.cost.n_params > 0


# --- weights from elsewhere


def test_pretrained_and_fine_tuned_from_a_folder(tmp_path, local) -> None:
    changes = (
        CHANGES[0],
        Change(name="pretrained", given=RunFile(start=str(local)), trained=False),
        Change(name="fine-tuned", given=RunFile(optim={"learning_rate": 5e-4}), trained=True),
    )
    small, pretrained, tuned = climbed(tmp_path / "l", changes).rungs
    assert pretrained.runs == ()
    assert pretrained.cost.training_memory_bytes is None
    assert pretrained.quality.sha256 == small.quality.sha256 == tuned.quality.sha256
    assert pretrained.quality.bits_per_byte != tuned.quality.bits_per_byte
    assert pretrained.changes["from"] == [None, str(local)]
    assert tuned.changes["trained"] == [False, True]
    recipe = json.loads((tmp_path / "l" / "03-fine-tuned" / "training.json").read_text())
    assert recipe["optim"]["learning_rate"] == 5e-4
    assert recipe["from"]


def test_without_the_hub_weights_are_missing_and_nothing_is_made_up(
    tmp_path, local, monkeypatch
) -> None:
    real, online = opening.load_with, False

    def hub(name, options, **keywords):
        if name == "distilgpt2":
            if not online:
                raise MachineError("no network; run `hf download distilbert/distilgpt2`")
            name = str(local)
        return real(name, options, **keywords)

    monkeypatch.setattr(opening, "load_with", hub)
    monkeypatch.setattr(opening, "gpt2_vocabulary", lambda: local)
    monkeypatch.setitem(PRESETS, "distilgpt2", load(local).config)
    changes = (
        CHANGES[0],
        Change(name="pretrained", given=RunFile(start="distilgpt2"), trained=False),
        Change(name="fine-tuned", given=RunFile(optim={"learning_rate": 5e-4}), trained=True),
    )
    ladder = climbed(tmp_path / "l", changes)
    for rung in ladder.rungs[1:]:
        assert rung.quality is None
        assert "`hf download distilbert/distilgpt2`" in rung.missing
        assert rung.decode.random_weights
        assert rung.cost.flops_per_byte
    assert ladder.rungs[2].pace.bytes_per_s > 0
    assert climbed(tmp_path / "l", changes) == ladder  # still missing: nothing is measured again
    online = True
    again = climbed(tmp_path / "l", changes)
    assert again.rungs[0] == ladder.rungs[0]
    assert all(rung.quality is not None for rung in again.rungs)


def test_without_a_vocabulary_the_sizes_are_still_known(tmp_path, local, monkeypatch) -> None:
    def unreachable():
        raise MachineError("the vocabulary can't be had")

    monkeypatch.setattr(fit_tokenizer, "gpt2_vocabulary", unreachable)
    small = {"vocab_size": 260, "bos_token_id": None, "eos_token_id": None}
    monkeypatch.setitem(PRESETS, "gpt2", dataclasses.replace(PRESETS["gpt2"], **small))
    gpt2 = Change(name="gpt2", given=RunFile(tokenizer={"tokenizer": "gpt2"}))
    _, rung = climbed(tmp_path / "l", (CHANGES[0], gpt2)).rungs
    assert rung.missing == rung.decode_missing == "the vocabulary can't be had"
    assert rung.cost.n_params > 0
    assert rung.quality is rung.pace is rung.cost.flops_per_byte is None
    monkeypatch.setattr(fit_tokenizer, "gpt2_vocabulary", lambda: local)
    _, rung = climbed(tmp_path / "l", (CHANGES[0], gpt2)).rungs
    assert rung.quality is not None  # here by now, so it was measured again
    assert rung.missing is None


def test_a_model_that_is_not_there_is_refused_before_anything(tmp_path) -> None:
    changes = (CHANGES[0], Change(name="b", given=RunFile(start="./nothing"), trained=False))
    with pytest.raises(CheckpointError, match="nothing"):
        climb(changes, CORPUS, STEPS, out=tmp_path / "l")
    assert not (tmp_path / "l").exists()


# --- going on


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("doing", ["opening", "training", "scoring"])
def test_interrupted_at_any_rung_it_goes_on_there(tmp_path, whole, index, doing) -> None:
    out, stop = tmp_path / "l", Stop()

    def progress(at) -> None:
        stop.now = at.rung == index + 1 and at.doing == doing

    broken = climbed(out, stop=stop, progress=progress)
    assert len(broken.rungs) == index
    assert not broken.complete
    assert read_ladder(out) == broken
    seen = []
    ladder = climbed(out, progress=lambda at: seen.append(at.rung))
    assert ladder.complete
    assert min(seen) == index + 1  # what was done is not done again
    for rung, expected in zip(ladder.rungs, whole[1].rungs, strict=True):
        assert rung.quality == expected.quality  # bit for bit: a budget of steps
    checkpoint, _ = load_newest(out / f"0{index + 1}-{CHANGES[index].name}" / "checkpoints")
    assert checkpoint.state["finished"]


def test_a_complete_ladder_is_only_shown(whole) -> None:
    out, ladder = whole
    before = (out / LADDER).stat().st_mtime_ns
    told = []
    assert climbed(out, progress=told.append) == ladder
    assert told == []
    assert (out / LADDER).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"allowance": Allowance(max_steps=4)}, "max_steps=3, now it is 4"),
        ({"allowance": Allowance(minutes=1.0)}, "minutes=None, now it is 1.0"),
        ({"n_seeds": 2}, "seeds=1, now it is 2"),
        ({"n_bytes": 200}, "scored_bytes=300, now it is 200"),
        ({"corpus": corpus_of(prose(4000, 1))}, "corpus_sha256="),
        ({"changes": CHANGES[:2]}, "rungs=['small', 'deep', 'bpe']"),
        (
            {"changes": (CHANGES[0], dataclasses.replace(CHANGES[1], given=DEEPER), CHANGES[2])},
            'rung "deep": n_layer=2, now it is 3',
        ),
    ],
)
def test_other_settings_are_refused_by_name(whole, arguments, words) -> None:
    with pytest.raises(ConfigError) as caught:
        climbed(whole[0], **arguments)
    assert words in str(caught.value)
    assert "another --out" in str(caught.value)


def test_a_folder_of_something_else_is_left_alone(tmp_path) -> None:
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no ladder"):
        climbed(tmp_path / "l")
    assert [path.name for path in (tmp_path / "l").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema_version": 2}', "schema_version 2 is not 1"),
        ('{"schema_version": 1}', "no list of rungs"),
        ('{"schema_version": 1, "plan": [], "rungs": [{"nam": 1}]}', 'unknown key "nam"'),
        ("[", "ladder.json"),
    ],
)
def test_a_ladder_file_that_is_not_ours(tmp_path, text, words) -> None:
    (tmp_path / LADDER).write_text(text)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        read_ladder(tmp_path)
    assert words in str(caught.value)


def test_the_json_has_its_schema(whole) -> None:
    out, ladder = whole
    data = json.loads((out / LADDER).read_text("utf-8"))
    assert data["schema_version"] == 1
    assert data == json.loads(json.dumps(ladder.to_dict()))
    assert set(data) == {
        *("schema_version", "tinygpt_version", "created", "settings", "machine", "text"),
        *("plan", "rungs"),
    }
    assert set(data["rungs"][0]) == {
        *("name", "changes", "cost", "decode", "decode_missing", "pace", "runs", "quality"),
        *("missing", "missing_weights", "estimated_train_s", "elapsed_s"),
    }
    assert set(data["plan"][0]) == {
        *("name", "from", "trained", "model", "tokenizer", "train", "optim")
    }
    assert read_ladder(out) == ladder


def test_the_time_left_is_told(tmp_path) -> None:
    told = []
    climbed(tmp_path / "l", progress=told.append)
    assert told[0].left_s is None  # nothing is known yet
    assert all(at.left_s is not None for at in told if at.rung > 1)
    assert [at.name for at in told if at.doing == "opening"] == ["small", "deep", "bpe"]
    assert {at.n_rungs for at in told} == {3}


def test_impossible_arguments(tmp_path) -> None:
    with pytest.raises(ConfigError, match="seeds=0"):
        climbed(tmp_path / "l", n_seeds=0)
