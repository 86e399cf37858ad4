"""Run files: TOML and earlier runs, strict keys, and what overrides what."""

import dataclasses
import json
from pathlib import Path

import pytest

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS
from tinygpt.config.schema import to_dict
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.runs.run_file import RunFile, overlaid, read_run_file

TOML = """
[model]
n_layer = 2
n_embd = 64
[tokenizer]
tokenizer = "char"
[corpus]
corpus = "python-docs"
[train]
max_steps = 10
[optim]
learning_rate = 1e-3
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def make_run(folder: Path, start: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(PRESETS["tinygpt"].to_dict()), "utf-8")
    training = {
        "train": to_dict(TrainConfig(max_steps=7)),
        "optim": to_dict(OptimConfig(beta1=0.8)),
        "corpus": to_dict(CorpusConfig(corpus="python-docs", sha256="a" * 64)),
        "tokenizer": to_dict(TokenizerConfig()),
        "from": start,
        "data": {"n_train_characters": 9},
        "tinygpt_version": "0",
    }
    (folder / "training.json").write_text(json.dumps(training), "utf-8")
    return folder


def test_a_toml_file_holds_only_what_it_says(tmp_path: Path) -> None:
    assert read_run_file(write(tmp_path / "a.toml", TOML)) == RunFile(
        model={"n_layer": 2, "n_embd": 64},
        tokenizer={"tokenizer": "char"},
        corpus={"corpus": "python-docs"},
        train={"max_steps": 10},
        optim={"learning_rate": 1e-3},
    )
    assert read_run_file(write(tmp_path / "b.toml", "")) == RunFile()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[modle]\nn_layer = 2", r'unknown table "modle"; did you mean "model"\?'),
        ("n_layer = 2", r'unknown key outside a table "n_layer"; it belongs in \[model\]'),
        ("[train]\nbatchsize = 2", r'\[train\] of .*"batchsize"; did you mean "batch_size"\?'),
        ("[train]\nlearning_rate = 2", r'"learning_rate"; it belongs in \[optim\]'),
        ("[train]\nbatch_size = 0", r"\[train\] of .*batch_size=0 is not allowed"),
        ("[model]\nn_head = 3", r"n_embd=128 is not divisible by n_head=3"),
        ("train = 3", r"train must be a table: write \[train\]"),
        ("[train\n", r"not readable as TOML: .*line 1"),
    ],
)
def test_what_a_file_can_get_wrong_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_run_file(write(tmp_path / "a.toml", toml))


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        read_run_file(str(tmp_path / "latin.toml"))
    with pytest.raises(ConfigError, match=r"none\.toml\" does not exist; give a TOML file"):
        read_run_file(str(tmp_path / "none.toml"))


def test_a_run_says_how_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    found = read_run_file("mine")  # as MODEL: a name in runs/
    assert found == read_run_file("runs/mine")
    assert found.train == dataclasses.asdict(TrainConfig(max_steps=7))
    assert found.optim["beta1"] == 0.8
    assert found.corpus == {"corpus": "python-docs", "sha256": "a" * 64}
    assert found.model["n_embd"] == 128
    assert "vocab_size" not in found.model  # follows from the tokenizer
    assert found.start is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"not a run folder"):
        read_run_file("empty")
    with pytest.raises(ConfigError, match=r'"mime" does not exist; did you mean "runs/mine"\?'):
        read_run_file("mime")


def test_a_run_and_a_split_say_how_text_is_sampled(tmp_path: Path) -> None:
    sampling = GenerationConfig(temperature=0.7, top_k=20)
    run = make_run(tmp_path / "a")
    assert read_run_file(str(run)).generation_config is None
    (run / "generation_config.json").write_text(json.dumps(sampling.to_dict()), "utf-8")
    found = read_run_file(str(run))
    assert found.generation_config == sampling
    assert overlaid(found, RunFile(train={"seed": 3})).generation_config == sampling
    (run / "generation_config.json").write_text('{"top_k": "x"}', "utf-8")
    with pytest.raises(ConfigError, match="top_k='x' is not allowed"):
        read_run_file(str(run))


def test_a_split_without_a_vocab_size_is_its_run_toml_and_the_sampling(tmp_path: Path) -> None:
    toml = write(tmp_path / "run.toml", TOML)
    sampling = GenerationConfig(top_k=20)
    write(tmp_path / "generation_config.json", json.dumps(sampling.to_dict()))
    found = read_run_file(str(tmp_path))
    assert (found.model, found.generation_config) == ({"n_layer": 2, "n_embd": 64}, sampling)
    assert read_run_file(toml) == found
    assert read_run_file(write(tmp_path / "other.toml", TOML)).generation_config is None


def test_what_was_never_trained_keeps_its_vocab_size(tmp_path: Path) -> None:
    split = make_run(tmp_path / "a")
    training = json.loads((split / "training.json").read_text("utf-8"))
    del training["data"], training["from"], training["tinygpt_version"]
    (split / "training.json").write_text(json.dumps(training), "utf-8")
    found = read_run_file(str(split))
    assert found.model["vocab_size"] == 65
    assert "eos_token_id" not in found.model  # null says nothing


def test_flags_go_before_the_file() -> None:
    file = RunFile(train={"batch_size": 2, "seed": 1}, model={"n_layer": 2})
    flags = RunFile(train={"batch_size": 3}, optim={"beta1": 0.5})
    assert overlaid(file, flags) == RunFile(
        train={"batch_size": 3, "seed": 1}, model={"n_layer": 2}, optim={"beta1": 0.5}
    )


def test_a_budget_replaces_the_other_kind_of_budget() -> None:
    file = RunFile(train={"max_steps": 5, "minutes": None})
    assert overlaid(file, RunFile(train={"minutes": 2.0})).train == {"minutes": 2.0}
    file = RunFile(train={"max_steps": None, "minutes": 1.0})
    assert overlaid(file, RunFile(train={"max_steps": 2})).train == {"max_steps": 2}
    both = overlaid(RunFile(), RunFile(train={"max_steps": 2, "minutes": 2.0})).train
    with pytest.raises(ConfigError, match="one budget, not two"):
        TrainConfig(**both)


def test_another_corpus_drops_the_hash_of_the_old_one() -> None:
    file = RunFile(corpus={"corpus": "a.txt", "sha256": "a" * 64})
    assert overlaid(file, RunFile(corpus={"corpus": "b.txt"})).corpus == {"corpus": "b.txt"}
    assert overlaid(file, RunFile()).corpus == file.corpus


def test_a_run_with_a_trained_bpe_keeps_its_vocab_size(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    training = json.loads((run / "training.json").read_text("utf-8"))
    training["tokenizer"] = {"tokenizer": "bpe"}
    (run / "training.json").write_text(json.dumps(training), "utf-8")
    assert read_run_file(str(run)).model["vocab_size"] == 65


def test_another_tokenizer_drops_what_followed_from_the_old_one() -> None:
    file = RunFile(model={"vocab_size": 500, "n_layer": 2}, tokenizer={"tokenizer": "bpe"})
    same = overlaid(file, RunFile(tokenizer={"tokenizer": "bpe"}, model={"n_layer": 3}))
    assert same.model == {"vocab_size": 500, "n_layer": 3}
    assert overlaid(file, RunFile(tokenizer={"tokenizer": "char"})).model == {"n_layer": 2}
    more = RunFile(tokenizer={"tokenizer": "byte"}, model={"vocab_size": 256})
    assert overlaid(file, more).model == {"vocab_size": 256, "n_layer": 2}


def test_fine_tuning_keeps_the_architecture(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fine-tuning distilgpt2 keeps .*n_layer"):
        overlaid(RunFile(), RunFile(start="distilgpt2", model={"n_layer": 2}))
    file = RunFile(model={"n_embd": 64}, tokenizer={"tokenizer": "gpt2"})
    with pytest.raises(ConfigError, match="leave out n_embd, tokenizer"):
        overlaid(file, RunFile(start="distilgpt2"))
    tuned = read_run_file(str(make_run(tmp_path / "tuned", start="runs/a")))
    assert tuned.start == "runs/a"
    assert overlaid(tuned, RunFile()) == tuned  # repeating a fine-tuned run
    with pytest.raises(ConfigError, match="fine-tuning runs/a keeps"):
        overlaid(tuned, RunFile(tokenizer={"tokenizer": "gpt2"}))
