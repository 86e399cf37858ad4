"""What a run decides on its way: samples, the monitor slice, early stopping, keeping the best."""

import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygpt.config.train_config import OptimConfig, TrainConfig
from tinygpt.data.batches import prepare, with_monitor
from tinygpt.data.corpora import Corpus
from tinygpt.errors import CheckpointError, ConfigError, ContextError, DataError, TokenizerError
from tinygpt.inference.load import load
from tinygpt.runs.events import Evaluated, Sampled, Saved, Step
from tinygpt.runs.lock import locked
from tinygpt.tokenizers.char_byte import CharTokenizer
from tinygpt.training.resume import resume
from tinygpt.training.state import read_position
from tinygpt.training.train import train
from tinygpt.training.val_loss import val_loss


def corpus_of(text: str) -> Corpus:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Corpus(name="test", text=text, sha256=sha256, source="a test")


def letters(n: int, alphabet: str) -> str:
    rng = random.Random(0)
    return "".join(rng.choice(alphabet) for _ in range(n))


# The monitor slice (the last 180) is full of a "c" that the rest of the training part does not
# know: the untrained model is the best.
AGAINST = corpus_of("ab" * 4410 + "acc" * 60 + letters(1000, "abc"))
WITH = corpus_of("ab" * 5000 + "\n")


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(tiny_config, vocab_size=3)


@pytest.fixture
def settings():
    return TrainConfig(
        block_size=16, batch_size=4, max_steps=12, n_evals=4, eval_tokens=64, sample_tokens=9
    )


def run(config, settings, out, corpus=AGAINST, **arguments):
    optim = OptimConfig(learning_rate=2e-2, warmup_steps=0)
    return list(
        train(config, settings, corpus, optim_config=optim, out=out, device="cpu", **arguments)
    )


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def lines(path: Path) -> list[dict]:
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k != "elapsed_s"} for line in found]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


# --- the monitor slice


def test_the_monitor_slice_is_the_end_of_the_training_part_and_not_trained_on():
    data = prepare(AGAINST, CharTokenizer.from_text(AGAINST.text), 16)
    cut = with_monitor(data, 16)
    assert np.array_equal(np.concatenate([cut.train, cut.monitor]), data.train)
    assert len(cut.monitor) == len(data.train) // 50 == 180
    assert cut.held_out is data.held_out
    assert cut.counts["n_monitor_tokens"] == 180
    assert data.counts["n_monitor_tokens"] == 0
    with pytest.raises(DataError, match="too few to set the last 2% apart"):
        with_monitor(prepare(corpus_of("abc" * 20), CharTokenizer("abc"), 16), 16)


def test_a_run_without_a_decision_trains_on_the_whole_training_part(config, settings, tmp_path):
    run(config, settings, tmp_path / "r")
    recorded = json.loads((tmp_path / "r" / "training.json").read_text())["data"]
    assert (recorded["n_train_tokens"], recorded["n_monitor_tokens"]) == (9000, 0)
    assert all(e.monitor_loss is None for e in of(Evaluated, run(config, settings, tmp_path / "b")))


def test_monitor_loss_is_measured_on_the_slice(config, settings, tmp_path):
    settings = dataclasses.replace(settings, keep_best=True, eval_tokens=10_000)
    final = of(Evaluated, run(config, settings, tmp_path / "r", WITH))[-1]
    lm = load(tmp_path / "r", device="cpu")
    ids = with_monitor(prepare(WITH, lm.tokenizer, 16), 16).monitor
    assert final.monitor_loss == pytest.approx(val_loss(lm.model, ids, 16).loss, abs=1e-6)


# --- keeping the best, stopping early


def test_the_best_weights_are_kept_and_the_card_says_so(config, settings, tmp_path):
    settings = dataclasses.replace(settings, keep_best=True, save_every=2)
    plain = run(config, dataclasses.replace(settings, keep_best=False), tmp_path / "plain")
    events = run(config, settings, tmp_path / "r")
    evaluated = of(Evaluated, events)
    losses = [e.monitor_loss for e in evaluated if not e.final]
    assert losses[-1] > losses[0]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert evaluated[-1].kept_step == evaluated[best].step == 0
    assert evaluated[-1].monitor_loss == losses[best]
    first = tmp_path / "first"
    run(config, dataclasses.replace(settings, max_steps=1, n_evals=1), first)
    assert len(weights(first)) == len(weights(tmp_path / "r"))
    assert load(tmp_path / "r").evaluate("ab").loss != load(tmp_path / "plain").evaluate("ab").loss
    assert "those of step 0, the best on the monitor slice" in (
        (tmp_path / "r" / "README.md").read_text()
    )
    assert of(Evaluated, plain)[-1].kept_step is None
    assert (tmp_path / "r" / "checkpoints" / "step-00000000-2").is_dir()  # spared
    assert [s.reason for s in of(Saved, events)][:2] == ["start", "best"]


def test_the_last_weights_are_kept_where_they_are_the_best(config, settings, tmp_path):
    settings = dataclasses.replace(settings, keep_best=True)
    events = run(config, settings, tmp_path / "r", WITH)
    final = of(Evaluated, events)[-1]
    losses = [e.monitor_loss for e in of(Evaluated, events)]
    assert losses[-1] == min(losses)
    assert final.kept_step is None


def test_early_stopping_ends_after_so_many_evaluations_without_a_better_one(
    config, settings, tmp_path
):
    settings = dataclasses.replace(settings, n_evals=12, early_stopping_patience=3)
    events = run(config, settings, tmp_path / "r")
    losses = [e.monitor_loss for e in of(Evaluated, events) if not e.final]
    assert len(losses) == 4
    assert losses[0] == min(losses)
    assert events[-1].final
    assert events[-1].step == 3
    assert events[-1].reason == "early stopping"
    assert not any(event.last for event in of(Step, events))  # the budget had more
    with pytest.raises(ConfigError, match=r"is complete \(3 steps\)"):
        list(resume(tmp_path / "r", corpus=AGAINST))
    whole = run(config, dataclasses.replace(settings, early_stopping_patience=12), tmp_path / "w")
    assert whole[-1].step == 12
    assert whole[-1].reason == "end"
    assert [step.last for step in of(Step, whole)] == [False] * 11 + [True]


def test_decisions_need_evaluations():
    for wrong in ({"keep_best": True}, {"early_stopping_patience": 1}):
        with pytest.raises(ConfigError, match="n_evals=0"):
            TrainConfig(n_evals=0, **wrong)
    with pytest.raises(ConfigError, match="early_stopping_patience=0"):
        TrainConfig(early_stopping_patience=0)


class Stop:
    """Says stop at the n-th question."""

    def __init__(self, at):
        self.asked, self.at = 0, at

    def __call__(self):
        self.asked += 1
        return self.asked >= self.at


@pytest.mark.parametrize("at", [1, 4, 12, 14, 25, 60, 62, 64])
def test_a_run_with_decisions_and_samples_resumes_bit_for_bit(config, settings, tmp_path, at):
    settings = dataclasses.replace(
        settings, keep_best=True, early_stopping_patience=3, sample_prompts=("a", "ba")
    )
    whole, part = tmp_path / "whole", tmp_path / "r"
    run(config, settings, whole)
    events = run(config, settings, part, stop=Stop(at))
    if not events[-1].final:
        assert events[-1].reason == "interrupted"
        assert list(resume(part, corpus=AGAINST))[-1].final
    assert weights(part) == weights(whole)
    assert lines(part / "samples.jsonl") == lines(whole / "samples.jsonl")
    kinds = ("step", "evaluated")
    assert [line for line in lines(part / "metrics.jsonl") if line["event"] in kinds] == [
        line for line in lines(whole / "metrics.jsonl") if line["event"] in kinds
    ]


# --- samples


def test_prompts_are_continued_at_every_evaluation_and_at_the_end(config, settings, tmp_path):
    settings = dataclasses.replace(settings, sample_prompts=("ab", "c"))
    events = run(config, settings, tmp_path / "r")
    found = of(Sampled, events)
    assert [(s.step, s.prompt) for s in found] == [
        (step, prompt) for step in (0, 3, 6, 9, 12) for prompt in ("ab", "c")
    ]
    assert {len(s.text) for s in found} == {9}
    lm = load(tmp_path / "r", device="cpu")
    again = lm.generate("ab", max_new_tokens=9, temperature=found[-2].temperature, seed=0)
    assert found[-2].text == again
    assert [line["text"] for line in lines(tmp_path / "r" / "samples.jsonl")] == [
        s.text for s in found
    ]


def test_samples_change_nothing_of_the_training(config, settings, tmp_path):
    config = dataclasses.replace(config, resid_pdrop=0.2, attn_pdrop=0.1)
    run(config, settings, tmp_path / "a")
    run(config, dataclasses.replace(settings, sample_prompts=("ab",)), tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_without_prompts_a_run_ends_with_one_sample(config, settings, tmp_path):
    found = of(Sampled, run(config, settings, tmp_path / "r", WITH))
    assert [(s.step, s.prompt, len(s.text)) for s in found] == [(12, "", 9)]
    found = of(Sampled, run(config, settings, tmp_path / "b"))  # no newline to begin with
    assert [(s.step, s.prompt) for s in found] == [(12, AGAINST.text[0])]


def test_a_prompt_that_the_model_cant_take_is_refused_before_the_first_step(
    config, settings, tmp_path
):
    for prompt, error in (("aXb", TokenizerError), ("a" * 17, ContextError)):
        with pytest.raises(error):
            run(config, dataclasses.replace(settings, sample_prompts=(prompt,)), tmp_path / "r")
        assert not (tmp_path / "r").exists()
    with pytest.raises(ConfigError, match="sample_prompts holds an empty text"):
        TrainConfig(sample_prompts=("",))


def test_minutes_pay_for_the_last_sample(config, tmp_path):
    """A clock that only tokens move: sampled tokens are inside the budget."""

    class Clock:
        now_s = 0.0

        def __call__(self):
            self.now_s += 0.01
            return self.now_s

    clock = Clock()
    settings = TrainConfig(
        block_size=16, batch_size=2, minutes=0.5, n_evals=2, eval_tokens=32, sample_tokens=50
    )
    events = run(config, settings, tmp_path / "r", WITH, clock=clock)
    assert events[-1].final
    assert len(of(Sampled, events)) == 1
    assert clock.now_s == pytest.approx(30.0, rel=0.05)
    assert len(of(Step, events)) > 100


# --- one process at a time


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_a_run_is_trained_by_one_process_at_a_time(config, settings, tmp_path):
    run(config, settings, tmp_path / "r", stop=Stop(9))
    before = sorted(p.name for p in (tmp_path / "r").rglob("*"))
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib, sys; from tinygpt.runs.lock import locked\n"
            "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); input()",
            str(tmp_path / "r"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"being trained by process {holder.pid} on "):
            list(resume(tmp_path / "r", corpus=AGAINST))
        assert sorted(p.name for p in (tmp_path / "r").rglob("*")) == before
    finally:
        holder.kill()  # no chance to tidy up: the lock goes with the process
        holder.communicate()
    assert list(resume(tmp_path / "r", corpus=AGAINST))[-1].final


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_a_lock_is_given_back(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            assert f"process {os.getpid()}" in (tmp_path / "run.lock").read_text()
            with pytest.raises(CheckpointError, match="wait until it ends"), locked(tmp_path):
                pass
    assert (tmp_path / "run.lock").read_text() == ""


# --- what is damaged in between


def test_damaged_best_weights_do_not_cost_what_was_trained_since(config, settings, tmp_path):
    settings = dataclasses.replace(settings, keep_best=True)
    events = run(config, settings, tmp_path / "r", stop=Stop(40))
    assert not events[-1].final
    best = tmp_path / "r" / "checkpoints" / "step-00000000-2" / "model.safetensors"
    best.write_bytes(best.read_bytes()[:-1] + b"x")
    rest = list(resume(tmp_path / "r", corpus=AGAINST))
    final = of(Evaluated, rest)[-1]
    assert rest[-1].final
    assert final.kept_step is None
    assert "model.safetensors is not what was written" in final.warning
    assert "the last weights are kept" in final.warning
    assert (tmp_path / "r" / "README.md").exists()


def test_lost_lines_of_a_log_are_reported(config, settings, tmp_path):
    run(config, settings, tmp_path / "r", stop=Stop(12))
    (tmp_path / "r" / "metrics.jsonl").unlink()
    first = next(iter(resume(tmp_path / "r", corpus=AGAINST)))
    assert "metrics.jsonl lacks " in first.warning


def test_a_state_of_another_version_is_refused_by_name(config, settings, tmp_path):
    with pytest.raises(CheckpointError, match=r'not of this tinygpt .*unknown key "n_new"'):
        read_position({"position": {"n_new": 1}}, "step-00000004")
    with pytest.raises(CheckpointError, match="n_evals_done='x' is not allowed"):
        read_position({"position": {"n_evals_done": "x"}}, "step-00000004")
    with pytest.raises(CheckpointError, match="not of this tinygpt"):
        read_position({}, "step-00000004")
    assert read_position({"position": {"n_evals_done": 3}}, "x").n_evals_done == 3


@pytest.mark.parametrize("wrong", ['{"threads": null}', '{"threads": "2"}', '{"device": 1}'])
def test_a_damaged_environment_is_refused_and_none_is_no_fault(config, settings, tmp_path, wrong):
    run(config, settings, tmp_path / "r", stop=Stop(12))
    path = tmp_path / "r" / "environment.json"
    path.write_text(wrong)
    with pytest.raises(CheckpointError, match=r"environment\.json: (threads|device) is .*mend"):
        resume(tmp_path / "r", corpus=AGAINST)
    path.unlink()
    events = list(resume(tmp_path / "r", corpus=AGAINST))
    assert "not bit-exact" in events[0].warning
    assert events[-1].final


# --- the start of a fine-tuned run


def test_a_fine_tuned_run_names_its_start_for_good(config, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(config, settings, Path("base"))
    run(None, settings, Path("tuned"), start=load("base", device="cpu"))
    recorded = json.loads(Path("tuned/training.json").read_text())
    assert recorded["from"] == str(tmp_path.resolve() / "base")
    digest = hashlib.sha256(Path("base/model.safetensors").read_bytes()).hexdigest()
    assert recorded["from_sha256"] == digest
    assert "fine-tuned from base" in Path("tuned/README.md").read_text()
    other = dataclasses.replace(settings, seed=5)
    run(config, other, Path("other"))
    with pytest.raises(CheckpointError, match="the weights of other have changed since"):
        run(None, settings, Path("x"), start=load("other", device="cpu"), start_sha256=digest)
    again = load(recorded["from"], device="cpu")
    run(None, settings, Path("again"), start=again, start_sha256=digest)
    assert weights(tmp_path / "again") == weights(tmp_path / "tuned")
