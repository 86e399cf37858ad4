import dataclasses
import hashlib
import json
import math
import random
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.data import text_files
from tinygpt.data.batches import split
from tinygpt.data.corpora import Corpus
from tinygpt.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MachineError,
    TinyGPTError,
    TokenizerError,
)
from tinygpt.evaluation.bits_per_byte import evaluate
from tinygpt.inference.device import pick_device
from tinygpt.inference.load import load
from tinygpt.inference.native_library import unavailable
from tinygpt.model.gpt import GPT
from tinygpt.runs import folder as run_folder
from tinygpt.runs import log as run_log
from tinygpt.runs.checkpoint import load_newest
from tinygpt.runs.events import Evaluated, Resumed, Sampled, Saved, Step
from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import CharTokenizer
from tinygpt.training import validate
from tinygpt.training.learner import Learner, new_model
from tinygpt.training.native_step import NativeTrainer
from tinygpt.training.resume import resume
from tinygpt.training.state import check_settings, settings_of
from tinygpt.training.train import FINE_TUNING, train
from tinygpt.training.val_loss import val_loss

CONFIGS = Path(__file__).parents[2] / "configs"


def corpus_of(text: str, name: str = "test") -> Corpus:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Corpus(name=name, text=text, sha256=sha256, source="a test")


def prose(n: int, seed: int = 0) -> str:
    """Make n characters of words in a fixed random order; the same everywhere."""
    rng = random.Random(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "to", "it.\n"]
    return " ".join(rng.choice(words) for _ in range(n))[:n]


CORPUS = corpus_of(prose(4000))
VOCAB_SIZE = len(set(CORPUS.text))
OPTIM = OptimConfig(learning_rate=5e-3, warmup_steps=5)


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(tiny_config, vocab_size=VOCAB_SIZE)


@pytest.fixture
def settings():
    return TrainConfig(
        block_size=16, batch_size=4, max_steps=12, n_evals=3, eval_tokens=64, save_every=5
    )


def run(config, settings, out, corpus=CORPUS, **arguments):
    arguments = {"optim_config": OPTIM, "device": "cpu"} | arguments
    return list(train(config, settings, corpus, out=out, **arguments))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def metrics(folder: Path) -> list[dict]:
    """Lines of what was computed, without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k != "elapsed_s"}
        for line in lines
        if line["event"] in ("step", "evaluated")
    ]


class Stop:
    """Says stop at the n-th question."""

    def __init__(self, at: float = math.inf) -> None:
        self.asked, self.at = 0, at

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked >= self.at


# --- one run


def test_the_events_of_a_run(config, settings, tmp_path):
    events = run(config, settings, tmp_path / "r")
    steps = of(Step, events)
    assert [step.step for step in steps] == list(range(1, 13))
    assert [step.tokens for step in steps] == [64 * n for n in range(1, 13)]
    assert steps[-1].progress == 1.0
    assert [step.elapsed_s for step in steps] == sorted(step.elapsed_s for step in steps)
    assert [(e.step, e.final) for e in of(Evaluated, events)] == [
        (0, False),
        (4, False),
        (8, False),
        (12, True),
    ]
    assert [(s.step, s.reason, s.final) for s in of(Saved, events)] == [
        (0, "start", False),
        (5, "scheduled", False),
        (10, "scheduled", False),
        (12, "end", True),
    ]
    assert isinstance(events[0], Saved)
    assert events[-1].path == tmp_path / "r"


def test_losses_and_bits_are_what_they_say(config, settings, tmp_path):
    events = run(config, settings, tmp_path / "r")
    lm = load(tmp_path / "r", device="cpu")
    train_text, held_out_text = split(CORPUS.text)
    ids = lm.tokenizer.encode(held_out_text)
    final = of(Evaluated, events)[-1]
    assert final.val_loss == pytest.approx(val_loss(lm.model, ids, 16).loss, abs=1e-6)
    assert final.n_tokens == final.n_total == len(ids) - 1
    found = evaluate(lm.model, lm.tokenizer, held_out_text, prefix=train_text[-500:])
    assert final.bits_per_byte == pytest.approx(found.bits_per_byte, abs=1e-6)
    first = of(Step, events)[0]
    assert first.train_bits_per_byte == pytest.approx(
        first.loss / math.log(2)
    )  # one byte a character
    assert of(Evaluated, events)[0].n_tokens == 64
    assert of(Evaluated, events)[0].bits_per_byte is None


def test_the_loss_at_init_is_that_of_guessing_and_falls(config, tmp_path):
    settings = TrainConfig(block_size=16, batch_size=8, max_steps=60, n_evals=0)
    config = dataclasses.replace(config, initializer_range=0.02)
    losses = [step.loss for step in of(Step, run(config, settings, tmp_path / "r"))]
    assert losses[0] == pytest.approx(math.log(VOCAB_SIZE), rel=0.1)
    assert losses[-1] < losses[0] - 0.5


def test_overfits_one_batch(tiny_config, tmp_path):
    corpus = corpus_of("abcdefghijklmnop q!")  # 17 characters to train on: a single window
    config = dataclasses.replace(tiny_config, vocab_size=19)
    settings = TrainConfig(block_size=16, batch_size=1, max_steps=60, n_evals=0)
    events = run(
        config, settings, tmp_path / "r", corpus, optim_config=OptimConfig(learning_rate=1e-2)
    )
    assert of(Step, events)[-1].loss < 0.1


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_golden_losses_of_the_smoke_run(optimizer, tmp_path):
    """The run of configs/smoke.toml on a text of our own, and the same with AdamW alone."""
    table = tomllib.loads((CONFIGS / "smoke.toml").read_text("utf-8"))
    config = ModelConfig(vocab_size=VOCAB_SIZE, **table["model"])
    events = run(
        config,
        TrainConfig(**table["train"], zero_init=optimizer == "muon"),
        tmp_path / "r",
        optim_config=OptimConfig(**table["optim"] | {"optimizer": optimizer}),
        tokenizer_config=TokenizerConfig(**table["tokenizer"]),
        threads=1,
    )
    same_kind = torch.backends.cpu.get_cpu_capability() == "AVX512"
    tolerance = 1e-4 if same_kind else 1e-2  # recorded on a CPU of that kind
    losses = [step.loss for step in of(Step, events)]
    golden, golden_val_loss = GOLDEN[optimizer]
    assert losses == pytest.approx(golden, abs=tolerance)
    assert of(Evaluated, events)[-1].val_loss == pytest.approx(golden_val_loss, abs=tolerance)


GOLDEN = {
    "muon": (
        [
            *(3.036136, 2.960646, 2.833044, 2.678922, 2.558844, 2.438446, 2.3578, 2.270813),
            *(2.255886, 2.22853, 2.169912, 2.144979, 2.138991, 2.030162, 1.995476, 1.928449),
            *(1.88223, 1.834484, 1.826405, 1.80296),
        ],
        1.844554,
    ),
    "adamw": (
        [
            *(2.919587, 2.806295, 2.532647, 2.372722, 2.365766, 2.265965, 2.161314, 2.011467),
            *(1.886206, 1.883156, 1.791546, 1.757184, 1.734177, 1.643995, 1.659278, 1.611322),
            *(1.583771, 1.535959, 1.534958, 1.550991),
        ],
        1.598331,
    ),
}


# --- the folder


def test_the_folder_appears_complete_and_says_how_it_was_made(config, settings, tmp_path):
    out = tmp_path / "runs" / "mine"
    events = train(config, settings, CORPUS, optim_config=OPTIM, out=out, device="cpu")
    assert not tmp_path.joinpath("runs").exists()  # nothing before the first event
    first = next(events)
    assert (first.step, first.tokens, first.path, first.reason) == (0, 0, out, "start")
    assert sorted(path.name for path in out.parent.iterdir()) == ["mine"]
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints",
        "config.json",
        "environment.json",
        "generation_config.json",
        "metrics.jsonl",
        "model.safetensors",
        "run.lock",
        "samples.jsonl",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    ]
    lm = load(out, device="cpu")
    initial = new_model(config, settings.seed, zero_init=settings.zero_init).state_dict()
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(tensor, initial[name])
    recipe = json.loads((out / "training.json").read_text())
    assert recipe["train"] == dataclasses.asdict(settings) | {"sample_prompts": []}
    assert recipe["optim"] == dataclasses.asdict(OPTIM)
    assert recipe["corpus"] == {"corpus": "test", "sha256": CORPUS.sha256}
    assert recipe["tokenizer"] == {"tokenizer": "char"}
    assert recipe["from"] is None
    assert recipe["data"]["n_train_characters"] == 3600
    assert run_folder.read_recipe(out).to_dict() == recipe
    environment = json.loads((out / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["device"] == "cpu"
    events.close()


@pytest.mark.slow
def test_transformers_opens_it_at_every_moment(config, settings, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "r"
    text = CORPUS.text[:16]
    for event in train(config, settings, CORPUS, optim_config=OPTIM, out=out, device="cpu"):
        if isinstance(event, Saved):
            theirs = AutoModelForCausalLM.from_pretrained(out).eval()
            ids = AutoTokenizer.from_pretrained(out)(text, return_tensors="pt")["input_ids"]
            ours = load(out, device="cpu").model
            with torch.no_grad():
                expected = ours(ids)
                assert torch.allclose(theirs(ids).logits, expected, atol=1e-4 * expected.std())
    assert isinstance(event, Saved)


def test_metrics_are_one_line_per_event_with_the_words_of_the_house(config, settings, tmp_path):
    events = run(config, settings, tmp_path / "r")
    lines = [
        json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    ]
    logged = [event for event in events if not isinstance(event, Sampled)]
    assert len(lines) == len(logged)
    by_kind = {line["event"]: set(line) for line in lines}
    common = {"event", "step", "tokens", "elapsed_s"}
    assert by_kind["step"] == common | {"loss", "learning_rate", "grad_norm"}
    assert by_kind["saved"] == common | {"final", "reason"}
    assert by_kind["evaluated"] == common | {
        "val_loss",
        "bits_per_byte",
        "n_tokens",
        "n_total",
        "final",
    }
    assert lines[2]["loss"] == events[2].loss
    samples = (tmp_path / "r" / "samples.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["text"] for line in samples] == [
        event.text for event in of(Sampled, events)
    ]


def test_the_card_names_corpus_sizes_and_figures(config, settings, tmp_path):
    final = of(Evaluated, run(config, settings, tmp_path / "r"))[-1]
    card = (tmp_path / "r" / "README.md").read_text()
    head, body = card.split("---\n")[1:]
    assert "library_name: transformers\npipeline_tag: text-generation\n" in head
    assert "license" not in head
    for part in (CORPUS.sha256, f"{final.val_loss:.4f}", f"{final.bits_per_byte:.4f}", "# r\n"):
        assert part in body
    assert 'AutoModelForCausalLM.from_pretrained("r")' in body
    assert 'tinygpt.load("r")' in body


def test_without_a_name_the_next_free_one_is_taken(config, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/run-001").mkdir(parents=True)
    events = train(config, settings, CORPUS, device="cpu")
    assert next(events).path == Path("runs/run-002")
    events.close()


# --- refusals


def refusals():
    train_config = TrainConfig(block_size=16, batch_size=4, max_steps=3)
    change = dataclasses.replace
    yield "no budget", {"train": change(train_config, max_steps=None)}, "minutes or max_steps"
    yield "block", {"train": change(train_config, block_size=17)}, "n_positions=16"
    yield "short", {"corpus": corpus_of("".join(sorted(set(CORPUS.text))))}, "needs 17"
    yield "vocabulary", {"vocab_size": 99}, rf"model_config, vocab_size={VOCAB_SIZE}\)"
    yield "no model", {"config": None}, "no architecture"
    yield "device", {"device": "cudda"}, "not known"
    yield "corpus", {"corpus": CorpusConfig(corpus="nowhere.txt")}, "neither a named corpus"
    yield (
        "over",
        {"train": TrainConfig(minutes=1.0, block_size=16), "started_s": -61.0},
        "were over",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [pytest.param(changes, message, id=name) for name, changes, message in refusals()],
)
def test_what_can_be_refused_is_refused_before_the_folder_appears(
    config, tmp_path, changes, message
):
    settings = TrainConfig(block_size=16, batch_size=4, max_steps=3)
    if "vocab_size" in changes:
        config = dataclasses.replace(config, vocab_size=changes["vocab_size"])
    with pytest.raises(TinyGPTError, match=message):
        train(
            changes.get("config", config),
            changes.get("train", settings),
            changes.get("corpus", CORPUS),
            out=tmp_path / "runs" / "r",
            device=changes.get("device", "cpu"),
            started_s=changes.get("started_s"),
            clock=lambda: 0.0,
        )
    assert not (tmp_path / "runs").exists()


def test_an_existing_folder_is_refused_and_untouched(config, settings, tmp_path):
    (tmp_path / "r").mkdir()
    with pytest.raises(ConfigError, match=r"exists already.*tinygpt resume"):
        run(config, settings, tmp_path / "r")
    assert list((tmp_path / "r").iterdir()) == []


def test_a_folder_that_appears_meanwhile_is_not_overwritten(config, settings, tmp_path):
    events = train(config, settings, CORPUS, out=tmp_path / "r", device="cpu")
    (tmp_path / "r").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        next(events)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["r"]


def test_a_disk_that_refuses_is_a_machine_error_and_leaves_nothing(
    config, settings, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't be made: Not a directory; choose another --out"):
        run(config, settings, tmp_path / "file" / "r")

    def full(*_, **__):
        raise MachineError("no space")

    monkeypatch.setattr(run_folder, "save", full)
    with pytest.raises(MachineError, match="no space"):
        run(config, settings, tmp_path / "r")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_loss_that_is_not_finite_stops_before_the_update(config, settings, tmp_path):
    optim = OptimConfig(learning_rate=1e30, warmup_steps=0)
    events = []
    run_of_it = train(
        config, settings, CORPUS, optim_config=optim, out=tmp_path / "r", device="cpu"
    )
    with pytest.raises(ConfigError, match=r"step \d+: .*not finite.*lower learning_rate"):
        events.extend(run_of_it)
    last = of(Saved, events)[-1]
    checkpoint, _ = load_newest(tmp_path / "r" / "checkpoints")
    assert checkpoint.step == last.step
    assert all(np.isfinite(array).all() for array in checkpoint.model.values())
    load(tmp_path / "r", device="cpu")


# --- stopping and going on


def test_a_new_model_samples_as_asked_for(config, settings, tmp_path):
    config = dataclasses.replace(config, eos_token_id=1)
    sampling = GenerationConfig(temperature=0.7, top_k=20, eos_token_id=3)
    run(config, settings, tmp_path / "r", generation_config=sampling)
    found = load(tmp_path / "r", device="cpu").generation_config
    assert found == dataclasses.replace(sampling, eos_token_id=1)  # the architecture's


@pytest.fixture
def with_dropout(config):
    return dataclasses.replace(config, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)


@pytest.fixture
def accumulating(settings):
    return dataclasses.replace(settings, gradient_accumulation_steps=2)


def go_on(folder, corpus=CORPUS, **arguments):
    return list(resume(folder, corpus=corpus, **arguments))


def test_the_same_run_twice_is_the_same_to_the_bit(with_dropout, accumulating, tmp_path):
    for name in ("a", "b"):
        torch.manual_seed(hash(name) % 1000)  # torch's own generator must not matter
        run(with_dropout, accumulating, tmp_path / name)
    assert sha256(tmp_path / "a/model.safetensors") == sha256(tmp_path / "b/model.safetensors")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    run(with_dropout, dataclasses.replace(accumulating, seed=1), tmp_path / "c")
    assert sha256(tmp_path / "a/model.safetensors") != sha256(tmp_path / "c/model.safetensors")


def test_dropout_leaves_torchs_own_generator_alone(with_dropout, settings, tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    run(with_dropout, settings, tmp_path / "r")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("at", [1, 3, 5, 8, 20, 38, 60, 62])
def test_an_interrupted_run_resumes_bit_for_bit(
    with_dropout, accumulating, tmp_path, monkeypatch, at
):
    """Interrupted at the n-th question: in an evaluation, between micro-batches, at the end."""
    monkeypatch.setattr(validate, "_MAX_LOGITS", 1)  # an evaluation asks before every window
    whole = run(with_dropout, accumulating, tmp_path / "whole")
    events = run(with_dropout, accumulating, tmp_path / "r", stop=Stop(at))
    assert events[-1].reason == "interrupted"
    assert not (tmp_path / "r" / "README.md").exists()
    load(tmp_path / "r", device="cpu")
    rest = go_on(tmp_path / "r")
    assert dataclasses.replace(rest[0], elapsed_s=0.0) == Resumed(
        step=events[-1].step,
        tokens=events[-1].tokens,
        elapsed_s=0.0,
        path=tmp_path / "r",
        warning=None,
    )
    assert rest[-1].final
    assert [step.step for step in of(Step, events + rest)] == list(range(1, 13))
    for name in ("model.safetensors", "README.md"):
        a, b = tmp_path / "whole" / name, tmp_path / "r" / name
        assert a.read_text("latin-1").replace("whole", "r") == b.read_text("latin-1")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "r")
    assert of(Evaluated, rest)[-1].val_loss == of(Evaluated, whole)[-1].val_loss


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_run_goes_on_with_the_engine_that_it_began_with(engine, config, accumulating, tmp_path):
    if engine == "native" and unavailable() is not None:
        pytest.skip(str(unavailable()))
    run(config, accumulating, tmp_path / "whole", engine=engine)
    events = run(config, accumulating, tmp_path / "r", engine=engine, stop=Stop(25))
    assert 0 < events[-1].step < 12
    recorded = json.loads((tmp_path / "r" / "environment.json").read_text())["engine"]
    assert recorded.split()[0] == engine
    shutil.copytree(tmp_path / "r", tmp_path / "other")
    rest = go_on(tmp_path / "r", engine="auto" if recorded != "native portable" else engine)
    assert rest[0].warning is None
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "r/model.safetensors")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "r")
    if unavailable() is None:
        changed = go_on(tmp_path / "other", engine="torch" if engine == "native" else "native")
        assert f"not bit-exact: engine was {recorded}, is " in changed[0].warning
        assert changed[-1].final


def test_a_run_interrupted_again_and_again_is_still_the_same(with_dropout, accumulating, tmp_path):
    run(with_dropout, accumulating, tmp_path / "whole")
    events = run(with_dropout, accumulating, tmp_path / "r", stop=Stop(3))
    for at in (1, 2, 5, 5, 1, 5, 9):
        assert not events[-1].final
        events = go_on(tmp_path / "r", stop=Stop(at))
    assert go_on(tmp_path / "r")[-1].final
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "r/model.safetensors")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "r")


def test_a_run_that_died_goes_on_from_its_last_checkpoint(with_dropout, accumulating, tmp_path):
    run(with_dropout, accumulating, tmp_path / "whole")
    events = train(
        with_dropout, accumulating, CORPUS, optim_config=OPTIM, out=tmp_path / "r", device="cpu"
    )
    for event in events:
        if isinstance(event, Step) and event.step == 8:  # after the checkpoint of step 5
            break
    events.close()
    with (tmp_path / "r" / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # a line that was being written
    rest = go_on(tmp_path / "r")
    assert rest[0].step == 5
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "r/model.safetensors")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "r")


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(config, settings, tmp_path):
    run(config, settings, tmp_path / "whole")
    run(config, settings, tmp_path / "r", stop=Stop(10))
    newest = load_newest(tmp_path / "r" / "checkpoints")[0]
    damaged = newest.path / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    rest = go_on(tmp_path / "r")
    assert rest[0].step < newest.step
    assert "optimizer.safetensors is not what was written" in rest[0].warning
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "r/model.safetensors")


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("config.json", ("resid_pdrop", 0.25), r"config\.json: resid_pdrop is 0.25, but step-0000"),
        ("config.json", ("n_embd", 64), r"n_embd is 64, but step-\d+ was made with 32"),
        ("training.json", ("train", "seed", 9), r"train\.seed is 9, but step-\d+ was made with 0"),
        ("training.json", ("optim", "beta1", 0.5), r"optim\.beta1 is 0\.5, but"),
    ],
)
def test_other_settings_than_a_checkpoint_has_are_refused_by_name(
    config, settings, tmp_path, file, change, named
):
    run(config, settings, tmp_path / "r", stop=Stop(20))
    path = tmp_path / "r" / file
    before = path.read_text()
    data = json.loads(before)
    (data if len(change) == 2 else data[change[0]])[change[-2]] = change[-1]
    path.write_text(json.dumps(data))
    kept = sorted(path.name for path in (tmp_path / "r" / "checkpoints").iterdir())
    with pytest.raises(CheckpointError, match=named):
        go_on(tmp_path / "r")
    assert sorted(path.name for path in (tmp_path / "r" / "checkpoints").iterdir()) == kept
    path.write_text(before)
    assert go_on(tmp_path / "r")[-1].final


def test_other_tokens_than_a_checkpoint_has_are_refused(config, settings, tmp_path):
    run(config, settings, tmp_path / "r", stop=Stop(20))
    checkpoint, _ = load_newest(tmp_path / "r" / "checkpoints")
    recipe = run_folder.read_recipe(tmp_path / "r")
    same, other = (CharTokenizer.from_text(CORPUS.text + more) for more in ("", "z"))
    check_settings(tmp_path, settings_of(config, recipe, same), checkpoint.state, "step-5")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: the SHA-256 of the tokens is"):
        check_settings(tmp_path, settings_of(config, recipe, other), checkpoint.state, "step-5")


def test_another_environment_is_told_before_going_on(config, settings, tmp_path):
    run(config, settings, tmp_path / "r", stop=Stop(9))
    path = tmp_path / "r" / "environment.json"
    recorded = json.loads(path.read_text())
    path.write_text(json.dumps(recorded | {"torch": "1.0", "threads": 512, "device": "cuda"}))
    events = go_on(tmp_path / "r")
    for part in ("not bit-exact", "torch was 1.0", "threads was 512", "device was cuda, is cpu"):
        assert part in events[0].warning


def test_a_finished_run_is_not_resumed(config, settings, tmp_path):
    run(config, settings, tmp_path / "r")
    with pytest.raises(ConfigError, match=r"is complete \(12 steps\).*--config"):
        go_on(tmp_path / "r")


def test_resume_wants_a_run_and_its_text(config, settings, tmp_path, model_folder):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        resume(model_folder)
    run(config, settings, tmp_path / "r", stop=Stop(9))
    with pytest.raises(DataError, match=CORPUS.sha256):
        resume(tmp_path / "r", corpus=corpus_of(CORPUS.text + "!"))
    with pytest.raises(DataError, match='"test" is neither a named corpus nor a file'):
        resume(tmp_path / "r")


def test_an_own_text_is_found_again_from_another_folder(config, settings, tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    Path("my.txt").write_text(CORPUS.text)
    run(config, settings, tmp_path / "r", CorpusConfig(corpus="my.txt"), stop=Stop(9))
    recorded = json.loads((tmp_path / "r" / "training.json").read_text())["corpus"]["corpus"]
    assert recorded == str(tmp_path / "one" / "my.txt")
    source = json.loads((tmp_path / "r" / "environment.json").read_text())["corpus_source"]
    assert source == "the file my.txt, 4,000 bytes"
    monkeypatch.chdir(tmp_path / "two")
    assert list(resume(tmp_path / "r"))[-1].final
    card = (tmp_path / "r" / "README.md").read_text()
    assert "| corpus | my.txt |" in card
    assert str(tmp_path) not in card


def test_resume_without_the_text_says_how_to_give_it(config, settings, tmp_path):
    path = tmp_path / "my.txt"
    path.write_text(CORPUS.text)
    run(config, settings, tmp_path / "r", CorpusConfig(corpus=str(path)), stop=Stop(9))
    path.write_text("another text")
    with pytest.raises(DataError, match=r"has changed since.*resume .*r --corpus FILE"):
        resume(tmp_path / "r")
    path.unlink()
    with pytest.raises(DataError, match=r"neither a named corpus.*resume .*r --corpus FILE"):
        resume(tmp_path / "r")


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_a_large_text_trains_as_one_in_memory(kind, config, settings, tmp_path, monkeypatch):
    """Folder of text, ids mapped from a file: the same weights and figures, resumed too."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.txt").write_text(CORPUS.text[i * 1000 : (i + 1) * 1000])
    sizes = {"char": VOCAB_SIZE, "byte": 256, "bpe": 270}
    arguments = {"tokenizer_config": TokenizerConfig(tokenizer=kind)}
    config = dataclasses.replace(config, vocab_size=sizes[kind])
    where = CorpusConfig(corpus=str(folder))
    run(config, settings, tmp_path / "memory", where, **arguments)
    monkeypatch.setattr(text_files, "LARGE_BYTES", 1000)
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 300)
    said = []
    run(config, settings, tmp_path / "files", where, stop=Stop(9), **arguments)
    list(resume(tmp_path / "files", progress=lambda what, share: said.append(what)))
    assert any(what.startswith("checking the ids of texts") for what in said)
    for name in ("model.safetensors", "training.json"):
        a, b = ((tmp_path / out / name).read_bytes() for out in ("memory", "files"))
        assert a == b
    finals = [
        json.loads(line)
        for out in ("memory", "files")
        for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()
        if '"final": true' in line and "val_loss" in line
    ]
    assert len(finals) == 2
    assert finals[0]["bits_per_byte"] == finals[1]["bits_per_byte"]
    assert finals[0]["val_loss"] == finals[1]["val_loss"]


def test_the_end_of_a_run_of_steps_is_measured_on_so_many_tokens_at_most(
    config, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(validate, "_FINAL_TOKENS", 100)
    final = of(Evaluated, run(config, settings, tmp_path / "r"))[-1]
    assert final.final
    assert (final.n_tokens, final.n_total) == (7 * 16, 399)  # whole windows
    lm = load(tmp_path / "r", device="cpu")
    windows = [i * 25 // 7 for i in range(7)]
    expected = val_loss(lm.model, lm.tokenizer.encode(split(CORPUS.text)[1]), 16, windows=windows)
    assert final.val_loss == pytest.approx(expected.loss, abs=1e-6)


def test_minutes_that_end_while_a_text_is_encoded(config, tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LARGE_BYTES", 1000)
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 300)
    (tmp_path / "my.txt").write_text(CORPUS.text)
    clock = iter(range(1000))
    with pytest.raises(
        ConfigError, match=r"the minutes were over .* of encoding my\.txt.*give more"
    ):
        run(
            config,
            MINUTES,
            tmp_path / "r",
            CorpusConfig(corpus=str(tmp_path / "my.txt")),
            clock=lambda: 4.0 * next(clock),
        )
    assert not (tmp_path / "r").exists()


def test_a_corpus_of_a_file_is_found_again(config, settings, tmp_path):
    path = tmp_path / "my.txt"
    path.write_text(CORPUS.text)
    run(config, settings, tmp_path / "r", CorpusConfig(corpus=str(path)), stop=Stop(9))
    assert list(resume(tmp_path / "r"))[-1].final


# --- micro-batches


def test_accumulated_gradients_are_those_of_the_whole_batch(config):
    """Same windows, whole or in parts: same loss, same gradient norm, same weights."""
    ids = CharTokenizer.from_text(CORPUS.text).encode(CORPUS.text)
    found = []
    for batch_size, n_micro in ((12, 1), (4, 3)):
        learner = Learner(new_model(config, 0), OPTIM, pick_device("cpu"))
        settings = TrainConfig(
            block_size=16, batch_size=batch_size, gradient_accumulation_steps=n_micro, max_steps=1
        )
        update = learner.update(ids, settings, 0, 0.0, lambda: False)
        found.append((update, learner.model.state_dict()))
    (whole, a), (parts, b) = found
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, abs=1e-5)
    for name, tensor in a.items():
        assert torch.allclose(tensor, b[name], atol=1e-5)


def test_clipping_bounds_the_gradient_and_zero_does_not(config, monkeypatch):
    ids = CharTokenizer.from_text(CORPUS.text).encode(CORPUS.text)
    settings = TrainConfig(block_size=16, batch_size=4, max_steps=1)
    norms = {}
    for clip in (0.01, 0.0):
        optim = dataclasses.replace(OPTIM, grad_clip=clip)
        learner = Learner(new_model(config, 0), optim, pick_device("cpu"))
        reported = learner.update(ids, settings, 0, 0.0, lambda: False).grad_norm
        gradients = [p.grad.flatten() for p in learner.model.parameters()]
        norms[clip] = (reported, torch.cat(gradients).norm().item())
    assert norms[0.01][1] == pytest.approx(0.01, rel=1e-3)
    assert norms[0.0] == pytest.approx((norms[0.01][0], norms[0.01][0]), rel=1e-5)


def test_bfloat16_is_used_for_the_products_alone(config, settings, tmp_path):
    events = run(config, settings, tmp_path / "r", dtype="bfloat16")
    exact = run(config, settings, tmp_path / "exact")
    losses = [[step.loss for step in of(Step, e)] for e in (events, exact)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    tensors = load_newest(tmp_path / "r" / "checkpoints")[0].model
    assert {str(array.dtype) for array in tensors.values()} == {"float32"}


# --- minutes


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves with the work: 1 ms a token, three times that while training."""

    class Clock:
        now_s = 0.0

        def __call__(self) -> float:
            return self.now_s

    clock, hidden, gradients = Clock(), GPT.hidden, NativeTrainer.gradients

    def slow_hidden(self, idx, *arguments):
        clock.now_s += idx.numel() * (3e-3 if self.training else 1e-3)
        return hidden(self, idx, *arguments)

    def slow_gradients(self, x, *arguments, **more):
        clock.now_s += x.numel() * 3e-3
        return gradients(self, x, *arguments, **more)

    monkeypatch.setattr(GPT, "hidden", slow_hidden)
    monkeypatch.setattr(NativeTrainer, "gradients", slow_gradients)
    return clock


MINUTES = TrainConfig(block_size=16, batch_size=4, minutes=0.3, n_evals=3, eval_tokens=64)


def test_a_run_of_minutes_ends_when_it_said(config, tmp_path, clock):
    events = run(config, MINUTES, tmp_path / "r", clock=clock)
    assert clock.now_s == pytest.approx(18.0, rel=0.05)
    steps = of(Step, events)
    assert len(steps) > 70
    final = of(Evaluated, events)[-1]
    assert final.final
    assert final.n_tokens == final.n_total
    assert final.bits_per_byte is not None
    assert [round(e.elapsed_s / 5.5) for e in of(Evaluated, events)] == [0, 1, 2, 3]
    assert steps[-1].progress == pytest.approx(1.0, abs=0.02)
    rates = [step.learning_rate for step in steps]
    assert max(rates) == pytest.approx(OPTIM.learning_rate, rel=0.1)
    assert rates[-1] < 0.03 * OPTIM.learning_rate
    halfway = steps[len(steps) // 2]
    expected = OPTIM.learning_rate * (1 - halfway.progress)
    assert halfway.learning_rate == pytest.approx(expected, rel=0.05)
    assert halfway.eta_s == pytest.approx(18.0 - halfway.elapsed_s)


def test_the_minutes_count_from_the_start_of_the_verb(config, tmp_path, clock):
    clock.now_s = 100.0
    events = run(config, MINUTES, tmp_path / "r", clock=clock, started_s=94.0)
    assert clock.now_s == pytest.approx(112.0, abs=0.9)
    assert of(Step, events)[0].elapsed_s > 6.0


def test_an_evaluation_that_does_not_fit_is_cut_short_and_says_so(
    config, tmp_path, clock, monkeypatch
):
    monkeypatch.setattr(validate, "_MAX_LOGITS", 1)  # one window at a time
    text = prose(100_000)
    events = run(config, MINUTES, tmp_path / "r", corpus_of(text), clock=clock)
    assert clock.now_s == pytest.approx(18.0, rel=0.05)
    final = of(Evaluated, events)[-1]
    assert final.final
    assert 1000 < final.n_tokens < final.n_total / 4
    assert final.bits_per_byte is None
    assert f"{final.n_tokens:,} of 9,999 held-out" in (tmp_path / "r" / "README.md").read_text()
    lm = load(tmp_path / "r", device="cpu")
    whole = val_loss(lm.model, lm.tokenizer.encode(split(text)[1]), 16).loss
    assert final.val_loss == pytest.approx(whole, abs=0.05)  # evenly spread, so not far off


def test_evaluations_on_the_way_shrink_to_a_fiftieth_of_the_minutes(config, tmp_path, clock):
    settings = dataclasses.replace(MINUTES, eval_tokens=3000)
    events = run(config, settings, tmp_path / "r", corpus_of(prose(50_000)), clock=clock)
    sizes = {e.n_tokens for e in of(Evaluated, events) if not e.final}
    assert len(sizes) == 1
    assert 80 < sizes.pop() <= 120  # three of them in 0.36 s
    assert clock.now_s == pytest.approx(18.0, rel=0.05)


def test_an_interrupted_run_of_minutes_spends_the_remainder(config, tmp_path, clock):
    events = run(config, MINUTES, tmp_path / "r", clock=clock, stop=Stop(at=50))
    assert events[-1].reason == "interrupted"
    spent_s = clock.now_s
    clock.now_s = 1000.0  # later
    rest = go_on(tmp_path / "r", clock=clock)
    assert rest[-1].final
    assert spent_s + clock.now_s - 1000.0 == pytest.approx(18.0, rel=0.05)
    steps = of(Step, events + rest)
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    rates = [step.learning_rate for step in steps[10:]]
    assert rates == sorted(rates, reverse=True)  # the schedule goes on where it was
    assert of(Step, rest)[0].elapsed_s > spent_s


def test_a_budget_that_is_nearly_spent_still_takes_one_step(config, tmp_path, clock):
    events = run(config, MINUTES, tmp_path / "r", clock=clock, started_s=-17.9)
    assert len(of(Step, events)) == 1
    assert events[-1].final


# --- fine-tuning


@pytest.fixture
def bpe_folder(tmp_path, make_hf_gpt2, tiny_config):
    """A Hugging Face folder with a byte-level BPE of 256 bytes, 3 merges and <|endoftext|>."""
    from tinygpt.tokenizers.char_byte import BYTE_LETTERS

    letters = list(BYTE_LETTERS)
    merges = [("t", "h"), ("th", "e"), ("a", "t")]
    tokens = [*letters, *(a + b for a, b in merges)]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = BPETokenizer(vocab, merges, {"<|endoftext|>": len(vocab)})
    config = dataclasses.replace(
        tiny_config, vocab_size=tokenizer.vocab_size, bos_token_id=259, eos_token_id=259
    )
    folder = tmp_path / "bpe"
    make_hf_gpt2(config).save_pretrained(folder)
    tokenizer.save(folder, config.n_positions)
    return folder


def test_fine_tunes_a_bpe_model_that_is_mapped_from_its_file(bpe_folder, settings, tmp_path):
    start = load(bpe_folder, device="cpu")
    before = sha256(bpe_folder / "model.safetensors")
    events = list(train(None, settings, CORPUS, start=start, out=tmp_path / "r", device="cpu"))
    assert sha256(bpe_folder / "model.safetensors") == before
    recipe = run_folder.read_recipe(tmp_path / "r")
    assert recipe.start == start.name
    assert recipe.tokenizer == TokenizerConfig(tokenizer="bpe")
    assert recipe.optim == OptimConfig(**FINE_TUNING)
    assert recipe.data["n_train_tokens"] < recipe.data["n_train_characters"]
    tuned = load(tmp_path / "r", device="cpu")
    assert tuned.config == start.config
    assert tuned.generation_config.eos_token_id == 259
    assert np.array_equal(tuned.tokenizer.encode("the cat"), start.tokenizer.encode("the cat"))
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(tuned.model.parameters(), start.model.parameters(), strict=True)
    ]
    assert min(moved) > 0
    assert max(moved) < 12 * 2 * FINE_TUNING["learning_rate"]
    assert "fine-tuned from" in (tmp_path / "r" / "README.md").read_text()
    assert of(Step, events)[0].train_bits_per_byte < of(Step, events)[0].loss / math.log(2)


def test_a_fine_tuned_run_resumes_bit_for_bit(bpe_folder, settings, tmp_path):
    start = load(bpe_folder, device="cpu")
    for name, stop in (("whole", Stop()), ("r", Stop(9))):
        list(
            train(None, settings, CORPUS, start=start, out=tmp_path / name, device="cpu", stop=stop)
        )
    go_on(tmp_path / "r")
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "r/model.safetensors")


def test_fine_tuning_keeps_architecture_and_characters(config, settings, model_folder, tmp_path):
    start = load(model_folder, device="cpu")
    with pytest.raises(ConfigError, match="leave model_config out"):
        train(config, settings, CORPUS, start=start, out=tmp_path / "r")
    with pytest.raises(TokenizerError, match=r"'\.'"):
        train(None, settings, CORPUS, start=start, out=tmp_path / "r")
    own = corpus_of("to be or not to be\n" * 30)
    events = list(train(start.config, settings, own, start=start, out=tmp_path / "r", device="cpu"))
    assert events[-1].final
    assert run_folder.read_recipe(tmp_path / "r").tokenizer == TokenizerConfig(tokenizer="char")


# --- the configs that come along


def test_tinygpt_toml_is_tinygpt():
    table = tomllib.loads((CONFIGS / "tinygpt.toml").read_text("utf-8"))
    config = ModelConfig(vocab_size=65, **table["model"])
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions) == (4, 4, 128, 128)
    assert TrainConfig(**table["train"]) == TrainConfig(minutes=1.0)
    assert OptimConfig(**table["optim"]) == OptimConfig()
    assert CorpusConfig(**table["corpus"]) == CorpusConfig()
    assert TokenizerConfig(**table["tokenizer"]) == TokenizerConfig()


def test_metrics_that_cant_be_written_are_a_machine_error(tmp_path, monkeypatch):
    metrics_file = run_log.Lines(tmp_path / "metrics.jsonl", 0)

    def refuse(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(run_log.os, "fsync", refuse)
    with pytest.raises(MachineError, match=r"metrics\.jsonl can't be written: Input/output"):
        metrics_file.sync()
    metrics_file.close()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "metrics.jsonl").symlink_to(tmp_path / "nowhere" / "x")
    with pytest.raises(MachineError, match=r"metrics\.jsonl can't be written"):
        run_log.Lines(tmp_path / "r" / "metrics.jsonl", 0)


@pytest.mark.parametrize(("late_s", "found"), [(0.0, True), (1.0, False)])
def test_bits_per_byte_are_left_out_when_they_come_too_late(
    config, tmp_path, clock, monkeypatch, late_s, found
):
    """They may overrun the 18 s by the grace of 2%, not by a second."""

    def delayed(*arguments, **settings):
        clock.now_s += late_s
        return evaluate(*arguments, **settings)

    monkeypatch.setattr(validate, "evaluate", delayed)
    events = run(config, MINUTES, tmp_path / "r", clock=clock)
    assert (of(Evaluated, events)[-1].bits_per_byte is not None) == found
    assert clock.now_s < 18.0 * 1.02 + late_s + 0.1


def test_the_final_bits_per_byte_are_of_the_first_32_kib(config, tmp_path):
    text = prose(400_000)
    settings = TrainConfig(block_size=16, batch_size=2, max_steps=1, n_evals=0)
    events = run(config, settings, tmp_path / "r", corpus_of(text))
    train_text, held_out_text = split(text)
    assert len(held_out_text) > 32_768
    lm = load(tmp_path / "r", device="cpu")
    found = evaluate(lm.model, lm.tokenizer, held_out_text[:32_768], prefix=train_text[-500:])
    assert of(Evaluated, events)[-1].bits_per_byte == pytest.approx(found.bits_per_byte, abs=1e-6)
