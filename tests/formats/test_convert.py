"""`tinygpt convert`: from any model to a new folder or a GGUF file, whole or not at all.

The logits of what it writes are measured in formats/test_variants.py.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from benchmarks.foreign import CHARACTERS, H, meta_file, mingpt_file, nanogpt_file

import tinygpt
from tinygpt.cli.main import main
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.formats.convert import convert

N = len(CHARACTERS)
FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def ckpt(tmp_path) -> Path:
    nanogpt_file(tmp_path / "out" / "ckpt.pt", N)
    meta_file(tmp_path / "out" / "meta.pkl", CHARACTERS)
    return tmp_path / "out" / "ckpt.pt"


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_nanogpt_becomes_a_model_folder(ckpt, as_folder, tmp_path) -> None:
    source = ckpt.parent if as_folder else ckpt
    done = convert(str(source), tmp_path / "new", allow_pickle=True)
    assert done.kind == "nanoGPT"
    assert {path.name for path in done.files} == FILES
    lm = tinygpt.load(tmp_path / "new")
    assert lm.config == done.config
    assert lm.notes == ()
    assert set(lm.generate("a", max_new_tokens=20, seed=1)) <= set(CHARACTERS)


def test_autotokenizer_and_automodel_open_it(ckpt, tmp_path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    convert(str(ckpt), tmp_path / "new", allow_pickle=True)
    text = CHARACTERS[::-1]
    ids = AutoTokenizer.from_pretrained(tmp_path / "new")(text)["input_ids"]
    lm = tinygpt.load(tmp_path / "new")
    assert lm.tokenizer.encode(text).tolist() == ids
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    start = torch.tensor([ids[:4]])
    greedy = theirs.generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=10, do_sample=False
    )
    ours = lm.generate(text[:4], max_new_tokens=10, temperature=0.0)
    assert ours == lm.tokenizer.decode(greedy[0, 4:].tolist())


def test_a_model_folder_is_copied_without_the_run(model_folder, tmp_path) -> None:
    (model_folder / "config.json").write_text(
        json.dumps(json.loads((model_folder / "config.json").read_text()) | {"stray": 1})
    )
    done = convert(str(model_folder), tmp_path / "new")
    assert done.kind == "model folder"
    assert any("'stray'" in note for note in done.notes)
    assert {path.name for path in done.files} == FILES
    old, new = tinygpt.load(model_folder), tinygpt.load(tmp_path / "new")
    assert (old.config, old.generation_config) == (new.config, new.generation_config)
    ids = torch.arange(16)[None]
    assert torch.equal(old.model(ids), new.model(ids))


def test_what_exists_is_never_overwritten(ckpt, tmp_path) -> None:
    (tmp_path / "new").mkdir()
    for name in ("new", "out"):
        with pytest.raises(ConfigError, match="exists already and is never overwritten"):
            convert(str(ckpt), tmp_path / name, allow_pickle=True)


def test_a_failure_leaves_nothing(ckpt, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinygpt.formats.convert.write_safetensors", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MachineError, match="new can't be made: No space left"):
        convert(str(ckpt), tmp_path / "new", allow_pickle=True)
    assert sorted(tmp_path.iterdir()) == before


def test_options_of_checkpoints_are_refused_for_models(model_folder, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--n-head is for a checkpoint of nanoGPT or minGPT"):
        convert(str(model_folder), tmp_path / "new", architecture={"n_head": 2})
    with pytest.raises(ConfigError, match="--text is for a checkpoint"):
        convert(str(model_folder), tmp_path / "new", text=tmp_path / "x.txt")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "x.gguf"])
def test_single_files_of_other_kinds_name_their_folder(name, tmp_path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="give the folder that holds it"):
        convert(str(tmp_path / name), tmp_path / "new", allow_pickle=True)


def test_a_gguf_of_a_folder_and_of_a_checkpoint(tmp_path) -> None:
    pytest.importorskip("gguf")
    state = mingpt_file(tmp_path / "out" / "model.pt", N, {"n_head": H})
    (tmp_path / "input.txt").write_text(CHARACTERS, "utf-8")
    arguments = {"text": tmp_path / "input.txt", "allow_pickle": True}
    convert(str(tmp_path / "out"), tmp_path / "folder", **arguments)
    for source, kind in (("out", "minGPT"), ("folder", "model folder")):
        more = arguments if source == "out" else {}
        done = convert(str(tmp_path / source), tmp_path / f"{source}.gguf", **more)
        assert done.kind == kind
        assert done.config.n_head == H
        names = [path.name for path in done.files]
        assert names == [f"{source}.gguf", f"{source}.Modelfile"]
        assert all(path.is_file() for path in done.files)
    assert (tmp_path / "out.gguf").read_bytes()[:4] == b"GGUF"
    assert state["lm_head.weight"].shape[0] == N


def test_what_gguf_can_not_hold_names_the_source(ckpt, tmp_path) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(ConfigError, match='activation_function="gelu" is not') as caught:
        convert(str(ckpt), tmp_path / "new.gguf", allow_pickle=True)
    assert str(caught.value).startswith(f"{ckpt}: ")
    assert not (tmp_path / "new.gguf").exists()


class TestCommand:
    def test_prints_files_and_what_to_run_next(self, ckpt, tmp_path, capsys) -> None:
        new = tmp_path / "new"
        assert main(["convert", str(ckpt), "--out", str(new), "--allow-pickle"]) == 0
        out, err = capsys.readouterr()
        assert [line.split()[0] for line in out.splitlines()] == [
            str(new / name) for name in sorted(FILES)
        ]
        assert "nanoGPT, activation_function gelu" in err
        assert f"next: tinygpt sample {new}" in err
        assert main(["sample", str(new), "a", "--max-new-tokens", "3"]) == 0

    def test_json_and_quiet(self, ckpt, tmp_path, capsys) -> None:
        flags = ["--json", "--quiet", "--allow-pickle", "--activation-function", "gelu_new"]
        assert main(["convert", str(ckpt), "--out", str(tmp_path / "new"), *flags]) == 0
        out, err = capsys.readouterr()
        document = json.loads(out)
        assert err == ""
        assert (document["source"], document["kind"]) == (str(ckpt), "nanoGPT")
        assert document["config"]["activation_function"] == "gelu_new"
        assert {Path(name).name for name in document["files"]} == FILES

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["ckpt", "--out", "new"], "--allow-pickle"),
            (["ckpt", "--out", "out", "--allow-pickle"], "exists already"),
            (["ckpt", "--out", "new", "--allow-pickle", "--n-head", "5"], "leave --n-head out"),
            (["ckpt"], "out"),
            (["nowhere", "--out", "new"], '"nowhere" is not a folder'),
        ],
    )
    def test_refusals_are_one_line_and_exit_2(
        self, arguments, message, ckpt, tmp_path, capsys, monkeypatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        given = [str(ckpt) if word == "ckpt" else word for word in arguments]
        assert main(["convert", *given]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("verb", [["sample"], ["evaluate"], ["inspect"]])
    def test_other_verbs_name_convert(self, verb, ckpt, capsys) -> None:
        for source in (ckpt, ckpt.parent):
            assert main([*verb, str(source)]) == 2
            err = capsys.readouterr().err
            assert f"`tinygpt convert {ckpt} --out DIR --allow-pickle`" in err
            assert err.count("\n") == 1

    def test_load_names_convert_for_mingpt_too(self, tmp_path) -> None:
        mingpt_file(tmp_path / "out" / "model.pt", N, {"n_head": H})
        with pytest.raises(CheckpointError, match=r"tinygpt convert .*model\.pt --out DIR"):
            tinygpt.load(tmp_path / "out")

    def test_a_folder_with_weights_of_its_own_is_a_model(self, model_folder, ckpt) -> None:
        shutil.copy(ckpt, model_folder / "ckpt.pt")
        assert tinygpt.load(model_folder).config.vocab_size == 50
