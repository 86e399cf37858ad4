"""`tinygpt doctor` from a file in any language to a folder that trains."""

import io
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygpt.cli.main import main
from tinygpt.config.model_config import ModelConfig

MIXED = {
    "vocab_size": 65,
    "block_size": 128,
    "n_layer": 4,
    "n_head": 4,
    "d_model": 128,
    "dropout": 0.1,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "max_iters": 2000,
}

# One small architecture, written down as different people write it.
SOURCES = {
    "mixed.json": json.dumps(MIXED | {"block_size": 16, "n_layer": 2, "n_head": 2, "d_model": 24}),
    "nested.json": json.dumps(
        {
            "model": {"vocab_size": 9, "n_embd": 24, "n_layer": 2, "n_head": 2, "dropout": 0.1},
            "train": {"block_size": 16, "lr": 1e-3, "max_steps": 50, "warmup_steps": 5},
        }
    ),
    "config.json": json.dumps(
        {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": 24,
            "n_layer": 2,
            "n_head": 2,
            "n_positions": 16,
            "n_ctx": 16,
            "vocab_size": 50257,
            "bos_token_id": 50256,
            "eos_token_id": 50256,
        }
    ),
    "settings.py": (
        "# mine\n"
        "out_dir = 'out-mine'\n"
        "dataset = 'shakespeare_char'\n"
        "gradient_accumulation_steps = 1 * 2\n"
        "batch_size = 4\n"
        "block_size = 16 # context\n"
        "n_layer = 2\n"
        "n_head = 2\n"
        "n_embd = 12 * n_layer\n"
        "dropout = 0.1\n"
        "learning_rate = 5e-4 # higher\n"
        "max_iters = 2*60\n"
        "lr_decay_iters = max_iters\n"
        "compile = False\n"
        "device = 'cuda' if gpu() else 'cpu'\n"
        "exec(open('configurator.py').read())\n"
    ),
    "classes.py": (
        "@dataclass\n"
        "class GPTConfig:\n"
        "    block_size: int = 16\n"
        "    vocab_size: int = 50304\n"
        "    n_layer: int = 12\n"
        "    n_head: int = 2\n"
        "    n_embd: int = 24\n"
        "    dropout: float = 0.1\n"
        "model = GPT(GPTConfig(n_layer=2, vocab_size=65))\n"
    ),
    "lit.yaml": (
        "model_config:\n  block_size: 16\n  vocab_size: 65\n  n_layer: 2\n  n_head: 2\n"
        "  n_embd: 24\ntrain:\n  micro_batch_size: 4\n  max_steps: 60\n  lr_warmup_steps: 5\n"
        "eval:\n  max_iters: 7\noptimizer:\n  init_args:\n    lr: 4e-4\n    betas: [0.9, 0.95]\n"
    ),
    "run.toml": (
        "[model]\nn_positions = 16\nn_embd = 24\nn_layer = 2\nn_head = 2\n"
        "[tokenizer]\ntokenizer = 'char'\n[train]\nblock_size = 16\nmax_steps = 9\n"
    ),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("To be, or not to be: that is the question.\n" * 40, "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_written_trains_as_printed(
    name: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / name).write_text(SOURCES[name], "utf-8")
    assert main(["doctor", name, "--write", "split"]) == 0
    (line,) = [ln for ln in capsys.readouterr().err.splitlines() if ln.startswith("next: ")]
    call = shlex.split(line.removeprefix("next: tinygpt "))
    assert call[:2] == ["train", "--config"]
    if call[-2:] == ["--corpus", "FILE"]:
        call = call[:-2]
    if name == "config.json":  # GPT-2's vocabulary would be fetched
        call += ["--tokenizer", "char"]
    smoke = "--corpus my.txt --max-steps 3 --n-evals 0 --batch-size 2 --out run --quiet"
    call += smoke.split()
    if name in ("mixed.json", "nested.json", "classes.py", "lit.yaml"):  # sized for another text
        assert main(call) == 2
        said = capsys.readouterr().err
        assert 'was given, but tokenizer "char" makes it 18 on my.txt' in said
        call += [*said.split()[-2:]]
        assert call[-2:] == ["--vocab-size", "18"]
    assert main(call) == 0, capsys.readouterr().err
    config = ModelConfig.from_dict(json.loads((desk / "run" / "config.json").read_text("utf-8")))
    sizes = (config.n_positions, config.n_embd, config.n_layer, config.n_head, config.attn_pdrop)
    assert sizes == (16, 24, 2, 2, 0.1)
    assert (desk / "run" / "model.safetensors").exists()
    training = json.loads((desk / "run" / "training.json").read_text("utf-8"))
    assert training["train"]["block_size"] == 16
    rates = {"settings.py": 5e-4, "lit.yaml": 4e-4, "nested.json": 1e-3, "mixed.json": 3e-4}
    if name in rates:
        assert training["optim"]["learning_rate"] == rates[name]


def test_training_arguments_become_a_run_file(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "output_dir": "out",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 5e-5,
        "max_steps": -1,
        "num_train_epochs": 3.0,
        "warmup_steps": 10,
        "lr_scheduler_type": "linear",
        "bf16": True,
        "report_to": ["none"],
    }
    (desk / "args.json").write_text(json.dumps(arguments), "utf-8")
    assert main(["doctor", "args.json", "--write", "split"]) == 0
    assert "next: tinygpt train --config split --corpus" not in capsys.readouterr().err
    smoke = "--corpus my.txt --max-steps 2 --n-evals 0 --n-layer 1 --out run --quiet"
    assert main(["train", "--config", "split", *smoke.split()]) == 0
    training = json.loads((desk / "run" / "training.json").read_text("utf-8"))
    assert training["train"]["gradient_accumulation_steps"] == 2
    assert training["optim"]["learning_rate"] == 5e-5


def test_the_sampling_of_a_split_comes_into_the_run(desk: Path) -> None:
    sampled = {"temperature": 0.7, "top_k": 20, "vocab_size": 18, "n_layer": 1, "n_head": 2}
    sampled |= {"n_embd": 8, "block_size": 16, "max_steps": 1}
    for name, config in (
        ("whole", sampled),
        ("lacking", {key: value for key, value in sampled.items() if key != "vocab_size"}),
    ):
        (desk / f"{name}.json").write_text(json.dumps(config), "utf-8")
        assert main(["doctor", f"{name}.json", "--write", name, "-q"]) == 0
        run = ["--corpus", "my.txt", "--n-evals", "0", "--out", f"runs/{name}", "-q"]
        assert main(["train", "--config", name, *run]) == 0
        found = json.loads((desk / "runs" / name / "generation_config.json").read_text("utf-8"))
        assert (found["temperature"], found["top_k"]) == (0.7, 20)


def test_nanogpts_settings_need_no_corpus_of_yours(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "nano.py").write_text(SOURCES["settings.py"], "utf-8")
    assert main(["doctor", "nano.py", "--write", "nsplit"]) == 0
    streams = capsys.readouterr()
    assert "next: tinygpt train --config nsplit\n" in streams.err
    assert 'corpus "tinyshakespeare" with tokenizer "char"' in " ".join(streams.out.split())
    assert 'corpus = "tinyshakespeare"' in (desk / "nsplit" / "run.toml").read_text("utf-8")


def test_no_split_is_suggested_inside_a_run(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "runs" / "char").mkdir(parents=True)
    (desk / "runs" / "char" / "training.json").write_text(json.dumps(MIXED), "utf-8")
    assert main(["doctor", "runs/char/training.json"]) == 0
    assert "runs/char/training.json --write char-split\n" in capsys.readouterr().err
    monkeypatch.chdir(desk / "runs" / "char")
    assert main(["doctor", "training.json"]) == 0
    assert "doctor training.json --write ../char-split\n" in capsys.readouterr().err


def test_labels_and_json(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "c.py").write_text("d_model = 8\nlr = rate()\n", "utf-8")
    assert main(["doctor", "c.py", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "file",
        "language",
        "keys",
        "contradictions",
        "notes",
        "split",
        "written",
    ]
    assert (found["file"], found["language"], found["written"]) == ("c.py", "Python", [])
    assert [key["value"] for key in found["keys"]] == [8, "computed: rate()"]


def test_stdin_is_read(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippet = f"I use this:\n```json\n{json.dumps(MIXED)}\n```\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(snippet.encode())))
    assert main(["doctor", "-"]) == 0
    streams = capsys.readouterr()
    assert streams.out.startswith("stdin (JSON)\n")
    assert "next: tinygpt doctor - --write split" in streams.err


@pytest.mark.parametrize("columns", ["80", "100", "160"])
def test_every_key_is_shown_at_any_width(
    columns: str,
    desk: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    mixed = MIXED | {"evil\x1b[31m\n": "\x1b[31m" + "long" * 50}
    (desk / "mixed.json").write_text(json.dumps(mixed), "utf-8")
    assert main(["doctor", "mixed.json"]) == 0
    streams = capsys.readouterr()
    for key in MIXED:
        assert key in streams.out
    assert "per_device_train_batch_size" in streams.out  # never folded
    assert "config.json: vocab_size, n_positions" in streams.out
    assert "in no file: evil\\x1b[31m⏎" in streams.out
    assert "\x1b" not in streams.out
    assert max(map(len, streams.out.splitlines())) <= int(columns)
    assert ("━" in streams.out) is (columns == "160")
    assert "next: tinygpt doctor mixed.json --write mixed\n" in streams.err


def test_contradictions_are_reported_and_not_written(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "bad.json").write_text(json.dumps(MIXED | {"n_head": 3}), "utf-8")
    assert main(["doctor", "bad.json"]) == 0
    streams = capsys.readouterr()
    assert "n_embd=128 is not divisible by n_head=3" in streams.out
    assert "config.json: can't be made" in streams.out
    assert streams.err == ""  # nothing to write, so nothing to suggest
    assert main(["doctor", "bad.json", "--write", "split"]) == 2
    assert "is not split: n_embd=128 is not divisible" in capsys.readouterr().err
    assert not (desk / "split").exists()


def test_an_existing_folder_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "mixed.json").write_text(json.dumps(MIXED), "utf-8")
    (desk / "mixed").mkdir()
    assert main(["doctor", "mixed.json"]) == 0  # and the name it suggests is a free one
    assert "next: tinygpt doctor mixed.json --write mixed-split" in capsys.readouterr().err
    assert main(["doctor", "mixed.json", "--write", "mixed"]) == 2
    assert "error: mixed exists already; give a new folder" in capsys.readouterr().err
    assert list((desk / "mixed").iterdir()) == []


def test_what_is_no_config_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "a.json").write_text("{,}", "utf-8")
    assert main(["doctor", "a.json"]) == 2
    assert "a.json: line 1, column 2" in capsys.readouterr().err


def test_help_lists_the_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("JSON", "config.json", "TrainingArguments", "Python", "nanoGPT", "TOML", "YAML"):
        assert word in text
