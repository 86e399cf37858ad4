"""Every published variant of a GPT-2 folder gives the reference's logits, or is refused by name.

The variants and their references stand in benchmarks/variants.py, which prints the table of
docs/model-folder.md from them.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.variants import (
    IDS,
    SIZES,
    TOKENIZER,
    VARIANTS,
    WRITTEN,
    P,
    opened,
    reopened,
    saved,
    theirs,
)

import tinygpt
from tinygpt.config.model_config import ACTIVATIONS
from tinygpt.errors import CheckpointError, ConfigError

TOLERANCE = 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_the_references(name, tmp_path) -> None:
    assert opened(VARIANTS[name], tmp_path / "model") <= TOLERANCE


@pytest.mark.parametrize("name", WRITTEN)
def test_transformers_computes_the_same_on_what_convert_writes(name, tmp_path) -> None:
    assert reopened(WRITTEN[name], tmp_path / "model") <= TOLERANCE


def test_documents_hold_the_table_of_this_list() -> None:
    page = (Path(__file__).parents[2] / "docs" / "model-folder.md").read_text("utf-8")
    for name in [*VARIANTS, *WRITTEN]:
        assert f"| {name} | " in page, name


@pytest.mark.parametrize(
    "pair", [("gelu", "gelu_new"), ("gelu_new", "quick_gelu"), ("silu", "quick_gelu")], ids=str
)
def test_the_measure_tells_activations_apart(pair, tmp_path) -> None:
    def build(folder: Path) -> Any:
        return saved(folder, activation_function=pair[0], config={"activation_function": pair[1]})

    assert opened(build, tmp_path / "model") > TOLERANCE


# --- what is said about a folder


def notes_of(folder: Path) -> str:
    return "\n".join(tinygpt.load(folder).notes)


@pytest.mark.parametrize(
    ("config", "note"),
    [
        ({}, ""),
        ({"n_ctx": P}, ""),
        ({"n_ctx": 8}, "n_ctx=8 is vestigial; n_positions=16 counts"),
        ({"line_by_line": True}, "no GPT-2 code reads 'line_by_line'"),
        ({"bos_token_id": 50256}, "bos/eos 50256 is GPT2Config's default and no id of this voc"),
    ],
)
def test_what_may_surprise_is_noted(config, note, tmp_path) -> None:
    saved(tmp_path / "model", config=config)
    found = notes_of(tmp_path / "model")
    assert (note in found) if note else (found == "")


# --- refusals


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"add_cross_attention": True}, "add_cross_attention=True asks for cross attention"),
        ({"scale_attn_by_inverse_layer_idx": True}, "attention scaled by the inverse layer index"),
        ({"scale_attn_weights": False}, r"attention without the 1/sqrt\(head_dim\) scale"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "GPT2ForSequenceClassification"),
        ({"architectures": ["GPT2ForTokenClassification"]}, "save the language model alone"),
        ({"architectures": ["GPT2DoubleHeadsModel"]}, "names GPT2DoubleHeadsModel"),
        ({"architectures": ["GPT2ForQuestionAnswering"]}, "names GPT2ForQuestionAnswering"),
        *[
            ({"activation_function": name}, f'activation_function="{name}" is not known.*known: ')
            for name in ("gelu_10", "mish", "relu2", "leaky_relu", "linear", "gelu_now")
        ],
    ],
)
def test_configs_of_other_functions_are_refused_by_name(config, message, tmp_path) -> None:
    saved(tmp_path / "model", config=config)
    with pytest.raises(ConfigError, match=message) as caught:
        tinygpt.load(tmp_path / "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        ("GPT2ForSequenceClassification", "'score.weight' belongs to a classification head"),
        ("GPT2ForTokenClassification", "belongs to a token classification head"),
        ("GPT2DoubleHeadsModel", "belongs to a multiple-choice head"),
        ("GPT2ForQuestionAnswering", "belongs to a question-answering head"),
    ],
)
def test_heads_that_transformers_saves_are_refused_by_name(cls, message, tmp_path) -> None:
    import transformers

    settings = SIZES | IDS | {"num_labels": 3, "pad_token_id": 0}
    model = getattr(transformers, cls)(transformers.GPT2Config(**settings))
    model.save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path, P)
    with pytest.raises(ConfigError, match=f"architectures names {cls}"):
        tinygpt.load(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del data["architectures"]  # as in old files: then the tensors tell
    (tmp_path / "config.json").write_text(json.dumps(data), "utf-8")
    with pytest.raises(CheckpointError, match=f"{message}.*save the GPT2LMHeadModel alone"):
        tinygpt.load(tmp_path)


def test_cross_attention_is_refused_by_its_tensors(tmp_path) -> None:
    theirs(add_cross_attention=True).save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path, P)
    data = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(data | {"add_cross_attention": False}))
    with pytest.raises(CheckpointError, match="belongs to cross attention to an encoder"):
        tinygpt.load(tmp_path)


def test_a_config_twice_wrapped_in_text_is_refused(tmp_path) -> None:
    saved(tmp_path / "model", file=lambda data: json.dumps(json.dumps(data)))
    with pytest.raises(CheckpointError, match="expected a JSON object, got str"):
        tinygpt.load(tmp_path / "model")


def test_square_matrices_are_turned_too(tmp_path) -> None:
    """attn.c_proj is square: only logits show whether it was turned."""
    wrong = saved(
        tmp_path / "model",
        change=lambda s: {k: v.T if "attn.c_proj.weight" in k else v for k, v in s.items()},
    )
    ids = torch.arange(P)[None]
    lm = tinygpt.load(tmp_path / "model")
    with torch.no_grad():
        expected = wrong(ids)
        assert (lm.model(ids) - expected).abs().max() > TOLERANCE * expected.std()


def test_every_gelu_of_transformers_is_computed_or_refused_by_name() -> None:
    from transformers.activations import ACT2CLS

    refused = {"gelu_10"}
    assert {name for name in ACT2CLS if "gelu" in name} - refused <= set(ACTIVATIONS)
    assert set(ACTIVATIONS) <= set(ACT2CLS)
