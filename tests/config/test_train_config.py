"""Training and sampling settings: every refusal with its rule, and their files there and back."""

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from tinygpt.config import train_config
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.schema import field_docs, from_dict, to_dict
from tinygpt.config.train_config import (
    TOKENIZERS,
    CorpusConfig,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
)
from tinygpt.errors import ConfigError

# A value other than the default for every field.
OTHER: dict[type, dict[str, Any]] = {
    TrainConfig: {
        "block_size": 7,
        "batch_size": 3,
        "gradient_accumulation_steps": 2,
        "minutes": 1.5,
        "max_steps": 9,
        "n_evals": 2,
        "eval_tokens": 100,
        "save_every": 4,
        "sample_prompts": ("Once", "To be"),
        "sample_tokens": 30,
        "keep_best": True,
        "early_stopping_patience": 2,
        "zero_init": False,
        "gradient_checkpointing": True,
        "compile": True,
        "seed": 5,
    },
    OptimConfig: {
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "matrix_learning_rate": 0.01,
        "momentum": 0.95,
        "final_learning_rate": 1e-4,
        "warmup_steps": 3,
        "weight_decay": 0.2,
        "beta1": 0.7,
        "beta2": 0.95,
        "adam_epsilon": 1e-6,
        "grad_clip": 0.5,
    },
    CorpusConfig: {"corpus": "my.txt", "sha256": "0123456789abcdef" * 4},
    TokenizerConfig: {"tokenizer": "gpt2"},
    GenerationConfig: {
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "max_new_tokens": 10,
        "stop_strings": ("\n\n", "END"),
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}
each_class = pytest.mark.parametrize("cls", OTHER, ids=lambda cls: cls.__name__)
each_training_class = pytest.mark.parametrize(
    "cls", [cls for cls in OTHER if cls is not GenerationConfig], ids=lambda cls: cls.__name__
)


@each_class
def test_the_table_of_other_values_is_complete(cls):
    assert OTHER[cls].keys() == {f.name for f in fields(cls)}
    assert not [f.name for f in fields(cls) if OTHER[cls][f.name] == f.default]


@each_class
def test_every_field_is_documented(cls):
    docs = field_docs(cls)
    assert list(docs) == [f.name for f in fields(cls)]
    assert all(text and "\n" not in text for text in docs.values())


@each_class
def test_settings_are_frozen(cls):
    name = fields(cls)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(cls(), name, OTHER[cls][name])


@each_training_class
def test_round_trip_over_every_field(cls):
    for left_out in ("minutes", "max_steps"):  # the two exclude each other
        values = {k: v for k, v in OTHER[cls].items() if k != left_out}
        config = cls(**values)
        assert from_dict(cls, json.loads(json.dumps(to_dict(config))), "training.json") == config


@each_training_class
def test_strict_reading_names_the_nearest_key(cls):
    name = fields(cls)[0].name
    with pytest.raises(ConfigError) as refused:
        from_dict(cls, {f"{name}s": 1}, "[train] of my.toml")
    assert str(refused.value).startswith(
        f'[train] of my.toml: unknown key "{name}s"; did you mean "{name}"? (known keys: '
    )


@each_training_class
def test_anything_but_an_object_is_refused(cls):
    with pytest.raises(ConfigError, match=r"my\.toml: expected an object with keys, got "):
        from_dict(cls, 3, "my.toml")


def test_reading_leads_a_refusal_with_the_place():
    with pytest.raises(ConfigError, match=r"^training\.json: seed=-1 is not allowed"):
        from_dict(TrainConfig, {"seed": -1}, "training.json")


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (TrainConfig, {"block_size": 0}, "block_size=0 is not allowed: at least 1"),
        (TrainConfig, {"batch_size": 0}, "batch_size=0 is not allowed: at least 1"),
        (
            TrainConfig,
            {"gradient_accumulation_steps": 0},
            "gradient_accumulation_steps=0 is not allowed: at least 1",
        ),
        (TrainConfig, {"eval_tokens": 0}, "eval_tokens=0 is not allowed: at least 1"),
        (TrainConfig, {"minutes": 0}, "minutes=0 is not allowed: must be above 0"),
        (TrainConfig, {"max_steps": 0}, "max_steps=0 is not allowed: at least 1"),
        (TrainConfig, {"save_every": 0}, "save_every=0 is not allowed: at least 1"),
        (TrainConfig, {"n_evals": -1}, "n_evals=-1 is not allowed: 0 or more"),
        (TrainConfig, {"seed": -1}, "seed=-1 is not allowed: 0 <= seed < 2**63"),
        (TrainConfig, {"seed": 2**63}, "is not allowed: 0 <= seed < 2**63"),
        (
            TrainConfig,
            {"minutes": 1, "max_steps": 2},
            "minutes=1 and max_steps=2: give one budget, not two",
        ),
        (OptimConfig, {"learning_rate": 0.0}, "learning_rate=0.0 is not allowed: above 0"),
        (
            OptimConfig,
            {"learning_rate": 1e-3, "final_learning_rate": 2e-3},
            "final_learning_rate=0.002 is not allowed: between 0 and learning_rate (0.001)",
        ),
        (OptimConfig, {"final_learning_rate": -1e-3}, "is not allowed: between 0 and learning"),
        (OptimConfig, {"warmup_steps": -1}, "warmup_steps=-1 is not allowed: 0 or more"),
        (OptimConfig, {"weight_decay": -0.1}, "weight_decay=-0.1 is not allowed: 0 or more"),
        (OptimConfig, {"grad_clip": -1}, "grad_clip=-1 is not allowed: 0 or more"),
        (OptimConfig, {"beta1": 1}, "beta1=1 is not allowed: 0 <= beta1 < 1"),
        (OptimConfig, {"beta2": -0.1}, "beta2=-0.1 is not allowed: 0 <= beta2 < 1"),
        (OptimConfig, {"momentum": 1}, "momentum=1 is not allowed: 0 <= momentum < 1"),
        (
            OptimConfig,
            {"matrix_learning_rate": 0},
            "matrix_learning_rate=0 is not allowed: above 0",
        ),
        (
            OptimConfig,
            {"optimizer": "muo"},
            'optimizer="muo" is not known; did you mean "muon"? (known: muon, adamw)',
        ),
        (OptimConfig, {"adam_epsilon": 0}, "adam_epsilon=0 is not allowed: above 0"),
        (
            CorpusConfig,
            {"corpus": ""},
            "corpus is empty: give a named corpus, or a .txt file or a folder of them",
        ),
        (CorpusConfig, {"sha256": "ABC"}, 'sha256="ABC" is not allowed: 64 lower-case hex digits'),
        (CorpusConfig, {"sha256": "G" * 64}, "is not allowed: 64 lower-case hex digits"),
        (
            TokenizerConfig,
            {"tokenizer": "chars"},
            'tokenizer="chars" is not known; did you mean "char"? (known: char, byte, bpe, gpt2)',
        ),
        (GenerationConfig, {"temperature": -0.1}, "temperature=-0.1 is not allowed: 0 or more"),
        (GenerationConfig, {"top_k": 0}, "top_k=0 is not allowed: at least 1 (null keeps all)"),
        (GenerationConfig, {"top_p": 0}, "top_p=0 is not allowed: 0 < top_p <= 1"),
        (GenerationConfig, {"top_p": 1.1}, "top_p=1.1 is not allowed: 0 < top_p <= 1"),
        (GenerationConfig, {"min_p": -0.1}, "min_p=-0.1 is not allowed: 0 <= min_p <= 1"),
        (GenerationConfig, {"min_p": 1.1}, "min_p=1.1 is not allowed: 0 <= min_p <= 1"),
        (
            GenerationConfig,
            {"repetition_penalty": 0},
            "repetition_penalty=0 is not allowed: 0.01 to 1e6 (1 is none)",
        ),
        (GenerationConfig, {"max_new_tokens": -1}, "max_new_tokens=-1 is not allowed: 0 or more"),
        (GenerationConfig, {"stop_strings": ("a", "")}, "stop_strings holds an empty text"),
    ],
)
def test_impossible_values_are_refused_with_the_rule(cls, settings, message):
    with pytest.raises(ConfigError) as refused:
        cls(**settings)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("cls", "name", "value", "allowed"),
    [
        (TrainConfig, "block_size", 1.0, "a whole number"),
        (TrainConfig, "seed", True, "a whole number"),
        (TrainConfig, "minutes", float("inf"), "a finite number or null"),
        (OptimConfig, "learning_rate", "3e-4", "a finite number"),
        (OptimConfig, "weight_decay", float("nan"), "a finite number"),
        (CorpusConfig, "corpus", None, "a text"),
        (TokenizerConfig, "tokenizer", 1, "a text"),
        (GenerationConfig, "stop_strings", "END", "a list"),
        (GenerationConfig, "stop_strings", (1,), "a list"),
        (GenerationConfig, "top_k", 5.0, "a whole number or null"),
    ],
)
def test_wrong_types_are_refused(cls, name, value, allowed):
    with pytest.raises(ConfigError) as refused:
        cls(**{name: value})
    assert str(refused.value) == f"{name}={value!r} is not allowed: expected {allowed}"


def test_a_whole_number_is_fine_where_a_fraction_is():
    assert TrainConfig(minutes=2).minutes == 2
    assert OptimConfig(learning_rate=1, weight_decay=0).weight_decay == 0


def test_the_edges_are_allowed():
    assert OptimConfig(final_learning_rate=4e-3, warmup_steps=0, grad_clip=0).grad_clip == 0
    assert GenerationConfig(temperature=0, top_k=1, top_p=1, max_new_tokens=0).top_k == 1
    assert TrainConfig(n_evals=0, seed=2**63 - 1).n_evals == 0
    for name in TOKENIZERS:
        assert TokenizerConfig(tokenizer=name).tokenizer == name


def test_generation_round_trip_over_every_field():
    config = GenerationConfig(**OTHER[GenerationConfig])
    data = json.loads(json.dumps(config.to_dict()))
    assert data.items() >= (OTHER[GenerationConfig] | {"stop_strings": ["\n\n", "END"]}).items()
    assert GenerationConfig.from_dict(data) == config


@pytest.mark.parametrize("config", [GenerationConfig(), GenerationConfig(temperature=0.0)])
def test_generation_file_reads_as_transformers_means_it(config):
    data = config.to_dict()
    assert data["do_sample"] is (config.temperature > 0)
    assert ("temperature" in data) is (config.temperature > 0)  # transformers warns of 0.0
    assert data["top_k"] == 0  # transformers: keep all; null would mean its default of 50
    assert "stop_strings" not in data
    assert GenerationConfig.from_dict(data) == config


def test_transformers_takes_the_generation_file():
    transformers = pytest.importorskip("transformers")
    config = GenerationConfig(**OTHER[GenerationConfig])
    theirs = transformers.GenerationConfig.from_dict(config.to_dict())
    assert (theirs.temperature, theirs.top_k, theirs.top_p) == (0.5, 40, 0.9)
    assert (theirs.min_p, theirs.repetition_penalty) == (0.05, 1.2)
    assert (theirs.do_sample, theirs.max_new_tokens, theirs.eos_token_id) == (True, 10, 2)


@pytest.mark.parametrize("temperature", [0, 1])
def test_fractions_are_written_as_transformers_takes_them(temperature):
    """Its penalty must be a float; a min_p that does nothing it would warn of is left out."""
    data = GenerationConfig(temperature=temperature, top_p=1, repetition_penalty=2).to_dict()
    assert type(data["repetition_penalty"]) is float
    assert type(data["top_p"]) is float
    assert "min_p" not in data
    assert GenerationConfig.from_dict(data).repetition_penalty == 2


def test_penalty_and_min_p_of_a_foreign_file_are_taken():
    theirs = {"repetition_penalty": 1.3, "min_p": None, "num_beams": 1, "do_sample": True}
    config = GenerationConfig.from_dict(theirs, strict=False)
    assert (config.repetition_penalty, config.min_p) == (1.3, 0.0)


def test_strict_generation_file_refuses_other_keys():
    with pytest.raises(ConfigError) as refused:
        GenerationConfig.from_dict({"temprature": 1.0})
    assert str(refused.value).startswith(
        'generation_config.json: unknown key "temprature"; did you mean "temperature"?'
    )


@pytest.mark.parametrize("data", [[], "{}", None])
def test_generation_file_must_be_an_object(data):
    with pytest.raises(ConfigError, match=r"generation_config\.json: expected a JSON object"):
        GenerationConfig.from_dict(data)


def test_foreign_generation_files_are_read():
    data = {
        "_from_model_config": True,
        "num_beams": 4,
        "temperature": None,
        "eos_token_id": [7, 8],
        "bos_token_id": None,
        "stop_strings": "END",
        "transformers_version": "5.3.0",
    }
    config = GenerationConfig.from_dict(data, strict=False)
    assert config == GenerationConfig(eos_token_id=7, stop_strings=("END",))
    assert GenerationConfig.from_dict({"eos_token_id": []}, strict=False).eos_token_id is None


def test_exports_are_exact_and_sorted():
    public = {
        name
        for name, value in vars(train_config).items()
        if getattr(value, "__module__", "") == train_config.__name__ and not name.startswith("_")
    }
    constants_first = sorted(train_config.__all__, key=lambda name: (not name.isupper(), name))
    assert train_config.__all__ == constants_first
    assert set(train_config.__all__) == public | {
        "BATCH_SIZE",
        "OPTIMIZERS",
        "TOKENIZERS",
    }
