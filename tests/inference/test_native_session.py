"""The compiled engine gives what transformers and sampling.py give, same bits however called."""

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.errors import CheckpointError, ConfigError, ContextError
from tinygpt.inference.native_library import ISAS, unavailable
from tinygpt.inference.native_session import NativeSession
from tinygpt.inference.packed_weights import PRECISIONS, PackedModel, open_packed
from tinygpt.inference.sampling import generator, next_id
from tinygpt.model.hf_weights import expected_shapes, turned
from tinygpt.model.session import DecodeSession

if TYPE_CHECKING:
    from tinygpt.model.gpt import GPT

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

Arrays = dict[str, np.ndarray[Any, Any]]
SHAPES = {
    "tinygpt": replace(PRESETS["tinygpt"], n_positions=256),
    "one head": ModelConfig(
        vocab_size=1201,
        n_positions=230,
        n_embd=60,
        n_layer=2,
        n_head=1,
        n_inner=101,
        activation_function="gelu",
    ),
    "untied": ModelConfig(
        vocab_size=1000,
        n_positions=230,
        n_embd=90,
        n_layer=2,
        n_head=2,
        n_inner=77,
        activation_function="silu",
        tie_word_embeddings=False,
        layer_norm_epsilon=1e-3,
    ),
    "three wide": ModelConfig(
        vocab_size=7, n_positions=230, n_embd=9, n_layer=1, n_head=3, activation_function="relu"
    ),
    "odd head": ModelConfig(vocab_size=131, n_positions=230, n_embd=111, n_layer=2, n_head=3),
}


def tensors(config: ModelConfig, seed: int = 0) -> Arrays:
    """Weights in HF's names and orientation, drawn as conftest's scaled-up ones are."""
    rng = np.random.default_rng(seed)
    shapes = expected_shapes(config)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = shapes["transformer.wte.weight"]

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        values = 0.5 * rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            return values * np.float32((32 / config.n_embd) ** 0.5)
        return values + np.float32("ln_" in name and name.endswith("weight"))

    return turned({name: draw(name, shape) for name, shape in shapes.items()})


def packed(config: ModelConfig, precision: str = "exact", seed: int = 0) -> PackedModel:
    return open_packed(tensors(config, seed), config, precision=precision, source=None)


@functools.cache
def small(precision: str = "exact") -> PackedModel:  # hypothesis takes no function-scoped fixtures
    config = ModelConfig(vocab_size=41, n_positions=21, n_embd=24, n_layer=2, n_head=2)
    return packed(config, precision)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TINYGPT_NATIVE_ISA", request.param)
    if why := unavailable():
        pytest.skip(why)
    return str(request.param)


@functools.cache
def reference(name: str) -> tuple["GPT", Arrays]:
    """Return model/gpt.py's model of a shape, and its tensors."""
    import torch

    from tinygpt.model.gpt import GPT
    from tinygpt.model.hf_weights import from_hf

    config = SHAPES[name]
    arrays = tensors(config)
    model = GPT(config)
    state = {k: torch.as_tensor(np.array(a)) for k, a in from_hf(arrays, config, "test").items()}
    model.load_state_dict(state, strict=False)
    return model.eval(), arrays


@functools.cache
def greedy_of_transformers(name: str, n: int) -> tuple[list[int], list[int]]:
    """Return a prompt and the n ids with which transformers' generate continues it."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = SHAPES[name]
    model = GPT2LMHeadModel(GPT2Config.from_dict(config.to_dict())).eval()
    state = {k: torch.as_tensor(np.array(a)) for k, a in reference(name)[1].items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    prompt = np.random.default_rng(5).integers(0, config.vocab_size, 20).tolist()
    ids = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, 20, dtype=torch.long),
        max_new_tokens=n,
        do_sample=False,
        pad_token_id=0,
    )
    return prompt, ids[0, 20:].tolist()


def check_greedy(name: str, threads: Sequence[int]) -> None:
    prompt, expected = greedy_of_transformers(name, 200)
    assert len(expected) == 200
    model = open_packed(reference(name)[1], SHAPES[name], precision="exact", source=None)
    for n in threads:
        session = NativeSession(model, threads=n)
        session.prefill(0, prompt)
        assert session.decode([0], 200, GenerationConfig(temperature=0.0)) == [expected], n
        session.close()


class TestTransformers:
    def test_greedy_ids_of_tinygpt(self, isa: str) -> None:
        check_greedy("tinygpt", range(1, 5))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [name for name in SHAPES if name != "tinygpt"])
    def test_greedy_ids_of_odd_shapes(self, isa: str, name: str) -> None:
        check_greedy(name, range(1, 5))

    @pytest.mark.slow
    def test_greedy_ids_of_distilgpt2s_shape(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(SHAPES, "distilgpt2", PRESETS["distilgpt2"])
        try:
            for isa in ISAS:
                monkeypatch.setenv("TINYGPT_NATIVE_ISA", isa)
                if not unavailable():
                    check_greedy("distilgpt2", [2])
        finally:
            reference.cache_clear()  # 330 MB

    @pytest.mark.parametrize("name", SHAPES)
    def test_logits(self, isa: str, name: str) -> None:
        import torch

        model, arrays = reference(name)
        config = SHAPES[name]
        ids = np.random.default_rng(1).integers(0, config.vocab_size, config.n_positions)
        with torch.no_grad():
            expected = model(torch.tensor(ids)[None])[0].numpy()
        native = open_packed(arrays, config, precision="exact", source=None)
        session = NativeSession(native, threads=1)
        rows = session.verify(0, ids)
        assert rows.dtype == np.float32
        assert np.abs(rows - expected).max() <= 1e-4 * expected.std()
        assert session.isa == isa

    @pytest.mark.parametrize(
        "activation", ["gelu_new", "gelu", "quick_gelu", "relu", "silu", "tanh"]
    )
    def test_every_activation_is_its_own(self, isa: str, activation: str) -> None:
        import torch

        from tinygpt.model.gpt import _ACTIVATIONS

        config = ModelConfig(
            vocab_size=9,
            n_positions=9,
            n_embd=16,
            n_layer=1,
            n_head=1,
            activation_function=activation,
        )
        arrays = tensors(config)
        with torch.device("meta"):
            from tinygpt.model.gpt import GPT

            model = GPT(config)
        from tinygpt.model.hf_weights import from_hf

        state = {k: torch.tensor(np.array(a)) for k, a in from_hf(arrays, config, "test").items()}
        model.load_state_dict(state, strict=False, assign=True)
        model.tie_weights()
        assert model.transformer.h[0].mlp.activation is _ACTIVATIONS[activation]
        with torch.no_grad():
            expected = model.eval()(torch.arange(9)[None])[0].numpy()
        rows = NativeSession(
            open_packed(arrays, config, precision="exact", source=None), threads=1
        ).verify(0, range(9))
        assert np.abs(rows - expected).max() <= 1e-5 * expected.std()


class TestSameBits:
    @hypothesis_settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_any_history_of_calls(self, data: st.DataObject) -> None:
        """Prefill, verify, step, truncate, free over slots of uneven length, on any threads."""
        precision = data.draw(st.sampled_from(PRECISIONS))
        model, n = small(precision), small().config.n_positions
        session: DecodeSession = NativeSession(model, 3, threads=data.draw(st.integers(1, 3)))
        alone = NativeSession(model, threads=1)
        held: list[list[int]] = [[], [], []]
        one_id, any_slot = st.integers(0, 40), st.integers(0, 2)
        for _ in range(data.draw(st.integers(1, 10))):
            call = data.draw(st.sampled_from(["prefill", "verify", "step", "truncate", "free"]))
            slot = data.draw(any_slot)
            room, touched = n - len(held[slot]), [slot]
            if call in ("prefill", "verify") and room:
                new = data.draw(st.lists(one_id, min_size=1, max_size=room))
                held[slot] += new
                if call == "prefill":
                    session.prefill(slot, new)
                else:
                    alone.free(0)
                    np.testing.assert_array_equal(
                        session.verify(slot, new), alone.verify(0, held[slot])[-len(new) :]
                    )
            elif call == "step" and (free := [s for s in range(3) if len(held[s]) < n]):
                touched = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
                new = [data.draw(one_id) for _ in touched]
                session.step(touched, new)
                for s, i in zip(touched, new, strict=True):
                    held[s].append(i)
            elif call == "truncate":
                keep = data.draw(st.integers(0, len(held[slot])))
                session.truncate(slot, keep)
                held[slot], touched = held[slot][:keep], []
            else:
                session.free(slot)
                held[slot], touched = [], []
            for s in touched:
                alone.free(0)
                expected = alone.verify(0, held[s])[-1]
                np.testing.assert_array_equal(session.logits(s), expected)
                assert session.argmax([s]) == [int(expected.argmax())]

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_a_batch_equals_its_members(self, isa: str, precision: str) -> None:
        """More slots than share a pass over the head, with prompts of uneven length."""
        config = replace(SHAPES["one head"], vocab_size=300)
        model, rng = packed(config, precision), np.random.default_rng(2)
        prompts = [rng.integers(0, 300, rng.integers(1, 40)).tolist() for _ in range(19)]
        session, alone = NativeSession(model, 19, threads=2), NativeSession(model, threads=1)
        for slot, prompt in enumerate(prompts):
            session.prefill(slot, prompt)
        new = session.argmax(range(19))
        session.step(range(19), new)
        for slot, prompt in enumerate(prompts):
            alone.prefill(0, prompt)
            assert alone.argmax([0]) == [new[slot]]
            alone.step([0], [new[slot]])
            np.testing.assert_array_equal(session.logits(slot), alone.logits(0))
            alone.free(0)

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_any_split_of_a_long_prompt(self, isa: str, precision: str) -> None:
        config = ModelConfig(vocab_size=60, n_positions=700, n_embd=40, n_layer=2, n_head=2)
        model, rng = packed(config, precision), np.random.default_rng(3)
        ids = rng.integers(0, 60, 700).tolist()
        session = NativeSession(model, threads=1)
        session.prefill(0, ids)  # more rows than one pass takes
        expected = session.logits(0)
        for threads, cuts in ((1, [1, 2, 5, 6, 300]), (3, [256, 600]), (2, [7, 263, 699])):
            session = NativeSession(model, threads=threads)
            for start, end in zip([0, *cuts], [*cuts, 700], strict=True):
                session.prefill(0, ids[start:end])
            np.testing.assert_array_equal(session.logits(0), expected)
        session.free(0)
        np.testing.assert_array_equal(session.verify(0, ids)[-1], expected)


class TestScreenedHead:
    """argmax and top-k look at few exact scores, and still give what all of them would."""

    CONFIG = ModelConfig(
        vocab_size=2100, n_positions=8, n_embd=32, n_layer=1, n_head=1, tie_word_embeddings=False
    )

    @hypothesis_settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 2**31), kind=st.sampled_from(["ties", "near ties", "outliers", "0"]))
    def test_argmax_with_ties_and_near_ties(self, seed: int, kind: str) -> None:
        model = open_packed(self.head(seed, kind), self.CONFIG, precision="exact", source=None)
        session = NativeSession(model, 3, threads=2)
        rng = np.random.default_rng(seed)
        for slot in range(3):
            session.prefill(slot, rng.integers(0, 2100, 3))
        got = session.argmax([2, 0, 1])
        logits = [session.logits(slot) for slot in (2, 0, 1)]
        assert got == [int(row.argmax()) for row in logits]
        if kind == "ties":
            assert all((row == row.max()).sum() >= 2 for row in logits)

    @pytest.mark.parametrize("kind", ["ties", "near ties", "outliers", "plain"])
    @pytest.mark.parametrize("top_k", [1, 2, 40, 1024, 2099])
    def test_top_k(self, kind: str, top_k: int) -> None:
        model = open_packed(self.head(top_k, kind), self.CONFIG, precision="exact", source=None)
        settings = GenerationConfig(temperature=1.0, top_k=top_k)
        check_decode(model, settings, n=30)

    def test_it_is_there(self) -> None:
        """Without the screen the packed model would be a quarter smaller."""
        plain = open_packed(self.head(0, "0"), self.CONFIG, precision="exact", source=None)
        assert plain.n_bytes > 2100 * 32 * (4 + 4 + 1)  # head, embedding, screen

    def head(self, seed: int, kind: str) -> Arrays:
        arrays, rng = tensors(self.CONFIG, seed % 100), np.random.default_rng(seed)
        head = arrays["lm_head.weight"]
        if kind == "0":
            head[:] = 0
        elif kind == "ties":  # every row is there thrice
            head[:] = np.tile(head[:700], (3, 1))[rng.permutation(2100)]
        elif kind == "near ties":  # rows one unit in the last place apart
            head[:] = np.tile(head[:7], (300, 1))
            head[:, rng.integers(0, 32)] *= 1 + rng.integers(-3, 4, 2100).astype(np.float32) * 2e-7
        elif kind == "outliers":  # one weight hides all others of its row from the 8 bits
            head[np.arange(2100), rng.integers(0, 32, 2100)] *= 300
        return arrays


SETTINGS = {
    "greedy": GenerationConfig(temperature=0.0),
    "greedy, penalty": GenerationConfig(temperature=0.0, repetition_penalty=1.5),
    "plain": GenerationConfig(temperature=1.0),
    "cold": GenerationConfig(temperature=0.2),
    "coldest": GenerationConfig(temperature=1e-300),
    "hot": GenerationConfig(temperature=1e3),
    "top_k": GenerationConfig(temperature=1.0, top_k=5),
    "top_p": GenerationConfig(temperature=1.3, top_p=0.7),
    "small top_p": GenerationConfig(temperature=1.3, top_p=1e-9),
    "min_p": GenerationConfig(temperature=1.5, min_p=0.1),
    "penalty": GenerationConfig(temperature=1.0, repetition_penalty=0.6),
    "all": GenerationConfig(
        temperature=2.0, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.3
    ),
}


def outside(
    session: DecodeSession,
    prompt: list[int],
    n: int,
    settings: GenerationConfig,
    seed: int,
    index: int,
) -> list[int]:
    """The loop of inference/generate.py, one call after the other."""
    window, rng, out = list(prompt), generator(seed, index), list[int]()
    session.prefill(0, window)
    for _ in range(n):
        new = next_id(session.logits(0), settings, rng, {*prompt, *out})
        out.append(new)
        window.append(new)
        if len(window) > session.n_positions:
            window = window[-max(1, session.n_positions // 2) :]
            session.free(0)
            session.prefill(0, window)
        else:
            session.step([0], [new])
    session.free(0)
    return out


def check_decode(model: PackedModel, settings: GenerationConfig, n: int, seed: int = 3) -> None:
    """Two slots of a batch draw what each draws in the loop outside."""
    rng = np.random.default_rng(n)
    prompts = [rng.integers(0, model.config.vocab_size, size).tolist() for size in (3, 5)]
    session, alone = NativeSession(model, 3, threads=2), NativeSession(model, threads=1)
    slots, seen = [2, 0], [set(prompt) for prompt in prompts]
    for slot, prompt in zip(slots, prompts, strict=True):
        session.prefill(slot, prompt)
    expected = [outside(alone, prompts[i], n, settings, seed, 7 + i) for i in range(2)]
    first = session.decode(slots, n // 3, settings, seed=seed, sample_indices=[7, 8], seen=seen)
    for i in range(2):  # what came out goes on where it ended
        seen[i] |= set(first[i])
    held = [len(prompt) + n // 3 for prompt in prompts]
    if max(held) <= model.config.n_positions:
        session.step(slots, [ids[-1] for ids in first])
        rest = session.decode(
            slots,
            n - n // 3,
            settings,
            seed=seed,
            sample_indices=[7, 8],
            drawn=[n // 3] * 2,
            seen=seen,
        )
        assert [a + b for a, b in zip(first, rest, strict=True)] == expected
    else:
        assert first == [ids[: n // 3] for ids in expected]


class TestDecode:
    @pytest.mark.parametrize("name", SETTINGS)
    @pytest.mark.parametrize("precision", ["exact", "int8"])
    def test_equals_the_loop_outside(self, name: str, precision: str) -> None:
        check_decode(small(precision), SETTINGS[name], n=45)
        check_decode(small(precision), SETTINGS[name], n=150)  # far past the window of 21

    @pytest.mark.slow
    @pytest.mark.parametrize("name", SETTINGS)
    def test_thousands_of_draws(self, isa: str, name: str) -> None:
        config = ModelConfig(vocab_size=1500, n_positions=3000, n_embd=16, n_layer=1, n_head=1)
        check_decode(packed(config), SETTINGS[name], n=2500)

    def test_smallest_windows(self) -> None:
        for n_positions in (1, 2, 3):
            config = replace(small().config, n_positions=n_positions)
            session = NativeSession(packed(config), threads=1)
            session.prefill(0, [1])
            expected = outside(
                NativeSession(packed(config), threads=1), [1], 9, SETTINGS["plain"], 0, 0
            )
            assert session.decode([0], 9, SETTINGS["plain"]) == [expected]

    def test_stop_ids_end_their_slot(self) -> None:
        session = NativeSession(small(), 2, threads=1)
        session.prefill(0, [1, 2])
        session.prefill(1, [3])
        free = session.decode([0, 1], 12, SETTINGS["hot"], seed=1)
        assert free[0][4] not in free[0][:4]
        for slot, ids in ((0, [1, 2]), (1, [3])):
            session.free(slot)
            session.prefill(slot, ids)
        stopped = session.decode([0, 1], 12, SETTINGS["hot"], seed=1, stop_ids=[free[0][4]])
        assert stopped[0] == free[0][:5]
        cut = free[1].index(free[0][4]) + 1 if free[0][4] in free[1] else 12
        assert stopped[1] == free[1][:cut]

    @pytest.mark.parametrize("name", ["greedy", "plain"])
    def test_scores_that_are_no_numbers_are_refused(self, name: str) -> None:
        config = TestScreenedHead.CONFIG
        arrays = tensors(config)
        arrays["lm_head.weight"][7, 2] = 3e38  # finite, and overflows where it is used
        model = open_packed(arrays, config, precision="exact", source=None)
        session, refused = NativeSession(model, 8, threads=1), 0
        for slot in range(8):
            session.prefill(slot, [slot])
            if np.isfinite(session.logits(slot).max()):
                assert len(session.decode([slot], 1, SETTINGS[name])[0]) == 1
                continue
            refused += 1
            with pytest.raises(CheckpointError, match="no numbers"):
                session.decode([slot], 1, SETTINGS[name])
        assert 0 < refused < 8

    def test_cancel_from_another_thread(self) -> None:
        session = NativeSession(small(), threads=1)
        session.prefill(0, [1])
        timer = threading.Timer(0.2, session.cancel)
        timer.start()
        ids = session.decode([0], 10_000_000, SETTINGS["greedy"])
        timer.join()
        assert 1 <= len(ids[0]) < 10_000_000
        assert len(session.decode([0], 4, SETTINGS["greedy"])[0]) == 4  # the next one runs through


class TestInt8:
    """What is rounded is what the precision says, and the arithmetic on it is right."""

    @staticmethod
    def rounded(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        scale = np.abs(matrix).max(1, keepdims=True) / np.float32(127)
        return np.rint(matrix / scale) * scale

    def expected(self, ids: list[int], dynamic: bool) -> np.ndarray[Any, Any]:
        import torch

        model, _ = reference("odd head")
        with torch.no_grad():
            twin = type(model)(model.config)
            twin.load_state_dict(model.state_dict())
            for module in twin.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.copy_(torch.tensor(self.rounded(module.weight.numpy())))
                    if dynamic:
                        module.register_forward_pre_hook(
                            lambda _, inputs: torch.tensor(
                                self.rounded(inputs[0][0].numpy()), dtype=torch.float32
                            )[None]
                        )
            return twin.eval()(torch.tensor([ids]))[0].numpy()  # type: ignore[no-any-return]

    @pytest.mark.parametrize(("precision", "most"), [("int8", 1e-4), ("int8-dynamic", 0.1)])
    def test_equals_a_model_with_rounded_weights(
        self, isa: str, precision: str, most: float
    ) -> None:
        _, arrays = reference("odd head")
        ids = list(range(9))
        expected = self.expected(ids, precision == "int8-dynamic")
        config = SHAPES["odd head"]
        model = open_packed(arrays, config, precision=precision, source=None)
        rows = NativeSession(model, threads=1).verify(0, ids)
        # A rounding that falls the other way is 1/127 of an activation; most do not.
        assert np.sqrt(np.square(rows - expected).mean()) <= most * expected.std()
        exact = reference("odd head")[0]
        import torch

        with torch.no_grad():
            plain = exact(torch.tensor([ids]))[0].numpy()
        assert np.sqrt(np.square(rows - plain).mean()) > 2 * np.sqrt(
            np.square(rows - expected).mean()
        )


class TestContract:
    def test_has_what_the_protocol_asks(self) -> None:
        session = NativeSession(small("int8"), 3, threads=2)
        assert (session.n_slots, session.n_positions, session.threads) == (3, 21, 2)
        assert session.precision == "int8"
        assert session.isa in ISAS
        methods = [name for name in vars(DecodeSession) if not name.startswith("_")]
        assert all(callable(getattr(session, name)) for name in methods)

    def test_arrays_belong_to_the_caller(self) -> None:
        session = NativeSession(small(), threads=1)
        expected = session.verify(0, [1, 2])[-1].copy()
        session.logits(0)[:] = 0
        np.testing.assert_array_equal(session.logits(0), expected)

    def test_zero_threads_are_the_cpus(self) -> None:
        assert NativeSession(small(), threads=0).threads == len(os.sched_getaffinity(0))
        with pytest.raises(ConfigError, match="threads=-1"):
            NativeSession(small(), threads=-1)

    def test_packed_weights_may_end_before_the_session(self) -> None:
        model = packed(small().config)
        session = NativeSession(model, threads=1)
        del model
        session.prefill(0, [1])
        np.testing.assert_array_equal(
            session.logits(0), NativeSession(small(), threads=1).verify(0, [1])[0]
        )


class TestMisuse:
    @pytest.fixture
    def session(self) -> NativeSession:
        session = NativeSession(small(), 2, threads=1)
        session.prefill(0, [1, 2, 3])
        return session

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda s: s.prefill(0, [41]), "id 41 is outside the vocabulary"),
            (lambda s: s.prefill(0, [-1]), "id -1 is outside the vocabulary"),
            (lambda s: s.prefill(0, [2**62]), "outside the vocabulary"),
            (lambda s: s.prefill(0, [2**63]), "whole numbers below"),
            (lambda s: s.prefill(0, [2**80]), "whole numbers below"),
            (lambda s: s.prefill(0, [1.0]), "whole numbers"),
            (lambda s: s.prefill(0, [[1]]), "whole numbers"),
            (lambda s: s.prefill(0, []), "append at least one"),
            (lambda s: s.verify(0, []), "append at least one"),
            (lambda s: s.prefill(2, [1]), "slot 2: this session has 2"),
            (lambda s: s.prefill(-1, [1]), "slot -1"),
            (lambda s: s.prefill(2**64, [1]), "no slot or length"),
            (lambda s: s.step([0, 0], [1, 1]), "slot 0 is given twice"),
            (lambda s: s.step([0, 1], [1]), "2 slots and 1 ids"),
            (lambda s: s.step([], []), "no slots"),
            (lambda s: s.step([0, 9], [1, 1]), "slot 9"),
            (lambda s: s.step([0, 1], [1, 99]), "id 99"),
            (lambda s: s.logits(1), "slot 1 has no logits"),
            (lambda s: s.argmax([0, 1]), "slot 1 has no logits"),
            (lambda s: s.argmax([7]), "slot 7"),
            (lambda s: s.truncate(0, 4), "slot 0 holds 3 ids, can't keep 4"),
            (lambda s: s.truncate(0, -1), "can't keep -1"),
            (lambda s: s.truncate(0, 2**64 + 1), "no slot or length"),
            (lambda s: s.decode([1], 1, SETTINGS["plain"]), "slot 1 has no logits"),
            (lambda s: s.decode([], 1, SETTINGS["plain"]), "no slots"),
            (lambda s: s.decode([0], 0, SETTINGS["plain"]), "n=0"),
            (lambda s: s.decode([0, 0], 1, SETTINGS["plain"]), "given twice"),
            (lambda s: s.decode([0], 1, SETTINGS["plain"], drawn=[1, 2]), "1 slots"),
            (lambda s: s.decode([0], 1, SETTINGS["penalty"], seen=[[41]]), "seen id is outside"),
        ],
    )
    def test_is_refused_and_changes_nothing(
        self, session: NativeSession, call: Callable[[NativeSession], Any], message: str
    ) -> None:
        before = session.logits(0)
        with pytest.raises(ValueError, match=message):
            call(session)
        np.testing.assert_array_equal(session.logits(0), before)
        session.step([0], [4])
        expected = NativeSession(small(), threads=1).verify(0, [1, 2, 3, 4])[-1]
        np.testing.assert_array_equal(session.logits(0), expected)

    def test_beyond_n_positions(self, session: NativeSession) -> None:
        session.prefill(1, range(21))
        for call in (
            lambda: session.prefill(1, [1]),
            lambda: session.verify(1, [1]),
            lambda: session.step([0, 1], [1, 1]),
        ):
            with pytest.raises(
                ContextError, match="22 tokens are more than this model's n_positions=21"
            ):
                call()
        with pytest.raises(ContextError, match="24 tokens"):
            session.prefill(0, range(21))

    def test_after_close(self, session: NativeSession) -> None:
        session.close()
        session.close()
        session.cancel()
        for call in (lambda: session.step([0], [1]), lambda: session.logits(0)):
            with pytest.raises(ValueError, match="the session is closed"):
                call()

    def test_close_ends_a_running_decode(self, session: NativeSession) -> None:
        drawn: list[list[list[int]]] = []
        thread = threading.Thread(
            target=lambda: drawn.append(session.decode([0], 10_000_000, SETTINGS["greedy"]))
        )
        thread.start()
        time.sleep(0.1)
        session.close()
        thread.join()
        assert 1 <= len(drawn[0][0]) < 10_000_000

    def test_no_logits_after_truncate(self, session: NativeSession) -> None:
        session.truncate(0, 2)
        with pytest.raises(ValueError, match="append ids"):
            session.logits(0)

    def test_too_many_slots(self) -> None:
        for n in (0, -1, 65537, 2**40):
            with pytest.raises(ValueError, match="slots"):
                NativeSession(small(), n, threads=1)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork in a process with threads
    def test_a_forked_child_is_told(self, session: NativeSession) -> None:
        child = os.fork()
        if child == 0:
            try:
                session.step([0], [1])
            except ValueError as error:
                session.close()  # joins no thread, for there is none
                os._exit(7 if "fork" in str(error) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    def test_two_threads_at_once(self, session: NativeSession) -> None:
        busy = threading.Thread(target=session.decode, args=([0], 10_000_000, SETTINGS["greedy"]))

        def poll() -> None:
            for _ in range(100_000):
                session.truncate(1, 0)

        busy.start()
        try:
            with pytest.raises(ValueError, match="another thread is using this session"):
                poll()
        finally:
            while busy.is_alive():
                session.cancel()
                busy.join(0.05)


def test_a_small_model_is_asked_for_more_ids_at_once() -> None:
    session = NativeSession(small(), threads=1)
    assert session.n_at_once == 64
