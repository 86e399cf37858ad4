"""What is counted on shapes is what the formulas say, where there are formulas."""

import pytest
import torch
from tests.inference.transformers_backend.foreign import SIZES
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError
from tinygpt.inference.transformers_backend.costs import blocks, count
from tinygpt.model import costs


def shapes(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt2_counted_is_a_gpt2_computed(tiny_config: ModelConfig, tied: bool) -> None:
    values = tiny_config.to_dict() | {"tie_word_embeddings": tied}
    ours = ModelConfig.from_dict(values)
    found, known = count(shapes(GPT2Config.from_dict(values)), 16), costs.account(ours)
    assert found.n_params_by_component == known.n_params_by_component | {"other": 0}
    assert found.flops_per_token == known.flops_per_token
    for name in ("n_params", "n_params_non_embedding", "weights_bytes", "n_positions"):
        assert getattr(found, name) == getattr(known, name)
    assert found.kv_cache_bytes_per_token == known.kv_cache_bytes_per_token
    assert found.kv_cache_bytes == known.kv_cache_bytes


def test_a_llama_by_hand() -> None:
    config = AutoConfig.for_model("llama", vocab_size=100, num_key_value_heads=2, **SIZES)
    module = shapes(config)
    found = count(module, 48)
    c, f, v, n_layer, kv = 32, 48, 100, 2, 16
    attention, mlp = n_layer * (2 * c * c + 2 * c * kv), n_layer * 3 * c * f
    assert found.n_params_by_component == {
        "wte": v * c,
        "wpe": 0,
        "attention": attention,
        "mlp": mlp,
        "layer_norm": (2 * n_layer + 1) * c,
        "lm_head": v * c,
        "other": 0,
    }
    assert found.flops_per_token == 2 * (attention + mlp + v * c) + n_layer * 4 * 48 * c
    assert found.kv_cache_bytes_per_token == n_layer * 2 * kv * 4
    assert blocks(module, config) == (
        "2 x LlamaDecoderLayer (LlamaAttention, LlamaMLP, LlamaRMSNorm), silu"
    )


def test_a_window_that_slides_keeps_less_than_every_token() -> None:
    config = AutoConfig.for_model(
        "gemma2", vocab_size=100, num_key_value_heads=2, head_dim=8, sliding_window=16, **SIZES
    )
    found = count(shapes(config), 48)
    assert found.kv_cache_bytes is not None
    assert found.kv_cache_bytes < 48 * found.kv_cache_bytes_per_token


def test_what_torch_does_not_see_through_is_not_known() -> None:
    config = AutoConfig.for_model(
        "mixtral", vocab_size=100, num_key_value_heads=2, num_local_experts=4, **SIZES
    )
    found = count(shapes(config), 48)
    assert found.flops_per_token is None
    assert found.kv_cache_bytes_per_token == 2 * 2 * 16 * 4
    assert found.n_params_by_component["mlp"] > 2 * 4 * 3 * 32 * 48  # the gate comes on top


def test_too_many_parameters_are_refused() -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(2**20, 2**20)
    module.get_input_embeddings = module.get_output_embeddings = lambda: None
    with pytest.raises(ConfigError, match="parameters are too many; tinygpt opens"):
        count(module, 8)
