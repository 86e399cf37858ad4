"""We compute what transformers computes, and open what it and others write, and it opens ours.

The oracle is transformers' own GPT2LMHeadModel with eager attention on scaled-up random weights
(conftest.py says why); the tolerance is 1e-4 of the standard deviation of its logits.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tinygpt.config.model_config import ACTIVATIONS, PRESETS, ModelConfig
from tinygpt.errors import CheckpointError
from tinygpt.formats.weights import read_weights, write_safetensors
from tinygpt.model.gpt import GPT
from tinygpt.model.hf_weights import expected_shapes, from_hf, to_hf

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

Tensors = dict[str, torch.Tensor]

TINY = ModelConfig(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2)
ODD = ModelConfig(vocab_size=37, n_positions=13, n_embd=21, n_layer=3, n_head=3, n_inner=17)
DISTIL = replace(PRESETS["distilgpt2"], n_layer=2)

CONFIGS = {
    "tiny": TINY,
    "n_inner": replace(TINY, n_inner=40),
    "epsilon": replace(TINY, layer_norm_epsilon=1e-2),
    "untied": replace(TINY, tie_word_embeddings=False),
    "one layer, one head": replace(TINY, n_layer=1, n_head=1),
    "odd sizes": ODD,
    "tinygpt": PRESETS["tinygpt"],
    **{name: replace(TINY, activation_function=name) for name in ACTIVATIONS},
}


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """Warnings that transformers logs."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def distance(ours: torch.nn.Module, theirs: "GPT2LMHeadModel", config: ModelConfig) -> float:
    """Largest difference of logits on random ids, in standard deviations of theirs."""
    generator = torch.Generator().manual_seed(1)
    n_tokens = min(config.n_positions, 256)
    idx = torch.randint(config.vocab_size, (2, n_tokens), generator=generator)
    with torch.no_grad():
        expected = theirs(idx).logits
        return float((ours(idx) - expected).abs().max() / expected.std())


def write_ours(folder: Path, model: GPT) -> None:
    """Write a model's weights and config as transformers reads them."""
    tensors = to_hf(model.state_dict(), model.config)
    arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    write_safetensors(folder / "model.safetensors", arrays)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), "utf-8")


class TestParity:
    @pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
    def test_their_folder_gives_their_logits(
        self,
        config: ModelConfig,
        tmp_path: Path,
        make_hf_gpt2: Callable[..., "GPT2LMHeadModel"],
        open_gpt: Callable[..., GPT],
    ) -> None:
        theirs = make_hf_gpt2(config)
        theirs.save_pretrained(tmp_path)
        data = json.loads((tmp_path / "config.json").read_text("utf-8"))
        assert ModelConfig.from_dict(data, strict=False) == config
        ours = open_gpt(config, read_weights(tmp_path))
        assert distance(ours, theirs, config) <= 1e-4

    @pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
    def test_they_open_our_folder_without_complaint(
        self,
        config: ModelConfig,
        tmp_path: Path,
        complaints: list[str],
        make_gpt: Callable[..., GPT],
    ) -> None:
        from transformers import AutoModelForCausalLM

        ours = make_gpt(config)
        write_ours(tmp_path, ours)
        theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
        assert type(theirs).__name__ == "GPT2LMHeadModel"
        problems = {name: keys for name, keys in dict(info).items() if keys}
        assert problems == {}
        assert complaints == []
        assert distance(ours, theirs, config) <= 1e-4

    @pytest.mark.slow
    def test_distilgpt2_shape_both_ways(
        self,
        tmp_path: Path,
        make_hf_gpt2: Callable[..., "GPT2LMHeadModel"],
        open_gpt: Callable[..., GPT],
    ) -> None:
        from transformers import AutoModelForCausalLM

        theirs = make_hf_gpt2(DISTIL)
        theirs.save_pretrained(tmp_path / "theirs")
        ours = open_gpt(DISTIL, read_weights(tmp_path / "theirs"))
        assert distance(ours, theirs, DISTIL) <= 1e-4
        (tmp_path / "ours").mkdir()
        write_ours(tmp_path / "ours", ours)
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
        assert distance(ours, again, DISTIL) <= 1e-4

    @pytest.mark.parametrize(
        "change",
        [
            {"activation_function": "gelu"},
            {"activation_function": "relu"},
            {"layer_norm_epsilon": 1e-3},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("name", ["tiny", "tinygpt"])
    def test_would_fail_for_another_function(
        self,
        name: str,
        change: dict[str, Any],
        make_hf_gpt2: Callable[..., "GPT2LMHeadModel"],
        open_gpt: Callable[..., GPT],
    ) -> None:
        """The weights are wide enough to tell GELU from its tanh form: the trap of small ones."""
        config = CONFIGS[name]
        assert config.activation_function == "gelu_new"
        theirs = make_hf_gpt2(config)
        wrong = open_gpt(replace(config, **change), theirs.state_dict())
        assert distance(wrong, theirs, config) > 2e-4


class TestFromHf:
    """Every layout of tensors that published folders have."""

    @pytest.fixture
    def tensors(self, hf_gpt2: "GPT2LMHeadModel") -> Tensors:
        """What GPT2LMHeadModel.save_pretrained stores: the tied head once."""
        state = hf_gpt2.state_dict()
        return {name: tensor for name, tensor in state.items() if name != "lm_head.weight"}

    @staticmethod
    def mask(dtype: torch.dtype) -> torch.Tensor:
        return torch.ones(16, 16).tril().view(1, 1, 16, 16).to(dtype)

    LAYOUTS: Mapping[str, Callable[[Tensors], Tensors]] = {
        "GPT2LMHeadModel": lambda t: t,
        "bare, as GPT2Model": lambda t: {k.removeprefix("transformer."): v for k, v in t.items()},
        "DataParallel": lambda t: {f"module.{k}": v for k, v in t.items()},
        "torch.compile": lambda t: {f"_orig_mod.{k}": v for k, v in t.items()},
        "both": lambda t: {f"_orig_mod.module.{k}": v for k, v in t.items()},
        "attribute of a module": lambda t: {f"lm.model.{k}": v for k, v in t.items()},
        "head stored too": lambda t: t | {"lm_head.weight": t["transformer.wte.weight"].clone()},
        **{
            f"distilgpt2 with {dtype} masks, prefix {prefix!r}": (
                lambda t, dtype=dtype, prefix=prefix: (
                    {prefix + k.removeprefix("transformer."): v for k, v in t.items()}
                    | {f"{prefix}h.{i}.attn.bias": TestFromHf.mask(dtype) for i in range(2)}
                    | {f"{prefix}h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
                )
            )
            for dtype in (torch.float32, torch.bool, torch.uint8)
            for prefix in ("", "transformer.")
        },
    }

    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
    @pytest.mark.parametrize("kind", ["numpy", "torch"])
    def test_layout(
        self,
        layout: Callable[[Tensors], Tensors],
        kind: str,
        tensors: Tensors,
        hf_gpt2: "GPT2LMHeadModel",
        open_gpt: Callable[..., GPT],
    ) -> None:
        given: dict[str, Any] = layout(tensors)
        if kind == "numpy":
            given = {name: tensor.numpy() for name, tensor in given.items()}
        state = from_hf(given, TINY, "here")
        assert state.keys() == expected_shapes(TINY).keys()
        assert distance(open_gpt(TINY, given), hf_gpt2, TINY) <= 1e-4

    def test_learned_biases_are_not_taken_for_masks(self, tensors: Tensors) -> None:
        state = from_hf(tensors, TINY, "here")
        for name in ("attn.c_attn", "attn.c_proj"):
            key = f"transformer.h.1.{name}.bias"
            assert torch.equal(state[key], tensors[key])

    def test_nothing_is_copied(self, tensors: Tensors) -> None:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        state = from_hf(arrays, TINY, "here")
        assert all(np.shares_memory(state[name], arrays[name]) for name in arrays)
        back = to_hf(state, TINY)
        assert all(np.shares_memory(back[name], arrays[name]) for name in arrays)

    def test_exactly_four_matrices_of_a_block_are_turned(self, tensors: Tensors) -> None:
        state = from_hf(tensors, TINY, "here")
        turned = [k for k in tensors if k.startswith("transformer.h.1") and tensors[k].ndim == 2]
        assert len(turned) == 4
        for name, tensor in tensors.items():
            expected = tensor.T if ".h." in name and tensor.ndim == 2 else tensor
            assert torch.equal(state[name], expected), name

    def test_untied_head_is_kept(self) -> None:
        config = replace(TINY, tie_word_embeddings=False)
        tensors = to_hf(GPT(config).state_dict(), config)
        assert torch.equal(
            from_hf(tensors, config, "here")["lm_head.weight"], tensors["lm_head.weight"]
        )

    @pytest.mark.parametrize("tied", [True, False])
    @pytest.mark.parametrize("sizes", [TINY, ODD], ids=["tiny", "odd"])
    def test_to_hf_and_back(self, tied: bool, sizes: ModelConfig) -> None:
        config = replace(sizes, tie_word_embeddings=tied)
        state = GPT(config).state_dict()
        stored = to_hf(state, config)
        assert ("lm_head.weight" in stored) is not tied
        back = from_hf(stored, config, "here")
        assert back.keys() == stored.keys()
        assert all(torch.equal(back[name], state[name]) for name in back)

    def test_expected_shapes_are_those_of_the_model(self) -> None:
        for config in (TINY, ODD, replace(TINY, n_inner=7)):
            state = GPT(config).state_dict()
            shapes = {k: tuple(v.shape) for k, v in state.items() if k != "lm_head.weight"}
            assert expected_shapes(config) == shapes


class TestRefusals:
    """A tensor that does not belong is named, with the place it came from."""

    @pytest.fixture
    def tensors(self) -> Tensors:
        return to_hf(GPT(TINY).state_dict(), TINY)

    @staticmethod
    def refuse(tensors: Mapping[str, Any], *parts: str, config: ModelConfig = TINY) -> None:
        with pytest.raises(CheckpointError) as caught:
            from_hf(tensors, config, "my/folder")
        message = str(caught.value)
        assert message.startswith("my/folder: ")
        assert all(part in message for part in parts), message

    @pytest.mark.parametrize(
        "name",
        ["wte.weight", "wpe.weight", "h.0.attn.c_attn.bias", "h.1.mlp.c_proj.weight", "ln_f.bias"],
    )
    def test_missing(self, tensors: Tensors, name: str) -> None:
        del tensors[f"transformer.{name}"]
        self.refuse(tensors, "missing", f"'transformer.{name}'")

    def test_missing_layer(self, tensors: Tensors) -> None:
        config = replace(TINY, n_layer=3)
        self.refuse(tensors, "12 tensor(s) missing", "'transformer.h.2.ln_1.weight'", config=config)

    def test_layer_too_many(self, tensors: Tensors) -> None:
        config = replace(TINY, n_layer=1)
        self.refuse(tensors, "12 tensor(s)", "no place", "'transformer.h.1.", config=config)

    @pytest.mark.parametrize(
        "name",
        [
            "score.weight",
            "transformer.h.0.crossattention.c_attn.weight",
            "transformer.h.0.attn.q_proj.weight",
            "lm_head.bias",
            "blocks.0.ln_1.g",
            "wte",
        ],
    )
    def test_unknown(self, tensors: Tensors, name: str) -> None:
        self.refuse(tensors | {name: torch.zeros(3)}, name)

    def test_almost_the_name(self, tensors: Tensors) -> None:
        tensors["transformer.ln_f.bias\n"] = tensors.pop("transformer.ln_f.bias")
        self.refuse(tensors, r"'transformer.ln_f.bias\n'", "not part of a GPT-2")

    def test_twice(self, tensors: Tensors) -> None:
        again = {"module.ln_f.bias": tensors["transformer.ln_f.bias"]}
        self.refuse(tensors | again, "twice", "'module.ln_f.bias'")

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("wte.weight", (51, 32)),
            ("wte.weight", (32, 50)),
            ("wpe.weight", (1024, 32)),
            ("h.0.attn.c_attn.weight", (96, 32)),  # nn.Linear's orientation, not Conv1D's
            ("h.1.mlp.c_fc.weight", (1, 32, 128)),
            ("ln_f.weight", (1, 32)),
            ("h.0.ln_2.bias", ()),
        ],
    )
    def test_wrong_shape(self, tensors: Tensors, name: str, shape: tuple[int, ...]) -> None:
        tensors[f"transformer.{name}"] = torch.zeros(shape)
        self.refuse(tensors, f"'transformer.{name}'", "shape")

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
    def test_weights_that_are_no_floats(self, tensors: Tensors, dtype: torch.dtype) -> None:
        tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(32, 128, dtype=dtype)
        self.refuse(tensors, "'transformer.h.0.mlp.c_fc.weight'", str(dtype), "floats")

    def test_another_head_although_tied(self, tensors: Tensors) -> None:
        head = tensors["transformer.wte.weight"].clone()
        head[49, 31] += 1e-3
        self.refuse(tensors | {"lm_head.weight": head}, "lm_head.weight", "tie_word_embeddings")
        self.refuse(tensors | {"lm_head.weight": head[:-1]}, "lm_head.weight")

    def test_head_of_an_untied_model(self, tensors: Tensors) -> None:
        config = replace(TINY, tie_word_embeddings=False)
        self.refuse(tensors, "lm_head.weight is missing", config=config)
        head = {"lm_head.weight": torch.zeros(32, 50)}
        self.refuse(tensors | head, "'lm_head.weight'", "(32, 50)", "(50, 32)", config=config)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_floats_are_opened_as_they_are_stored(
        self,
        dtype: torch.dtype,
        tmp_path: Path,
        hf_gpt2: "GPT2LMHeadModel",
        open_gpt: Callable[..., GPT],
    ) -> None:
        rounded = hf_gpt2.to(dtype)
        rounded.save_pretrained(tmp_path)
        ours = open_gpt(TINY, read_weights(tmp_path))
        assert ours.lm_head.weight.dtype == torch.float32
        assert distance(ours, rounded.float(), TINY) <= 1e-4
