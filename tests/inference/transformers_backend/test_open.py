"""A model of another family beside TinyGPT: the same figures as transformers used directly."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.comparison.test_comparison_json import check
from tests.inference.transformers_backend.foreign import TEXT, write_foreign

import tinygpt
from tinygpt.cli.main import main
from tinygpt.comparison.compare import compare
from tinygpt.comparison.lens import look
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.evaluation.eval_texts import Text
from tinygpt.inference.load import load, untrained
from tinygpt.inference.transformers_backend.open import external_config
from tinygpt.model.external_config import ExternalConfig
from tinygpt.report import comparison_page, to_markdown, to_terminal
from tinygpt.tokenizers.char_byte import CharTokenizer

FAMILIES = ("llama", "gpt_neox", "qwen2")
LINES = TEXT.splitlines(keepends=True)
PREFIX, SCORED = "".join(LINES[:2]), "".join(LINES[2:12])


@pytest.fixture(params=FAMILIES)
def folder(request, foreign_folder: Callable[[str], Path]) -> Path:
    return foreign_folder(request.param)


def brute_force(folder: Path, context: int, stride: int) -> float:
    """Total nats of SCORED behind PREFIX, by transformers alone: windows, each id scored once."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    reader = AutoTokenizer.from_pretrained(folder)
    start = [reader.bos_token_id] if reader.bos_token_id is not None else []
    # A line of its own keeps the space that SentencePiece puts first out of the way.
    newline = reader("\n", add_special_tokens=False)["input_ids"]
    whole = reader("\n" + PREFIX + SCORED, add_special_tokens=False)["input_ids"][len(newline) :]
    before = reader("\n" + PREFIX, add_special_tokens=False)["input_ids"][len(newline) :]
    assert whole[: len(before)] == before  # a token begins at the border
    first = min(len(before), max(1, context - 1))
    whole = whole[len(before) - first :]
    nats, end = 0.0, max(first, context)
    while first < len(whole):
        end = min(end, len(whole) - 1)
        row = start + whole[max(0, end - context) : end]
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0].double()
        targets = torch.tensor(whole[first : end + 1])
        found = logits.log_softmax(-1)[-len(targets) :].gather(1, targets[:, None])
        nats -= float(found.sum())
        first, end = end + 1, end + stride
    return nats


@pytest.mark.parametrize(("context", "stride"), [(47, 23), (47, 47), (10, 3), (1, 1)])
def test_bits_per_byte_are_those_of_transformers(folder: Path, context: int, stride: int) -> None:
    found = load(folder).evaluate(SCORED, prefix=PREFIX, context=context, stride=stride)
    expected = brute_force(folder, context, stride)
    assert found.total_nats == pytest.approx(expected, rel=1e-6)
    n_bytes = len(SCORED.encode())
    assert found.bits_per_byte == pytest.approx(expected / math.log(2) / n_bytes, rel=1e-6)
    assert found.engine == "transformers float32"


def test_the_lens_sums_to_evaluate(folder: Path) -> None:
    lm = load(folder)
    text = Text(name="t", text=SCORED, prefix=PREFIX, source="here")
    (view,) = look([lm], text).views
    total = lm.evaluate(SCORED, prefix=PREFIX).total_nats / math.log(2)
    assert view.bits == pytest.approx(total, abs=1e-6)
    assert "".join(token.token for token in view.tokens) == SCORED


def test_greedy_text_is_that_of_transformers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    lm = load(folder)
    start = [] if lm.engine.start_id is None else [lm.engine.start_id]
    ids = torch.tensor([start + lm.tokenizer.encode(LINES[0]).tolist()])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12
        )
    new = out[0, ids.shape[1] :].tolist()
    end = new.index(lm.config.eos_token_id) if lm.config.eos_token_id in new else len(new)
    text = lm.generate(LINES[0], temperature=0, max_new_tokens=12)
    assert text == lm.tokenizer.decode(new[:end])


def test_what_it_is(foreign_folder: Callable[[str], Path]) -> None:
    lm = tinygpt.load(foreign_folder("llama"))
    config = lm.config
    assert isinstance(config, ExternalConfig)
    assert (config.model_type, config.n_layer, config.n_head, config.n_embd) == ("llama", 2, 4, 32)
    assert (config.head_dim, config.n_positions, config.start_token) == (8, 47, "<s>")
    assert (config.bos_token_id, config.eos_token_id) == (1, 2)
    assert config.to_dict()["num_key_value_heads"] == 2
    assert config == external_config(foreign_folder("llama"))
    held = sum(p.numel() for p in lm.engine.module.parameters())
    assert config.account.n_params == held
    assert "<s> stands before every window, unscored, and takes one of 48 positions" in lm.notes[0]
    assert "llama" in str(lm.engine)
    assert "2 layers x 4 heads x 32 wide" in repr(lm)
    assert f"{held:,}" in lm._repr_html_()


def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, foreign_folder: Callable[[str], Path]
) -> None:
    from safetensors.numpy import load_file, save_file

    bad = copytree(foreign_folder("llama"), tmp_path / "bad")
    tensors = load_file(bad / "model.safetensors")
    less = {name: value for name, value in tensors.items() if "up_proj" not in name}
    save_file(less, bad / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"its weights lack model\.layers\.0\.mlp\.up_proj"):
        load(bad)
    more = tensors | {"stray": np.zeros(3, np.float32)}
    save_file(more, bad / "model.safetensors", metadata={"format": "pt"})
    assert any("1 tensors are no part of the model: stray" in note for note in load(bad).notes)
    (bad / "model.safetensors").write_bytes(b"no weights" * 10_000)
    with pytest.raises(CheckpointError, match="bad: transformers can't open it"):
        load(bad)
    (bad / "model.safetensors").rename(bad / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors.*--allow-pickle"):
        load(bad)


@pytest.mark.parametrize("family", ["gpt_neo", "gpt_neox", "opt", "llama"])
def test_a_gpt2_under_another_name_is_refused_before_memory_is_filled(
    family: str, model_folder: Path
) -> None:
    (model_folder / "config.json").write_text(json.dumps({"model_type": family}), "utf-8")
    with pytest.raises(CheckpointError, match=f"makes a {family} of [0-9,]+ parameters, its files"):
        load(model_folder)


def test_a_model_that_reads_ahead_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "bert", "bert")
    with pytest.raises(ConfigError, match="sees the tokens that it is to predict"):
        load(tmp_path / "bert")


def test_what_transformers_does_not_know_is_one_line(
    tmp_path: Path, foreign_folder: Callable[[str], Path]
) -> None:
    bad = copytree(foreign_folder("llama"), tmp_path / "bad")
    data = json.loads((bad / "config.json").read_text("utf-8"))
    (bad / "config.json").write_text(json.dumps(data | {"model_type": "nothing"}), "utf-8")
    with pytest.raises(CheckpointError, match="transformers can't open it") as caught:
        load(bad)
    assert "\n" not in str(caught.value)
    (bad / "config.json").write_text(json.dumps(data | {"num_hidden_layers": 10**6}), "utf-8")
    with pytest.raises(ConfigError, match="1,000,000 layers; tinygpt opens 1 to 1,000"):
        load(bad)


def test_without_the_extra_one_line_names_the_command(
    foreign_folder: Callable[[str], Path], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = foreign_folder("llama")
    monkeypatch.setitem(sys.modules, "transformers", None)
    for opened in (load, external_config):
        with pytest.raises(ConfigError, match=r'pip install "tinygpt\[transformers\]"') as caught:
            opened(folder)
        assert "\n" not in str(caught.value)
    assert load(model_folder).generate("a", max_new_tokens=1)  # a GPT-2 goes on without it


def test_too_old_a_version_is_refused(
    foreign_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.__version__", "5.2.0")
    with pytest.raises(ConfigError, match=r"5\.2\.0 is installed and 5\.3 needed: pip install"):
        load(foreign_folder("llama"))


def test_an_engine_for_gpt2_is_refused(foreign_folder: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match='"llama" is computed by transformers; leave out'):
        load(foreign_folder("llama"), engine="native")


def test_nothing_is_said_on_the_way(
    foreign_folder: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    load(foreign_folder("llama"))
    assert capfd.readouterr() == ("", "")


def test_a_gpt2_needs_no_transformers(model_folder: Path) -> None:
    code = (
        f"import sys, tinygpt; tinygpt.load({str(model_folder)!r}).generate('a', max_new_tokens=1);"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_column_of_a_comparison(
    foreign_folder: Callable[[str], Path],
) -> None:
    own = tinygpt.ModelConfig(
        vocab_size=len(set(TEXT)), n_positions=32, n_embd=16, n_layer=1, n_head=2
    )
    tiny = replace(untrained("tiny", own, CharTokenizer.from_text(TEXT), ""), missing_weights=None)
    llama = load(foreign_folder("llama"))
    compared = compare([tiny, llama], [Text(name="t", text=SCORED, prefix=PREFIX, source="here")])
    data = json.loads(compared.to_json())
    check(data, "Comparison", "comparison")
    first, second = data["models"]
    assert first["model_type"] == "gpt2"
    assert not first["costs_counted"]
    assert second["model_type"] == "llama"
    assert second["costs_counted"]
    assert second["config"]["num_key_value_heads"] == 2
    assert second["n_params"] == sum(p.numel() for p in llama.engine.module.parameters())
    assert second["flops_per_byte"] == second["flops_per_token"] / second["bytes_per_token"]
    assert second["speed"]["engine"] == "transformers"
    quality = second["quality"][0]
    alone = llama.evaluate(SCORED, prefix=PREFIX)
    assert quality["evaluation"]["bits_per_byte"] == pytest.approx(alone.bits_per_byte)
    assert quality["matched"]["context"] < 47
    assert {text["n_bytes"] for text in data["texts"]} == {len(SCORED.encode())}
    assert all(sample["text"] for sample in second["samples"])
    assert second["loss_by_context"]
    (difference,) = data["texts"][0]["differences"] or [None]
    assert difference is None or {difference["first"], difference["second"]} == {
        "tiny",
        llama.name,
    }
    console = Console(width=200, record=True, file=StringIO())
    console.print(to_terminal(compared))
    for drawn in (console.export_text(), to_markdown(compared), comparison_page(compared)):
        for words in ("LlamaDecoderLayer", "computed by transformers", "stands before every"):
            assert words in drawn


def test_costs_that_are_not_known_are_dashes(foreign_folder: Callable[[str], Path]) -> None:
    mixture = load(foreign_folder("mixtral"))
    assert mixture.config.account.flops_per_token is None
    compared = compare([mixture], [Text(name="t", text=SCORED, prefix=PREFIX, source="here")])
    check(json.loads(compared.to_json()), "Comparison", "comparison")
    page = to_markdown(compared)
    assert "| FLOPs per token | - |" in page
    assert "what it can't see is -" in page
    assert "<svg" in comparison_page(compared)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_inspect_and_bench(
    family: str, foreign_folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(foreign_folder(family))
    assert main(["inspect", folder, "--json", "--quiet"]) == 0
    account = json.loads(capsys.readouterr().out)["account"]
    assert account["n_params"] == sum(account["n_params_by_component"].values())
    assert main(["inspect", folder, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert ("not known" in out) == (family == "mixtral")
    assert "training step" not in out
    assert main(["inspect", folder, "--batch-size", "3"]) == 2
    assert "--batch-size is about training" in capsys.readouterr().err
    if family == "llama":
        assert main(["bench", folder, "--json", "--quiet", "--threads", "1"]) == 0
        assert json.loads(capsys.readouterr().out)["speed"]["engine"] == "transformers"


def test_training_from_it_is_refused(
    foreign_folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(foreign_folder("llama")), tmp_path / "out"
    given = ["train", "--from", folder, "--corpus", "python-docs", "--max-steps", "2"]
    assert main([*given, "--out", str(out), "--quiet"]) == 2
    assert "model_type llama can be compared, scored" in capsys.readouterr().err
    assert not out.exists()
