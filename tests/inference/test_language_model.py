"""What `load` returns, for a run folder, for a HF folder of either scale, and for neither."""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tinygpt
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError, ConfigError, ContextError, TokenizerError
from tinygpt.evaluation.bits_per_byte import evaluate
from tinygpt.formats import hub
from tinygpt.inference.load import load, untrained
from tinygpt.model.costs import n_params
from tinygpt.tokenizers.char_byte import CharTokenizer


def edit(path: Path, **changes) -> None:
    data = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(data | changes), "utf-8")


@pytest.fixture
def bpe_folder(tmp_path, make_hf_gpt2, byte_bpe) -> Path:
    """distilgpt2 in small: GPT-2's byte-level BPE and weights that transformers itself saved."""
    folder = tmp_path / "small-distilgpt2"
    tokenizer = byte_bpe([("a", "b"), ("Ġ", "t"), ("Ġt", "h")])
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        n_positions=32,
        n_embd=24,
        n_layer=2,
        n_head=3,
        bos_token_id=tokenizer.eot_id,
        eos_token_id=tokenizer.eot_id,
    )
    make_hf_gpt2(config).save_pretrained(folder)
    tokenizer.save(folder, 32)
    return folder


def test_opens_a_character_folder(model_folder, tiny_model, tiny_config) -> None:
    lm = load(model_folder)
    assert (lm.name, lm.config, lm.missing_weights) == (
        str(model_folder),
        tiny_config,
        None,
    )
    idx = torch.arange(16)[None] % 50
    with torch.inference_mode():
        assert torch.equal(lm.model(idx), tiny_model(idx))
    assert repr(lm) == (
        f"<LanguageModel {model_folder}: 2 layers x 2 heads x 32 wide, "
        "char vocabulary of 50, context 16>"
    )


def test_opens_what_transformers_saved_and_agrees_with_it(bpe_folder) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lm, theirs = load(bpe_folder), AutoModelForCausalLM.from_pretrained(bpe_folder)
    ids = AutoTokenizer.from_pretrained(bpe_folder)("the ab tab\n")["input_ids"]
    assert lm.tokenizer.encode("the ab tab\n").tolist() == ids
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits
        difference = (lm.model(torch.tensor([ids])) - expected).abs().max()
    assert difference <= 1e-4 * expected.std()
    assert lm.tokenizer.eot_id == lm.config.eos_token_id


def test_opening_maps_the_file_instead_of_copying_it(bpe_folder) -> None:
    """The parameters of an opened model are views on the map of model.safetensors."""
    lm = load(bpe_folder)
    fused = lm.model.transformer.h[0].attn.c_attn.weight
    assert not fused.is_contiguous()  # the file's (in, out) matrix, turned round as a view
    with torch.no_grad():  # copy on write: a change stays in this process
        before = (bpe_folder / "model.safetensors").read_bytes()
        lm.model.transformer.wte.weight.zero_()
    assert (bpe_folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("fixture", ["model_folder", "bpe_folder"])
def test_generates_streams_and_evaluates(fixture, request) -> None:
    lm = load(request.getfixturevalue(fixture))
    text = lm.generate("ab", max_new_tokens=30, seed=3)
    assert text == "".join(lm.stream("ab", max_new_tokens=30, seed=3))
    assert text != lm.generate("ab", max_new_tokens=30, seed=4)
    assert lm.generate("ab", max_new_tokens=0) == ""
    assert lm.evaluate("abba\nab", prefix="ab").bits_per_byte > 0


def test_generation_defaults_come_from_the_folder(model_folder) -> None:
    edit(model_folder / "generation_config.json", do_sample=True, temperature=0.5, top_k=7)
    settings = load(model_folder).generation_config
    assert (settings.temperature, settings.top_k) == (0.5, 7)
    (model_folder / "generation_config.json").unlink()
    assert load(model_folder).generation_config.temperature == 0.8


def test_bad_requests_are_refused_by_name(model_folder) -> None:
    lm = load(model_folder)
    with pytest.raises(ConfigError, match='"temprature" is not a generation setting'):
        lm.generate("ab", temprature=1.0)
    with pytest.raises(ConfigError, match="top_p=2"):
        lm.generate("ab", top_p=2.0)
    with pytest.raises(TokenizerError, match="€"):
        lm.generate("a€")
    with pytest.raises(ContextError, match="17 tokens, the model's n_positions is 16"):
        lm.generate("a" * 17)
    assert lm.generate("b" + "a" * 16, truncate_prompt=True, seed=1) == lm.generate(
        "a" * 16, seed=1
    )


def test_files_that_do_not_belong_together_are_refused(model_folder) -> None:
    CharTokenizer("abc").save(model_folder, 16)
    with pytest.raises(CheckpointError, match="tokenizer has 3 ids"):
        load(model_folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "expected a JSON object"),
        ('{"n_layer": 2}', 'the key "vocab_size" is missing'),
        ('{"model_type": "llama"}', "makes a llama of [0-9,]+ parameters, its files hold"),
        (" " * 1_000_001, "not a config"),
    ],
)
def test_bad_config_json_is_one_clear_line(model_folder, content, message) -> None:
    (model_folder / "config.json").write_text(content, "utf-8")
    with pytest.raises((CheckpointError, ConfigError), match=message) as caught:
        load(model_folder)
    assert str(model_folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stray_keys_are_strict_in_our_folders_and_noted_in_others(model_folder) -> None:
    edit(model_folder / "config.json", n_layers=3, transformers_version="5.0")
    lm = load(model_folder)
    assert lm.config.n_layer == 2
    assert len(lm.notes) == 1
    assert "'n_layers'" in lm.notes[0]
    (model_folder / "training.json").write_text("{}", "utf-8")
    with pytest.raises(ConfigError, match='unknown key "n_layers"; did you mean "n_layer"'):
        load(model_folder)


def test_untrained_models_say_so(tiny_config, char_tokenizer) -> None:
    lm = untrained("tiny", tiny_config, char_tokenizer, "no network; run this")
    again = untrained("tiny", tiny_config, char_tokenizer, "no network; run this")
    assert lm.missing_weights == "no network; run this"
    assert lm.path is None
    assert torch.equal(lm.model.lm_head.weight, again.model.lm_head.weight)


def test_offline_hub_name_is_one_line_that_helps(monkeypatch, tmp_path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(tinygpt.MachineError) as caught:
        tinygpt.load("distilgpt2")
    message = str(caught.value)
    assert "hf download distilbert/distilgpt2" in message
    assert str(tmp_path / "empty") in message
    assert "\n" not in message


def test_hub_cache_opens_without_network(monkeypatch, tmp_path, bpe_folder) -> None:
    """A snapshot in Hugging Face's own cache layout is what `load("distilgpt2")` opens."""
    import huggingface_hub.constants

    cache, sha = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    repo = cache / "models--distilbert--distilgpt2"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(sha)
    (repo / "snapshots").mkdir()
    bpe_folder.rename(repo / "snapshots" / sha)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    lm = load("distilgpt2")
    assert (lm.name, lm.commit) == (hub.locate("distilgpt2").name, sha)
    assert lm.generate("the", max_new_tokens=3, seed=0) is not None


@pytest.mark.parametrize("fixture", ["model_folder", "bpe_folder"])
def test_a_batch_gives_what_each_prompt_gives_alone(fixture, request) -> None:
    lm = load(request.getfixturevalue(fixture))
    prompts = ["ab", "", "abba ab", "ab"]
    for settings in ({"temperature": 0.0}, {"temperature": 0.9, "repetition_penalty": 1.1}):
        alone = [
            lm.generate(prompt, seed=3, sample_index=i, max_new_tokens=25, **settings)
            for i, prompt in enumerate(prompts)
        ]
        for batch_size in (1, 3, 8):
            together = lm.generate_batch(
                prompts, seed=3, max_new_tokens=25, batch_size=batch_size, **settings
            )
            assert together == alone
    assert alone[0] != alone[3]  # the same prompt draws from another stream
    assert lm.generate_batch([]) == []


def test_a_batch_refuses_as_one_prompt_does(model_folder) -> None:
    lm = load(model_folder)
    with pytest.raises(ConfigError, match="batch_size=0 is not allowed: at least 1"):
        lm.generate_batch(["ab"], batch_size=0)
    with pytest.raises(ConfigError, match="prompts is one text, not a list"):
        lm.generate_batch("ab")
    with pytest.raises(ConfigError, match='"temprature" is not a generation setting'):
        lm.generate_batch(["ab"], temprature=1.0)
    with pytest.raises(ContextError, match="17 tokens"):
        lm.generate_batch(["ab", "a" * 17])
    cut = lm.generate_batch(["ab", "b" + "a" * 16], truncate_prompt=True, max_new_tokens=5)
    assert cut[1] == lm.generate("a" * 16, sample_index=1, max_new_tokens=5)


def test_evaluate_takes_what_the_function_takes(model_folder) -> None:
    lm = load(model_folder)
    ours = inspect.signature(lm.evaluate).parameters
    theirs = inspect.signature(evaluate).parameters
    assert {k: v.default for k, v in ours.items()} == {
        k: v.default for k, v in theirs.items() if k not in ("model", "tokenizer")
    }
    result = lm.evaluate("abba\nab", prefix="ab", context=8, stride=2)
    assert (result.context, result.stride) == (8, 2)
    assert repr(result) == (
        f"<Evaluation {result.bits_per_byte:.4f} bits per byte on 7 bytes "
        f"(sha256 {result.sha256[:12]}), context 8, stride 2>"
    )
    assert "Total bits / bytes of the original text." in result._repr_html_()


def test_a_notebook_shows_sizes_and_what_a_run_measured_last(model_folder) -> None:
    lm = load(model_folder)
    page = lm._repr_html_()
    assert f"{n_params(lm.config):,}" in page
    assert "2 x 2 x 32" in page
    assert "last measured" not in page
    lines = [
        {"event": "evaluated", "step": 1, "val_loss": 3.5},
        {"event": "evaluated", "step": 2, "val_loss": "<script>"},
        {"event": "saved", "step": 2},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (model_folder / "metrics.jsonl").write_text(text, "utf-8")
    hostile = replace(lm, name="<script>", notes=("<b>",), missing_weights="<i>\x1b")
    page = hostile._repr_html_()
    assert "last measured: val_loss" in page
    assert "3.5" not in page
    assert not re.search("<script|<b>|<i>|\x1b", page)
    assert page.count("&lt;script&gt;") == 2
    (model_folder / "metrics.jsonl").write_bytes(b'{"event": "evaluated", \xff\n')
    assert "last measured" not in lm._repr_html_()
