"""The config doctor: labels, names, contradictions, and a split that loses nothing."""

import json
import time
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.schema import from_dict, to_dict
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.doctor import diagnose as diagnose_module
from tinygpt.doctor import faults, keys
from tinygpt.doctor.diagnose import count_labels, diagnose, examine
from tinygpt.doctor.fields import NANOGPT_DATASETS, Computed, flat
from tinygpt.doctor.file import parse_config
from tinygpt.doctor.keys import CLASSES, LABELS, KeyInfo, known_keys, look_up
from tinygpt.doctor.write import write_split
from tinygpt.errors import ConfigError

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
SIZES = {"vocab_size": 65, "n_positions": 128, "n_embd": 128, "n_layer": 4, "n_head": 4}
# nanoGPT's train.py and sample.py, and minGPT's chargpt, key by key.
NANOGPT = {
    "out_dir": "out",
    "eval_interval": 250,
    "log_interval": 10,
    "eval_iters": 200,
    "eval_only": False,
    "always_save_checkpoint": False,
    "init_from": "scratch",
    "wandb_log": False,
    "wandb_project": "shakespeare-char",
    "wandb_run_name": "mini-gpt",
    "dataset": "shakespeare_char",
    "gradient_accumulation_steps": 1,
    "batch_size": 64,
    "block_size": 256,
    "n_layer": 6,
    "n_head": 6,
    "n_embd": 384,
    "dropout": 0.2,
    "bias": False,
    "learning_rate": 1e-3,
    "max_iters": 5000,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.99,
    "grad_clip": 1.0,
    "decay_lr": True,
    "warmup_iters": 100,
    "lr_decay_iters": 5000,
    "min_lr": 1e-4,
    "backend": "nccl",
    "device": "cpu",
    "dtype": "float32",
    "compile": False,
    "vocab_size": 65,
    "start": "\n",
    "num_samples": 10,
    "max_new_tokens": 500,
    "temperature": 0.8,
    "top_k": 200,
    "seed": 1337,
}
MINGPT = {
    "model_type": "gpt-mini",
    "n_layer": None,
    "vocab_size": 65,
    "block_size": 128,
    "embd_pdrop": 0.1,
    "resid_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "device": "auto",
    "num_workers": 4,
    "max_iters": None,
    "batch_size": 64,
    "learning_rate": 5e-4,
    "betas": [0.9, 0.95],
    "weight_decay": 0.1,
    "grad_norm_clip": 1.0,
    "seed": 3407,
    "work_dir": "./out/chargpt",
}
DISTILGPT2 = {
    "_num_labels": 1,
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.02,
    "label2id": {"LABEL_0": 0},
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 6,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}


def reports(data: dict[str, Any]) -> dict[str, diagnose_module.KeyReport]:
    return {report.key: report for report in examine(data).keys}


def contradictions(**data: Any) -> tuple[str, ...]:
    return examine(data).contradictions


# The mixed config of the kind that the project began with.


def test_the_mixed_config_is_labelled():
    labels = {report.key: report.labels for report in examine(MIXED).keys}
    assert labels == {
        "vocab_size": ("architecture", "tokenizer"),
        "block_size": ("architecture", "training"),
        "n_layer": ("architecture",),
        "n_head": ("architecture",),
        "d_model": ("architecture",),
        "dropout": ("architecture",),
        "batch_size": ("training",),
        "learning_rate": ("training",),
        "max_iters": ("training",),
    }


def test_the_mixed_config_gets_hfs_names_and_ours():
    found = reports(MIXED)
    assert {key: (r.hf_name, r.hf_home, r.ours) for key, r in found.items()} == {
        "vocab_size": ("vocab_size", "GPT2Config", "ModelConfig.vocab_size"),
        "block_size": (
            "n_positions",
            "GPT2Config",
            "ModelConfig.n_positions, TrainConfig.block_size",
        ),
        "n_layer": ("n_layer", "GPT2Config", "ModelConfig.n_layer"),
        "n_head": ("n_head", "GPT2Config", "ModelConfig.n_head"),
        "d_model": ("n_embd", "GPT2Config", "ModelConfig.n_embd"),
        "dropout": (
            "resid_pdrop, embd_pdrop, attn_pdrop",
            "GPT2Config",
            "ModelConfig.resid_pdrop, ModelConfig.embd_pdrop, ModelConfig.attn_pdrop",
        ),
        "batch_size": (
            "per_device_train_batch_size",
            "TrainingArguments",
            "TrainConfig.batch_size",
        ),
        "learning_rate": ("learning_rate", "TrainingArguments", "OptimConfig.learning_rate"),
        "max_iters": ("max_steps", "TrainingArguments", "TrainConfig.max_steps"),
    }
    assert found["d_model"].value == 128
    assert found["n_layer"].meaning == "Number of Transformer blocks."


def test_the_mixed_config_is_split():
    split = examine(MIXED).split()
    assert split.model_config == ModelConfig(
        vocab_size=65,
        n_positions=128,
        n_embd=128,
        n_layer=4,
        n_head=4,
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
        bos_token_id=None,
        eos_token_id=None,
    )
    assert split.train_config == TrainConfig(
        block_size=128, batch_size=64, max_steps=2000, zero_init=False
    )
    assert split.optim_config == OptimConfig(optimizer="adamw", learning_rate=3e-4)
    assert split.generation_config == GenerationConfig()
    assert (split.corpus_config, split.tokenizer_config) == (CorpusConfig(), TokenizerConfig())
    assert (split.left_over, split.reasons) == ({}, {})


def test_the_mixed_config_is_explained():
    diagnosis = examine(MIXED)
    assert diagnosis.contradictions == ()
    mixture, block_size, dropout, *_ = diagnosis.notes
    assert mixture == (
        "a mixed config (6 architecture, 1 tokenizer, 4 training): HF's config.json holds "
        "architecture only"
    )
    assert block_size.startswith("block_size=128 is two settings: n_positions (longest context")
    assert dropout.startswith("dropout=0.1 stands for three settings: resid_pdrop and embd_pdrop")


# Other people's configs.


def test_nanogpts_config_is_known_key_by_key():
    diagnosis = examine(NANOGPT)
    assert not [r.key for r in diagnosis.keys if "dead" in r.labels]
    assert diagnosis.contradictions == (
        "bias=false can't be kept: the GPT-2 format always has biases: without them they are "
        "written as zeros",
    )
    split = diagnosis.split()
    assert split.model_config is not None
    assert (split.model_config.n_positions, split.model_config.resid_pdrop) == (256, 0.2)
    assert split.train_config == TrainConfig(
        zero_init=False, block_size=256, batch_size=64, max_steps=5000, seed=1337
    )
    assert split.optim_config == OptimConfig(
        optimizer="adamw",
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        warmup_steps=100,
        beta1=0.9,
        beta2=0.99,
    )
    assert split.generation_config == GenerationConfig(max_new_tokens=500, top_k=200)
    assert split.corpus_config == CorpusConfig(corpus="tinyshakespeare")
    assert {"bias", "lr_decay_iters", "device", "start"} <= split.left_over.keys()
    assert any("what tinygpt calls corpus" in note for note in diagnosis.notes)


def test_mingpts_config_is_known_key_by_key():
    diagnosis = examine(MINGPT)
    assert not [r.key for r in diagnosis.keys if "dead" in r.labels]
    assert 'model_type "gpt-mini" is not a GPT-2' in diagnosis.contradictions[0]
    split = diagnosis.split()
    assert split.model_config is None
    assert split.optim_config == OptimConfig(
        optimizer="adamw", learning_rate=5e-4, beta1=0.9, beta2=0.95
    )
    assert reports(MINGPT)["betas"].hf_name == "adam_beta1, adam_beta2"


def test_distilgpt2s_published_file_is_all_architecture_or_dead_weight():
    diagnosis = examine(DISTILGPT2)
    assert diagnosis.contradictions == ()
    assert diagnosis.split().model_config == PRESETS["distilgpt2"]
    labels = {report.key: report.labels for report in diagnosis.keys}
    assert labels["n_ctx"] == labels["summary_type"] == labels["id2label"] == ("dead",)
    assert labels["bos_token_id"] == ("tokenizer", "generation")
    assert labels["task_specific_params"] == ("generation",)
    assert count_labels(DISTILGPT2) == {
        "architecture": 13,
        "tokenizer": 3,
        "generation": 3,
        "dead": 9,
    }


@pytest.mark.slow
def test_every_key_of_transformers_own_classes_is_known():
    transformers = pytest.importorskip("transformers")
    keys = {
        "GPT2Config": transformers.GPT2Config().to_dict(),
        "GenerationConfig": transformers.GenerationConfig().to_dict(),
        "TrainingArguments": [f.name for f in fields(transformers.TrainingArguments)],
    }
    for names in keys.values():
        assert [name for name in names if look_up(name) is None] == []
    # and the HF names that the table gives exist there, in the class that it names
    for key in known_keys():
        info = look_up(key)
        assert info is not None
        if info.hf_home in keys and info.fields:
            for name in (info.hf_name or "").split(", "):
                assert name in keys[info.hf_home], (key, name)


def test_every_field_of_ours_is_known_and_goes_to_itself():
    for owner, cls in CLASSES.items():
        for field in fields(cls):
            info = look_up(field.name)
            assert info is not None
            assert f"{owner}.{field.name}" in info.fields
    assert {label for key in known_keys() for label in look_up(key).labels} == set(LABELS)


def test_prefixes_are_known():
    assert reports({"wandb_entity": "me"})["wandb_entity"].labels == ("runtime",)
    assert look_up("fsdp_config").hf_name == "fsdp_config"


def test_a_field_added_later_is_known_without_a_row(monkeypatch):
    table = keys.TABLE.replace("top_p | = | GenerationConfig.top_p\n", "")
    assert table != keys.TABLE
    monkeypatch.setattr(keys, "TABLE", table)
    keys._table.cache_clear()
    try:
        expected = ("generation",), ("GenerationConfig.top_p",)
        assert (look_up("top_p").labels, look_up("top_p").fields) == expected
    finally:
        keys._table.cache_clear()


def test_unknown_keys_are_dead_with_the_nearest_name():
    diagnosis = examine({**MIXED, "n_heds": 4, "zzzz": 1, "qqqq": {}})
    found = {report.key: report for report in diagnosis.keys}
    assert found["n_heds"].labels == found["zzzz"].labels == ("dead",)
    assert found["n_heds"].meaning == 'Not known: no code reads it; did you mean "n_heads"?'
    assert found["zzzz"].meaning == "Not known: no code reads it"
    assert 'no code reads "n_heds"; did you mean "n_heads"?' in diagnosis.notes
    assert 'no code reads "zzzz", "qqqq"' in diagnosis.notes
    assert diagnosis.split().left_over == {"n_heds": 4, "zzzz": 1, "qqqq": {}}


def test_block_size_is_the_window_alone_beside_n_positions():
    data = {**SIZES, "block_size": 64}
    report = reports(data)["block_size"]
    assert (report.labels, report.hf_name) == (("training",), None)
    assert report.ours == "TrainConfig.block_size"
    assert examine(data).contradictions == ()
    split = examine(data).split()
    assert (split.model_config.n_positions, split.train_config.block_size) == (128, 64)


# Contradictions.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"n_head": 3}, "n_embd=128 is not divisible by n_head=3"),
        ({"d_model": 256}, "n_embd=128 and d_model=256 both set n_embd and differ; keep one"),
        (
            {"dropout": 0.1, "attn_pdrop": 0.2},
            "dropout=0.1 and attn_pdrop=0.2 both set attn_pdrop and differ; keep one",
        ),
        ({"block_size": 256}, "block_size=256 is longer than n_positions=128: a training window"),
        ({"n_ctx": 64}, "n_ctx=64 but n_positions=128: nothing reads n_ctx, n_positions counts"),
        ({"head_dim": 64}, "head_dim=64 but n_embd / n_head = 32: a head takes its share"),
        ({"minutes": 1, "max_steps": 5}, "minutes=1 and max_steps=5: give one budget, not two"),
        ({"max_iters": 5, "epochs": 3}, "epochs=3 and max_iters=5: give one budget, not two"),
        ({"minutes": 2, "num_epochs": 3}, "num_epochs=3 and minutes=2: give one budget, not two"),
        (
            {"max_iters": 5, "lr_decay_iters": 6},
            "lr_decay_iters=6 but max_iters=5: tinygpt's learning rate reaches its end",
        ),
        ({"bias": False}, "bias=false can't be kept: the GPT-2 format always has biases"),
        ({"decay_lr": False}, "decay_lr=false can't be kept: tinygpt's learning rate always"),
        ({"lr_scheduler_type": "cosine"}, 'lr_scheduler_type="cosine" can\'t be kept: tinygpt'),
        ({"optimizer": "sgd"}, 'optimizer="sgd" is not known (known: muon, adamw)'),
        ({"optim": "sgd"}, "optim=\"sgd\" can't be kept: tinygpt's are AdamW and Muon"),
        ({"num_beams": 4}, "num_beams=4 can't be kept: tinygpt does not choose tokens that way"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 can't be kept"),
        ({"do_sample": True, "temperature": 0}, "do_sample=true and temperature=0: a temperature"),
        ({"do_sample": False, "temperature": 0.8}, "both set temperature and differ; keep one"),
        (
            {"tokenizer": "gpt2"},
            'tokenizer="gpt2" has 50,257 ids but vocab_size=65: each id needs its row',
        ),
        ({"tokenizer": "byte"}, 'tokenizer="byte" has 256 ids but vocab_size=65: each id needs'),
        ({"tokenizer": "bpe"}, 'tokenizer="bpe" has at least 256 ids but vocab_size=65: each id'),
        ({"add_cross_attention": True}, "add_cross_attention=True asks for cross attention"),
        ({"scale_attn_by_inverse_layer_idx": True}, "asks for attention scaled by the inverse"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "not a language model"),
        ({"activation_function": "gelu_nwe"}, 'is not known; did you mean "gelu_new"?'),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon=0 is not allowed: must be above 0"),
        ({"drop_rate": 1.5}, "(resid_pdrop is drop_rate here)"),
        ({"lr": -1}, "learning_rate=-1 is not allowed: above 0 (learning_rate is lr here)"),
        ({"lr": 1e-4, "min_lr": 1e-3}, "final_learning_rate=0.001 is not allowed: between 0 and"),
        ({"betas": [0.9]}, "beta1=(0.9,) is not allowed: expected a finite number (beta1 is betas"),
        ({"betas": [0.9, 1.0]}, "beta2=1.0 is not allowed: 0 <= beta2 < 1 (beta2 is betas here)"),
        ({"tokenizer": "word"}, 'tokenizer="word" is not known'),
        ({"top_p": 0}, "top_p=0 is not allowed: 0 < top_p <= 1"),
        ({"batch_size": "64"}, "batch_size='64' is not allowed: expected a whole number"),
        ({"max_steps": -2}, "max_steps=-2 is not allowed: at least 1"),
        ({"n_head": 3}, "share of the width: n_head=2 or n_embd=129 would do"),
        ({"n_layer": 0}, "n_layer=0 is not allowed: it must be at least 1"),
        ({"eos_token_id": 65}, "eos_token_id=65 is outside the vocabulary (0 to 64); use null"),
        ({"max_iters": 50, "warmup_iters": 50}, "warmup_iters=50 but max_iters=50: the learning"),
        ({"max_iters": 50, "warmup_iters": 90}, "a tenth of the steps, 5, is usual"),
        ({"lr": 3e4}, "lr=30000.0 is far above what AdamW bears (1e-5 to 1e-2)"),
        (
            {"batch_size": 4, "gradient_accumulation_steps": 3, "global_batch_size": 8},
            "global_batch_size=8 but batch_size x gradient_accumulation_steps = 12",
        ),
        (
            {"micro_batch_size": 4, "global_batch_size": 8},
            "global_batch_size=8 is 2 x micro_batch_size=4: add gradient_accumulation_steps=2",
        ),
        (
            {"micro_batch_size": 3, "global_batch_size": 8},
            "global_batch_size=8 is not a multiple of micro_batch_size=3",
        ),
        ({"model": {"n_embd": 64}}, "n_embd=128 and model.n_embd=64 both set n_embd and differ"),
        ({"N_LAYER": 5}, "n_layer=4 and N_LAYER=5 both set n_layer and differ"),
    ],
)
def test_contradictions_are_named(data, message):
    assert any(message in line for line in contradictions(**{**SIZES, **data}))


@pytest.mark.parametrize(
    "data",
    [
        {"d_model": 128},
        {"dropout": 0.1, "attn_pdrop": 0.1},
        {"block_size": 128},
        {"n_ctx": 128},
        {"head_dim": 32},
        {"max_iters": 5, "lr_decay_iters": 5},
        {"bias": True},
        {"decay_lr": True},
        {"lr_scheduler_type": "linear"},
        {"optim": "adamw_torch"},
        {"repetition_penalty": 1.0},
        {"do_sample": True, "temperature": 0.8},
        {"do_sample": False},
        {"tokenizer": "gpt2", "vocab_size": 50257},
        {"add_cross_attention": False},
        {"top_k": 0},
        {"n_inner": None},
        {"epochs": None, "max_steps": 4},
        {"max_steps": -1, "num_train_epochs": 3.0},
        {"max_iters": 50, "warmup_iters": 5},
        {"lr": 1e-2},
        {"batch_size": 4, "gradient_accumulation_steps": 2, "global_batch_size": 8},
        {"eval": {"n_embd": 64}},
        {"tokenizer": "byte", "vocab_size": 256},
    ],
)
def test_what_agrees_is_no_contradiction(data):
    assert contradictions(**{**SIZES, **data}) == ()


def test_missing_sizes_are_named():
    data = {"n_layer": 4, "n_head": 4, "batch_size": 8, "n_ctx": 128}
    message = "missing: vocab_size, n_positions, n_embd; a model is its 5 sizes, add them"
    assert contradictions(**data) == (
        message,
        "n_ctx=128 is read by nothing: call it n_positions",
    )
    split = examine(data).split()
    assert split.model_config is None
    assert split.reasons == {"config.json": (message,)}
    assert split.left_over == {"n_layer": 4, "n_head": 4, "n_ctx": 128}
    assert split.train_config == TrainConfig(batch_size=8, zero_init=False)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (
            {"n_head": 3, "n_embd": 64, "n_layer": 2, "n_positions": 16},
            (
                "n_embd=64 is not divisible by n_head=3; each head takes an equal share of the "
                "width: n_head=2 or n_embd=66 would do",
            ),
        ),
        (
            {"n_head": 3, "d_model": 64, "dropout": 2},
            (
                "missing: vocab_size, n_positions, n_layer; a model is its 5 sizes, add them",
                "n_embd=64 is not divisible by n_head=3; each head takes an equal share of the "
                "width: n_head=2 or n_embd=66 would do (n_embd is d_model here)",
            ),
        ),
        (
            {"n_embd": 64, "dropout": 2, "eos_token_id": 70_000},
            (
                "missing: vocab_size, n_positions, n_layer, n_head; a model is its 5 sizes, add "
                "them",
                "resid_pdrop=2 is not allowed: 0 <= p < 1 (resid_pdrop is dropout here)",
            ),
        ),
        (
            {"n_head": 5},
            (
                "missing: vocab_size, n_positions, n_embd, n_layer; a model is its 5 "
                "sizes, add them",
            ),
        ),
    ],
)
def test_what_can_be_checked_without_all_sizes_is(data, found):
    said = contradictions(**data)
    assert said[: len(found)] == found
    assert len([line for line in said if "missing" in line or "divisible" in line]) <= 2


def test_a_pure_training_config_is_no_contradiction():
    diagnosis = examine({"batch_size": 8})
    assert diagnosis.contradictions == ()
    split = diagnosis.split()
    assert (split.reasons, split.left_over, split.model_config) == ({}, {}, None)
    assert "model" not in split.files()["run.toml"]  # training takes TinyGPT's
    assert split.files()["run.toml"]["train"]["batch_size"] == 8
    generation = examine({"batch_size": 0}).split()
    assert generation.reasons["config.json"] == ("no size of an architecture is given",)


def test_several_impossible_values_are_named_at_once():
    found = contradictions(**SIZES, resid_pdrop=2, embd_pdrop=3, batch_size=0, beta1=5)
    for name in ("resid_pdrop=2", "embd_pdrop=3", "batch_size=0", "beta1=5"):
        assert any(line.startswith(name) for line in found)


def test_one_bad_training_setting_keeps_all_of_training_json_back():
    split = examine({**MIXED, "weight_decay": -1}).split()
    assert split.model_config is not None
    assert (split.train_config, split.optim_config, split.corpus_config) == (None, None, None)
    assert list(split.reasons) == ["training.json"]
    left = {"batch_size": 64, "learning_rate": 3e-4, "max_iters": 2000, "weight_decay": -1}
    assert split.left_over == left  # block_size stands in config.json


# Other shapes of a config.


def test_tables_in_tables_are_laid_flat():
    diagnosis = examine({"model": {"n_layer": 4, "sub": {"d_model": 8}}, "id2label": {"0": "x"}})
    assert [report.key for report in diagnosis.keys] == [
        "model.n_layer",
        "model.sub.d_model",
        "id2label",
    ]
    assert [report.ours for report in diagnosis.keys][:2] == [
        "ModelConfig.n_layer",
        "ModelConfig.n_embd",
    ]
    with pytest.raises(ConfigError, match=r'the key "a\.b" stands twice; keep one'):
        examine({"a": {"b": 1}, "a.b": 1})


def test_what_is_computed_is_not_guessed():
    data = {
        **MIXED,
        "n_layer": Computed("depth()"),
        "lr": Computed("a * b"),
        "device": Computed("d"),
    }
    del data["learning_rate"]
    diagnosis = examine(data)
    assert diagnosis.contradictions == (
        "n_layer is computed: depth(), and the doctor runs nothing: write the value itself",
        "lr is computed: a * b, and the doctor runs nothing: write the value itself",
    )
    split = diagnosis.split()
    assert (split.model_config, split.train_config, split.sizes) == (None, None, None)
    assert diagnosis.to_dict()["split"]["left_over"]["lr"] == "computed: a * b"
    twice = examine({"n_layer": 3, "a": {"n_layer": Computed("x")}})
    assert not any("differ" in line for line in twice.contradictions)  # who knows


def test_another_model_type_is_said_and_not_split():
    data = {"model_type": "llama", "hidden_size": 64, "head_dim": 7, "rope_theta": 1e4, "lr": 1.0}
    diagnosis = examine(data)
    line = 'model_type "llama" is not a GPT-2; tinygpt computes model_type "gpt2" only'
    assert diagnosis.contradictions == (line,)
    assert len(diagnosis.notes) == 1
    split = diagnosis.split()
    assert split.files() == {}
    assert split.left_over == data
    labels = {report.key: (report.labels, report.ours) for report in diagnosis.keys}
    assert labels["rope_theta"] == labels["hidden_size"] == (("architecture",), None)


def test_mingpts_model_type_is_named_in_sizes():
    (line,) = [note for note in examine(MINGPT).notes if "minGPT's name" in note]
    assert "n_layer=6, n_head=6, n_embd=192: write these in its place" in line


def test_dead_keys_of_an_hf_config_are_named():
    hf = {"model_type": "gpt2", "vocab_size": 65, "n_layer": 2, "n_head": 2, "n_positions": 64}
    found = examine({**hf, "d_model": 32, "block_size": 16, "dropout": 0.2, "lr": 1e-3})
    start = "is kept by transformers and read by nothing: it takes"
    assert found.contradictions == (
        f"d_model=32 {start} n_embd=768 by default; call it n_embd",
        f"block_size=16 {start} n_positions=64; leave it out of config.json",
        f"dropout=0.2 {start} resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1 by default; call it "
        "resid_pdrop and embd_pdrop and attn_pdrop",
    )
    assert any(note.startswith("lr: transformers keeps") for note in found.notes)
    assert contradictions(**hf, hidden_size=32) == ()


@pytest.mark.slow
def test_transformers_reads_what_the_doctor_says_it_reads():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(d_model=32, dropout=0.2, n_layers=2, block_size=16)
    assert (config.n_embd, config.resid_pdrop, config.n_layer) == (768, 0.1, 12)
    assert config.n_positions == 1024
    assert config.to_dict()["d_model"] == 32  # kept, silently
    aliases = transformers.GPT2Config.attribute_map
    assert set(faults._HF_ALIASES) == set(aliases)
    assert transformers.GPT2Config(hidden_size=32).n_embd == 32


def test_the_tokenizer_beside_the_file_counts():
    def lines(n_ids, **more):
        file = parse_config(json.dumps({**SIZES, **more}).encode(), "c.json", n_token_ids=n_ids)
        found = diagnose(file)
        return found.contradictions, found.notes

    (fault,), _ = lines(66)
    assert fault.startswith("vocab_size=65 but the tokenizer beside it has 66 ids: each id needs")
    (fault,), notes = lines(60, eos_token_id=61)
    assert "eos_token_id=61 but the tokenizer beside it has 60 ids: no text gets that id" in fault
    assert "vocab_size=65 but the tokenizer beside it has 60 ids: 5 rows are padding" in notes
    assert lines(65)[0] == lines(None)[0] == ()


def test_the_size_of_a_step_is_noted():
    data = {**SIZES, "batch_size": 4, "gradient_accumulation_steps": 40, "block_size": 64}
    assert examine(data).notes[-1] == (
        "one step trains on batch_size x gradient_accumulation_steps x block_size = 4 x 40 x 64 = "
        "10,240 tokens"
    )


def test_our_own_training_json_is_known():
    tables = {"train": to_dict(TrainConfig(max_steps=3)), "optim": to_dict(OptimConfig())}
    data = tables | {"corpus": {"corpus": "my.txt"}, "tokenizer": {"tokenizer": "char"}}
    data |= {"from": None, "tinygpt_version": "1", "data": {"n_characters": 5}}
    diagnosis = examine(data)
    assert not [r.key for r in diagnosis.keys if "dead" in r.labels]
    assert diagnosis.split().train_config.max_steps == 3
    assert diagnosis.split().reasons == {}  # its block_size says nothing of an architecture


def test_hostile_keys_cost_little():
    started_s = time.perf_counter()
    examine({f"n_head{'x' * 1500}{n}": n for n in range(500)})
    examine({f"{'a.' * 700}{n}": n for n in range(500)})
    assert time.perf_counter() - started_s < 10


# Notes.


def test_defaults_that_may_surprise_are_noted():
    found = "\n".join(examine({**SIZES, "n_positions": 64, "vocab_size": 50304}).notes)
    for part in (
        "resid_pdrop and embd_pdrop and attn_pdrop not given: GPT-2's default of 0.1 is taken",
        "activation_function not given: GPT-2's gelu_new is taken",
        "block_size not given: a training window of n_positions=64 tokens is taken",
        "eos_token_id not given: in GPT-2's vocabulary <|endoftext|> is 50256",
        'tokenizer not given: char is taken; vocab_size=50304 looks like "gpt2"',
    ):
        assert part in found
    split = examine({**SIZES, "n_positions": 64}).split()
    assert split.train_config.block_size == 64


def test_the_size_of_gpt2s_vocabulary_names_its_tokenizer():
    found = examine({**SIZES, "vocab_size": 50257})
    assert 'tokenizer not given: "gpt2" is taken, because vocab_size=50257 is its size' in (
        found.notes
    )
    assert found.split().tokenizer_config == TokenizerConfig(tokenizer="gpt2")
    named = examine({**SIZES, "vocab_size": 50257, "tokenizer": "bpe"})
    assert named.split().tokenizer_config == TokenizerConfig(tokenizer="bpe")
    padded = examine({**SIZES, "vocab_size": 50304, "tokenizer": "gpt2"})
    assert any("to train, set vocab_size=50257" in note for note in padded.notes)
    assert examine({**SIZES, "vocab_size": 50304}).split().tokenizer_config == TokenizerConfig()


def test_nanogpts_shakespeare_is_a_corpus_and_a_tokenizer_of_ours():
    split = examine({"dataset": "shakespeare"}).split()
    assert split.corpus_config == CorpusConfig(corpus="tinyshakespeare")
    assert split.tokenizer_config == TokenizerConfig(tokenizer="gpt2")
    assert examine({"corpus": "shakespeare"}).split().corpus_config.corpus == "shakespeare"


def test_the_65_characters_are_said_to_be_tiny_shakespeares():
    line = "vocab_size=65 is the number of characters in Tiny Shakespeare, which is the corpus"
    assert any(note.startswith(line) for note in examine(MIXED).notes)
    assert not any(line in note for note in examine(SIZES).notes)  # nothing is to be trained


def test_a_complete_config_needs_no_note():
    data = {**to_dict(PRESETS["tinygpt"]), "n_ctx": 128}
    assert examine(data).notes == ()


# The split: written, read back, nothing lost.


def read_back(folder: Path) -> tuple[Any, ...]:
    training = json.loads((folder / "training.json").read_text())
    assert list(training) == ["train", "optim", "corpus", "tokenizer"]
    return (
        ModelConfig.from_dict(json.loads((folder / "config.json").read_text())),
        GenerationConfig.from_dict(json.loads((folder / "generation_config.json").read_text())),
        from_dict(TrainConfig, training["train"], "train"),
        from_dict(OptimConfig, training["optim"], "optim"),
        from_dict(CorpusConfig, training["corpus"], "corpus"),
        from_dict(TokenizerConfig, training["tokenizer"], "tokenizer"),
    )


@pytest.mark.parametrize(
    "data",
    [MIXED, NANOGPT, DISTILGPT2, {**MIXED, "do_sample": False, "stop": "END", "minutes": None}],
    ids=["mixed", "nanogpt", "distilgpt2", "greedy"],
)
def test_written_files_read_back_equal(data, tmp_path):
    split = examine(data).split()
    paths = write_split(split, tmp_path / "new" / "run")
    names = ["config.json", "generation_config.json", "training.json"]
    assert [p.name for p in paths] == names + ["leftover.json"] * bool(split.left_over)
    assert read_back(tmp_path / "new" / "run") == (
        split.model_config,
        split.generation_config,
        split.train_config,
        split.optim_config,
        split.corpus_config,
        split.tokenizer_config,
    )
    if split.left_over:
        assert json.loads(paths[-1].read_text()) == split.left_over


def test_a_file_that_can_not_be_made_is_not_written(tmp_path):
    tmp_path /= "new"
    paths = write_split(examine({**MIXED, "n_head": 3}).split(), tmp_path)
    names = ["generation_config.json", "training.json", "leftover.json"]
    assert [path.name for path in paths] == names
    left_over = json.loads((tmp_path / "leftover.json").read_text())
    assert left_over == {k: MIXED[k] for k in ("vocab_size", "n_layer", "d_model", "dropout")} | {
        "n_head": 3
    }


def test_existing_files_are_never_overwritten(tmp_path):
    (tmp_path / "training.json").write_text("mine")
    with pytest.raises(ConfigError, match="exists already; give a new folder"):
        write_split(examine(MIXED).split(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]
    assert (tmp_path / "training.json").read_text() == "mine"
    with pytest.raises(ConfigError, match="exists already; give a new folder"):
        write_split(examine(MIXED).split(), tmp_path / "training.json")
    with pytest.raises(
        ConfigError, match=r"training\.json/new: Not a directory; give a new folder"
    ):
        write_split(examine(MIXED).split(), tmp_path / "training.json" / "new")


def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="a value can't be written: "):
        write_split(examine({**MIXED, "device": object()}).split(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70000) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(sorted({*known_keys(), "n_heds", "wandb_x"})) | st.text(max_size=4)


def assert_nothing_is_lost(data: dict[str, Any]) -> None:
    diagnosis = examine(data)
    assert {report.key: report.value for report in diagnosis.keys} == flat(data)
    assert all(report.labels and set(report.labels) <= set(LABELS) for report in diagnosis.keys)
    json.dumps(diagnosis.to_dict())
    split = diagnosis.split()
    configs = {
        "ModelConfig": split.model_config,
        "GenerationConfig": split.generation_config,
        "TrainConfig": split.train_config,
        "OptimConfig": split.optim_config,
        "CorpusConfig": split.corpus_config,
        "TokenizerConfig": split.tokenizer_config,
    }
    for report in diagnosis.keys:
        if report.key in split.left_over or report.key in ("model_type", "architectures"):
            continue
        if split.sizes and (report.ours or "").startswith("ModelConfig"):
            continue  # in a run.toml, where it was checked
        places = [place.split(".") for place in (report.ours or "").split(", ")]
        found = [getattr(configs[owner], name) for owner, name in places if configs[owner]]
        plain = tuple(report.value) if isinstance(report.value, list) else report.value
        if report.key == "do_sample":
            assert (found[0] > 0) is report.value
        elif report.key == "betas":
            assert tuple(found) == plain
        elif report.key == "top_k" and report.value == 0:
            assert found == [None]
        elif report.key == "dataset" and report.value in NANOGPT_DATASETS:
            assert found == [NANOGPT_DATASETS[report.value][0]]
        elif report.key in ("stop", "stop_strings") and isinstance(report.value, str):
            assert found == [(report.value,)]
        else:
            assert found
            assert set(found) == {plain}


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, ANY_VALUE, max_size=8), st.booleans())
def test_nothing_is_lost_whatever_is_given(data, with_sizes):
    try:
        flat(data)
    except ConfigError:  # {"a": {"b": 1}, "a.b": 2}
        assume(False)
    assert_nothing_is_lost({**SIZES, **data} if with_sizes else data)


@pytest.mark.parametrize("data", [MIXED, NANOGPT, MINGPT, DISTILGPT2, {}])
def test_nothing_is_lost_of_real_configs(data):
    assert_nothing_is_lost(data)


def test_our_own_classes_survive_being_thrown_together():
    model = replace(PRESETS["tinygpt"], n_inner=17, bos_token_id=1, eos_token_id=2)
    train = TrainConfig(block_size=100, max_steps=7, n_evals=3, eval_tokens=99, save_every=2)
    optim = OptimConfig(final_learning_rate=1e-5, adam_epsilon=1e-7)
    generation = GenerationConfig(top_k=5, stop_strings=("a", "b"), bos_token_id=1, eos_token_id=2)
    corpus = CorpusConfig(corpus="my.txt", sha256="0" * 64)
    flat = model.to_dict() | generation.to_dict() | to_dict(train) | to_dict(optim)
    split = examine(flat | to_dict(corpus) | {"tokenizer": "char"}).split()
    assert split.left_over == {}
    assert (split.model_config, split.generation_config) == (model, generation)
    assert (split.train_config, split.optim_config) == (train, optim)
    assert (split.corpus_config, split.tokenizer_config) == (corpus, TokenizerConfig())


# The whole as data.


def test_diagnosis_is_frozen_and_json_ready():
    diagnosis = examine(NANOGPT)
    with pytest.raises(FrozenInstanceError):
        diagnosis.notes = ()
    data = json.loads(json.dumps(diagnosis.to_dict()))
    assert list(data) == ["keys", "contradictions", "notes", "split"]
    assert data["keys"][0] == {
        "key": "out_dir",
        "value": "out",
        "labels": ["runtime"],
        "hf_name": "output_dir",
        "hf_home": "TrainingArguments",
        "ours": None,
        "meaning": "Folder of the run.",
    }
    assert data["split"]["config.json"]["n_positions"] == 256
    assert data["split"]["left_over"]["device"] == "cpu"
    assert isinstance(look_up("device"), KeyInfo)


@pytest.mark.parametrize("data", [[], "{}", None, {1: 2}])
def test_only_objects_are_examined(data):
    with pytest.raises(ConfigError, match="expected an object with keys, got "):
        examine(data)


def test_labels_of_a_training_json_are_counted_in_its_tables():
    training = {
        "train": to_dict(TrainConfig()),
        "optim": to_dict(OptimConfig()),
        "corpus": to_dict(CorpusConfig()),
        "tokenizer": to_dict(TokenizerConfig()),
        "from": None,
    }
    n_training = len(fields(TrainConfig)) + len(fields(OptimConfig))
    expected = {"tokenizer": 1, "data": 2, "training": n_training - 2, "runtime": 2}
    assert count_labels(training) == expected
    assert count_labels(MIXED) == {"architecture": 6, "tokenizer": 1, "training": 4}


def test_exports_are_exact():
    public = {
        n
        for n, v in vars(diagnose_module).items()
        if getattr(v, "__module__", "") == diagnose_module.__name__
    }
    assert set(diagnose_module.__all__) == {n for n in public if not n.startswith("_")}


def test_ids_outside_the_vocabulary_are_named_beside_a_wrong_size():
    data = {"vocab_size": 65, "n_positions": 8, "n_layer": 1, "n_head": 3, "n_embd": 8}
    found = contradictions(**data, bos_token_id=70, eos_token_id=64)
    assert sum("is outside the vocabulary" in fault for fault in found) == 1
    assert any(fault.startswith("bos_token_id=70 is outside the vocabulary") for fault in found)
    assert any("not divisible by n_head=3" in fault for fault in found)
    alone = contradictions(**data | {"n_head": 2, "bos_token_id": 70})
    assert sum("bos_token_id=70" in fault for fault in alone) == 1
