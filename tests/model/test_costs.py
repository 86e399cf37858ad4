"""costs.py adds up from the config alone; here each figure meets the model that torch builds."""

import json
from collections.abc import Iterable
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import OPTIMIZERS, OptimConfig
from tinygpt.errors import ConfigError
from tinygpt.model import costs as acc
from tinygpt.model.gpt import GPT, KVCache
from tinygpt.training.cross_entropy import summed_cross_entropy
from tinygpt.training.optimizer import Optimizer

SMALL = ModelConfig(
    vocab_size=65,
    n_positions=40,
    n_embd=24,
    n_layer=2,
    n_head=3,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
)
CONFIGS = {
    "small": SMALL,
    "tinygpt": PRESETS["tinygpt"],
    "distilgpt2 narrowed": replace(PRESETS["distilgpt2"], n_embd=36, n_positions=64),
    "untied": replace(SMALL, tie_word_embeddings=False),
    "n_inner": replace(SMALL, n_inner=50),
    "one layer, one head": replace(SMALL, n_layer=1, n_head=1, vocab_size=7),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def n_bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def loss_of(model: GPT, batch_size: int, block_size: int) -> torch.Tensor:
    ids = torch.randint(model.config.vocab_size, (batch_size, block_size))
    targets = torch.randint(model.config.vocab_size, (batch_size, block_size))
    hidden = model.hidden(ids).flatten(0, 1)
    return summed_cross_entropy(hidden, model.lm_head.weight, targets.flatten())


def saved_for_backward(model: GPT, batch_size: int, block_size: int) -> int:
    """Bytes of the distinct storages that autograd keeps, the model's own excepted."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    alive = []  # a freed address could be given out twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive.append(tensor)
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive.append(loss_of(model, batch_size, block_size))
    return sum(kept.values())


@each_config
def test_parameters_equal_the_built_model(config):
    model = GPT(config)
    body = model.transformer
    parts = acc.parameters(config)

    def count(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    assert acc.n_params(config) == sum(p.numel() for p in model.parameters())
    assert parts == {
        "wte": count(body.wte),
        "wpe": count(body.wpe),
        "attention": count(*(block.attn for block in body.h)),
        "mlp": count(*(block.mlp for block in body.h)),
        "layer_norm": count(body.ln_f, *(m for b in body.h for m in (b.ln_1, b.ln_2))),
        "lm_head": 0 if config.tie_word_embeddings else count(model.lm_head),
    }
    assert acc.n_params_non_embedding(config) == count(body.h, body.ln_f)


@pytest.mark.parametrize("change", [{"vocab_size": 99}, {"n_positions": 99}])
def test_non_embedding_parameters_know_no_vocabulary_and_no_context(change):
    for config in (SMALL, CONFIGS["untied"]):
        changed = replace(config, **change)
        assert acc.n_params(changed) != acc.n_params(config)
        assert acc.n_params_non_embedding(changed) == acc.n_params_non_embedding(config)


@each_config
def test_flops_equal_torchs_counter_over_a_full_window(config):
    model, n = GPT(config).eval(), config.n_positions
    # torch's counter knows no CPU sdpa kernel, so it counts the plain one: every score, no discount
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(2, n, dtype=torch.long))
    assert 2 * sum(acc.forward_flops(config, n).values()) == counter.get_total_flops()
    assert acc.forward_flops(config, n) == acc.forward_flops(config, n, n)


def test_flops_by_component_equal_torchs_counter():
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, depth=9) as counter:
        GPT(SMALL)(torch.zeros(1, 40, dtype=torch.long))
    measured = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}

    def of(suffix: str) -> int:
        return sum(n for name, n in measured.items() if name.endswith(suffix))

    parts = acc.forward_flops(SMALL, 40)
    assert parts["lm_head"] == of(".lm_head")
    assert parts["mlp"] == of(".mlp")
    assert parts["attention"] == of(".attn.c_attn") + of(".attn.c_proj")
    assert parts["attention"] + parts["attention_scores"] == of(".attn")


def test_flops_of_a_decode_step_equal_torchs_counter():
    model, cache = GPT(SMALL).eval(), KVCache(SMALL)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, 20, dtype=torch.long), cache)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 1, dtype=torch.long), cache)
    assert acc.flops_per_token(SMALL, 21) == counter.get_total_flops()


def test_training_flops_are_three_forwards():
    model = GPT(SMALL)

    def adds_in_place(_, a, b, out_shape):  # torch counts addmm, but not where it adds in place
        return 2 * a[0] * a[1] * b[1]

    counted = {torch.ops.aten.addmm_: adds_in_place}
    counter = FlopCounterMode(display=False, custom_mapping=counted)
    with sdpa_kernel(SDPBackend.MATH), counter:
        loss_of(model, 3, 32).backward()
    result = acc.account(SMALL, batch_size=3, block_size=32)
    assert result.training_flops_per_step == counter.get_total_flops()


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_kv_bytes_equal_the_real_cache(dtype, width):
    cache = KVCache(SMALL, n_slots=3, dtype=dtype)
    per_token = acc.kv_cache_bytes_per_token(SMALL, width)
    assert per_token * SMALL.n_positions * 3 == n_bytes(cache.keys) + n_bytes(cache.values)


@each_config
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_memory_equals_gradients_and_the_optimizers_state(config, name):
    model = GPT(config)
    optimizer = Optimizer(model, OptimConfig(optimizer=name))
    loss_of(model, 1, 8).backward()
    memory = acc.training_memory(config, 1, 8, name)
    assert list(memory) == ["weights", "gradients", "optimizer", "activations"]
    assert memory["weights"] == n_bytes(model.parameters())
    assert memory["gradients"] == n_bytes(p.grad for p in model.parameters())
    assert memory["optimizer"] == n_bytes(optimizer.state().values())


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"n_layer": 3, "n_head": 1, "n_inner": 50},
        {"tie_word_embeddings": False},
        {"embd_pdrop": 0.1},
        {"resid_pdrop": 0.1},
        {"attn_pdrop": 0.1},
        {"attn_pdrop": 0.1, "n_head": 1},
        {"embd_pdrop": 0.1, "resid_pdrop": 0.2, "attn_pdrop": 0.3},
        *({"activation_function": name} for name in ("gelu", "relu", "silu", "tanh")),
    ],
    ids=str,
)
@pytest.mark.parametrize(("batch_size", "block_size"), [(5, 32), (1, 40)])
def test_activations_equal_what_autograd_saves(change, batch_size, block_size):
    config = replace(SMALL, **change)
    parts = acc.activations(config, batch_size, block_size)
    assert sum(parts.values()) == saved_for_backward(GPT(config), batch_size, block_size)
    assert acc.training_memory(config, batch_size, block_size)["activations"] == sum(parts.values())


def test_activations_equal_what_autograd_saves_for_tinygpt():
    model = GPT(PRESETS["tinygpt"])
    parts = acc.activations(PRESETS["tinygpt"], 4, 128)
    assert sum(parts.values()) == saved_for_backward(model, 4, 128)


def test_context_in_bytes_of_text():
    assert acc.context_bytes(PRESETS["tinygpt"], 1.0) == 128
    assert acc.context_bytes(PRESETS["distilgpt2"], 3.5) == 3584


def test_account_gathers_it_all():
    config = PRESETS["tinygpt"]
    result = acc.account(config, batch_size=4, block_size=64)
    assert result.n_params == sum(result.n_params_by_component.values()) == 818048
    assert result.weights_bytes == 4 * 818048
    assert result.flops_per_token == sum(result.flops_per_token_by_component.values())
    assert result.flops_per_token == acc.flops_per_token(config, 128)
    assert result.kv_cache_bytes == 128 * acc.kv_cache_bytes_per_token(config)
    memory = acc.training_memory(config, 4, 64)
    assert result.training_memory_bytes_by_component == memory
    assert result.training_memory_bytes == sum(memory.values())
    assert result.activation_bytes_by_component == acc.activations(config, 4, 64)
    assert json.loads(json.dumps(result.to_dict()))["block_size"] == 64
    assert acc.Account(**result.to_dict()) == result
    with pytest.raises(FrozenInstanceError):
        result.n_params = 1


def test_account_takes_the_full_context_unless_told():
    result = acc.account(SMALL)
    assert (result.batch_size, result.block_size, result.n_positions) == (12, 40, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is not allowed: at least 1"),
        ({"block_size": 0}, "block_size=0 is not allowed: 1 to n_positions (40)"),
        ({"block_size": 41}, "block_size=41 is not allowed: 1 to n_positions (40)"),
    ],
)
def test_impossible_batches_are_refused(settings, message):
    with pytest.raises(ConfigError) as refused:
        acc.account(SMALL, **settings)
    assert str(refused.value) == message


def test_exports_are_exact_and_sorted():
    public = {n for n, v in vars(acc).items() if getattr(v, "__module__", "") == acc.__name__}
    assert acc.__all__ == sorted(acc.__all__)
    assert set(acc.__all__) == {name for name in public if not name.startswith("_")}
