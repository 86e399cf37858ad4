"""The Transformer itself: causality, its cache, its initial weights, its limits.

That it computes GPT-2 is model/test_hf_weights.py's subject.
"""

import ast
import functools
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygpt
from tinygpt.config.model_config import ACTIVATIONS, PRESETS, ModelConfig
from tinygpt.errors import ContextError
from tinygpt.model.gpt import GPT, MLP, Attention, KVCache

SOURCES = Path(tinygpt.__file__).parent


def ids(config: ModelConfig, n_rows: int, n_tokens: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (n_rows, n_tokens), generator=generator)


def assert_same_logits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-4 * expected.std()


class TestShape:
    def test_forward_and_hidden_have_the_documented_shapes(self, tiny_model: GPT) -> None:
        idx = ids(tiny_model.config, 3, 5)
        logits, hidden = tiny_model(idx), tiny_model.hidden(idx)
        assert (logits.shape, logits.dtype) == ((3, 5, 50), torch.float32)
        assert hidden.shape == (3, 5, 32)
        assert torch.equal(tiny_model.lm_head(hidden), logits)

    def test_half_precision_models_still_give_float32_logits(self, tiny_model: GPT) -> None:
        idx = ids(tiny_model.config, 1, 5)
        expected = tiny_model(idx)
        actual = tiny_model.to(torch.bfloat16)(idx)
        assert actual.dtype == torch.float32
        assert 0 < (actual - expected).abs().mean() < 0.1 * expected.std()

    @pytest.mark.parametrize(("name", "count"), [("tinygpt", 818_048), ("distilgpt2", 81_912_576)])
    def test_presets_have_the_published_number_of_parameters(self, name: str, count: int) -> None:
        with torch.device("meta"):
            model = GPT(PRESETS[name])
        assert sum(parameter.numel() for parameter in model.parameters()) == count

    def test_rows_of_a_batch_do_not_see_each_other(self, tiny_model: GPT) -> None:
        idx = ids(tiny_model.config, 3, 7)
        assert_same_logits(tiny_model(idx), torch.cat([tiny_model(row[None]) for row in idx]))

    def test_output_matrix_is_the_embedding_only_when_tied(self, tiny_config: ModelConfig) -> None:
        tied, untied = GPT(tiny_config), GPT(replace(tiny_config, tie_word_embeddings=False))
        assert tied.lm_head.weight is tied.transformer.wte.weight
        assert untied.lm_head.weight is not untied.transformer.wte.weight
        assert not torch.equal(untied.lm_head.weight, untied.transformer.wte.weight)

    def test_every_activation_of_the_config_is_computed(
        self, tiny_config: ModelConfig, make_gpt: Callable[..., GPT]
    ) -> None:
        idx = ids(tiny_config, 1, 4)
        outputs = {
            name: make_gpt(replace(tiny_config, activation_function=name))(idx)
            for name in ACTIVATIONS
        }
        same = {
            frozenset(b for b in outputs if torch.equal(outputs[a], outputs[b])) for a in outputs
        }
        assert same == {
            frozenset(ACTIVATIONS[:5]),  # the tanh form of GELU
            frozenset(("gelu", "gelu_python")),
            frozenset(("silu", "swish")),
            *(frozenset((alone,)) for alone in ("quick_gelu", "relu", "tanh")),
        }


class TestCausality:
    @pytest.mark.parametrize("t", [0, 3, 8])
    def test_loss_at_t_has_no_gradient_at_later_positions(self, tiny_model: GPT, t: int) -> None:
        idx = ids(tiny_model.config, 1, 9)
        embedded = []
        tiny_model.transformer.drop.register_forward_hook(
            lambda _module, _inputs, output: (output.retain_grad(), embedded.append(output))[0]
        )
        logits = tiny_model(idx)
        F.cross_entropy(logits[0, t], torch.tensor(7)).backward()
        gradient = embedded[0].grad[0].abs().sum(dim=1)  # (T,)
        assert (gradient[t + 1 :] == 0).all()
        assert (gradient[: t + 1] > 0).all()

    def test_order_of_the_past_matters(self, tiny_model: GPT) -> None:
        idx = torch.tensor([[1, 2, 3], [2, 1, 3]])
        first, second = tiny_model(idx)[:, -1]
        assert (first - second).abs().max() > 0.01


class TestCache:
    @settings(deadline=None, max_examples=30)
    @given(cuts=st.sets(st.integers(1, 15)))
    def test_any_split_gives_the_uncached_logits(self, cuts: set[int]) -> None:
        model = self.model()
        idx = ids(model.config, 2, 16)
        edges = [0, *sorted(cuts), 16]
        cache = KVCache(model.config, n_slots=2)
        with torch.no_grad():
            parts = [model(idx[:, a:b], cache, slots=[0, 1]) for a, b in itertools.pairwise(edges)]
            assert_same_logits(torch.cat(parts, dim=1), model(idx))
        assert cache.lengths == [16, 16]

    def test_token_by_token(self, tiny_model: GPT) -> None:
        idx, cache = ids(tiny_model.config, 1, 16), KVCache(tiny_model.config)
        with torch.no_grad():
            parts = [tiny_model(idx[:, t : t + 1], cache) for t in range(16)]
            assert_same_logits(torch.cat(parts, dim=1), tiny_model(idx))

    @pytest.mark.parametrize("slots", [[0, 1, 2], [3, 1], [0, 2, 3], [1, 0, 2]])
    @pytest.mark.parametrize("n_new", [1, 3])
    def test_slots_of_uneven_length_in_any_order(
        self, tiny_model: GPT, slots: list[int], n_new: int
    ) -> None:
        config, cache = tiny_model.config, KVCache(tiny_model.config, n_slots=4)
        rows = {slot: ids(config, 1, 2 + 3 * slot + n_new, seed=slot) for slot in slots}
        with torch.no_grad():
            for slot, row in rows.items():
                tiny_model(row[:, :-n_new], cache, slots=[slot])
            new = torch.cat([rows[slot][:, -n_new:] for slot in slots])
            actual = tiny_model(new, cache, slots=slots)
            for row, slot in zip(actual, slots, strict=True):
                assert_same_logits(row, tiny_model(rows[slot])[0, -n_new:])
        assert cache.lengths == [2 + 3 * slot + n_new if slot in slots else 0 for slot in range(4)]

    def test_shrunk_length_forgets_the_tail(self, tiny_model: GPT) -> None:
        idx, cache = ids(tiny_model.config, 1, 8), KVCache(tiny_model.config)
        with torch.no_grad():
            tiny_model(idx, cache)
            cache.lengths[0] = 3
            actual = tiny_model(idx[:, 5:], cache)
            assert_same_logits(actual, tiny_model(torch.cat([idx[:, :3], idx[:, 5:]], 1))[:, 3:])

    def test_one_buffer_pair_per_layer(self, tiny_config: ModelConfig) -> None:
        cache = KVCache(tiny_config, n_slots=3, dtype=torch.bfloat16)
        assert len(cache.keys) == len(cache.values) == 2
        buffers = [*cache.keys, *cache.values]
        assert {(b.shape, b.dtype) for b in buffers} == {((3, 2, 16, 16), torch.bfloat16)}
        assert len({b.data_ptr() for b in buffers}) == 4

    @staticmethod
    @functools.cache
    def model() -> GPT:  # hypothesis does not take function-scoped fixtures
        torch.manual_seed(0)
        config = ModelConfig(
            vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2, initializer_range=0.5
        )
        return GPT(config).eval()


class TestContext:
    def test_forward_refuses_more_than_n_positions(self, tiny_model: GPT) -> None:
        tiny_model(ids(tiny_model.config, 1, 16))
        with pytest.raises(ContextError, match=r"17 tokens .* n_positions=16"):
            tiny_model(ids(tiny_model.config, 1, 17))

    def test_cached_forward_refuses_and_leaves_the_cache_alone(self, tiny_model: GPT) -> None:
        config, cache = tiny_model.config, KVCache(tiny_model.config, n_slots=2)
        idx = ids(config, 2, 16)
        with torch.no_grad():
            tiny_model(idx[:1, :4], cache, slots=[0])
            tiny_model(idx[1:, :15], cache, slots=[1])
            with pytest.raises(ContextError, match="17 tokens"):
                tiny_model(idx[:, :2], cache, slots=[0, 1])
            assert cache.lengths == [4, 15]
            actual = tiny_model(idx[:1, 4:8], cache, slots=[0])
            assert_same_logits(actual, tiny_model(idx[:1, :8])[:, 4:])


class TestInitialWeights:
    def test_follow_the_paper(self) -> None:
        config = replace(PRESETS["tinygpt"], initializer_range=0.05)
        model = GPT(config, torch.Generator().manual_seed(0))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                assert (parameter == 0).all(), name
            elif "ln_" in name:
                assert (parameter == 1).all(), name
            else:
                residual = name.endswith("c_proj.weight")
                std = 0.05 / math.sqrt(2 * 4) if residual else 0.05
                assert parameter.std().item() == pytest.approx(std, rel=0.05), name
                assert abs(parameter.mean().item()) < 0.1 * std, name

    def test_come_from_the_generator_alone(self, tiny_config: ModelConfig) -> None:
        before = torch.get_rng_state()
        first, again, other = (
            GPT(tiny_config, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["transformer.wpe.weight"], other["transformer.wpe.weight"])

    def test_without_a_generator_come_from_the_global_one(self, tiny_config: ModelConfig) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            state = GPT(tiny_config).state_dict()
        expected = GPT(tiny_config, torch.Generator().manual_seed(1)).state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in state)

    def test_meta_device_draws_and_allocates_nothing(self, tiny_config: ModelConfig) -> None:
        generator = torch.Generator().manual_seed(1)
        before = generator.get_state()
        with torch.device("meta"):
            model = GPT(tiny_config, generator)
        assert all(parameter.is_meta for parameter in model.parameters())
        assert torch.equal(generator.get_state(), before)

    @pytest.mark.parametrize("tied", [True, False])
    def test_first_loss_is_that_of_guessing(self, tied: bool) -> None:
        config = replace(PRESETS["tinygpt"], tie_word_embeddings=tied)
        model = GPT(config, torch.Generator().manual_seed(0)).eval()
        idx = ids(config, 4, 65)
        with torch.no_grad():
            loss = F.cross_entropy(model(idx[:, :-1]).flatten(0, 1), idx[:, 1:].flatten()).item()
        assert loss == pytest.approx(math.log(65), rel=0.1)


class TestDropout:
    @pytest.mark.parametrize("name", ["resid_pdrop", "embd_pdrop", "attn_pdrop"])
    def test_each_acts_while_training_only(
        self, tiny_config: ModelConfig, make_gpt: Callable[..., GPT], name: str
    ) -> None:
        idx = ids(tiny_config, 1, 6)
        without, model = make_gpt(tiny_config), make_gpt(replace(tiny_config, **{name: 0.5}))
        assert torch.equal(model(idx), without(idx))
        model.train()
        without.train()
        assert torch.equal(without(idx), without(idx))
        assert not torch.equal(model(idx), without(idx))
        assert not torch.equal(model(idx), model(idx))

    def test_acts_on_the_output_of_attention_and_of_mlp(self, tiny_config: ModelConfig) -> None:
        config, x = replace(tiny_config, resid_pdrop=0.5), torch.randn(1, 16, 32)
        for part in (Attention(config, 0), MLP(config)):
            kept, dropped = part.eval()(x), part.train()(x)
            assert 0.3 < (dropped == 0).float().mean() < 0.7
            survivors = dropped != 0
            torch.testing.assert_close(dropped[survivors], 2 * kept[survivors])


class TestSource:
    def test_fits_in_300_lines(self) -> None:
        assert len((SOURCES / "model" / "gpt.py").read_text("utf-8").splitlines()) <= 300

    @pytest.mark.parametrize("name", ["model.gpt", "model.hf_weights"])
    def test_knows_nothing_of_training_settings(self, name: str) -> None:
        reached, queue = set(), [name]
        while queue:
            module = queue.pop()
            if module not in reached:
                reached.add(module)
                queue += self.imports(module)
        assert "config.model_config" in reached  # the walk works
        assert "config.train_config" not in reached

    @staticmethod
    def path(module: str) -> Path:
        return SOURCES / f"{module.replace('.', '/')}.py"

    def imports(self, module: str) -> list[str]:
        tree = ast.parse(self.path(module).read_text("utf-8"))
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        found = [node.module.removeprefix("tinygpt.") for node in froms if node.module]
        found += [alias.name for node in froms if node.module == "tinygpt" for alias in node.names]
        return [name for name in found if self.path(name).exists()]


def test_a_model_for_weights_from_a_file_loads_no_compiler() -> None:
    """It would take seconds at each start."""
    code = (
        "import sys, torch, tinygpt.model.gpt, tinygpt.config.model_config as sizes\n"
        "with torch.device('meta'): tinygpt.model.gpt.GPT(sizes.PRESETS['tinygpt'])\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
