"""The native training step against torch: gradients, updates, bits, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import OptimConfig, TrainConfig
from tinygpt.errors import ConfigError
from tinygpt.inference import native_library
from tinygpt.inference.device import Device, pick_device
from tinygpt.inference.native_library import ISAS, library, unavailable
from tinygpt.model.gpt import GPT
from tinygpt.training import muon
from tinygpt.training.learner import Learner, new_model
from tinygpt.training.native_step import NativeTrainer, engine_as_recorded, training_engine

HERE = unavailable()
pytestmark = pytest.mark.skipif(HERE is not None, reason=str(HERE))

needs_wide = pytest.mark.skipif(
    HERE is None and library().isa == "portable", reason="this CPU has no wide vectors"
)
CPU = Device(torch.device("cpu"), torch.float32, 1, "a test")


def config_of(**changes) -> ModelConfig:
    sizes = {"vocab_size": 29, "n_positions": 40, "n_embd": 24, "n_layer": 2, "n_head": 3}
    return ModelConfig(
        **{**sizes, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, **changes}
    )


def rough(config: ModelConfig, seed: int = 0) -> GPT:
    """A model none of whose parameters is special: no zeros, no ones."""
    model = new_model(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def windows(config: ModelConfig, n: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    ids = torch.randint(config.vocab_size, (n, length + 1), generator=generator)
    return ids[:, :-1], ids[:, 1:]


def due(weights, gradients, momenta, *, keep: float, rate: float) -> muon.Matrices:
    return muon.Matrices(
        weights=weights.unbind(),
        gradients=gradients.unbind(),
        momenta=momenta,
        momentum=0.9,
        keep=keep,
        rate=rate,
    )


@pytest.fixture(params=[isa for isa in ISAS if HERE is None and library().supports(isa)])
def isa(request, monkeypatch) -> str:
    """Each instruction set that this CPU has."""
    monkeypatch.setenv("TINYGPT_NATIVE_ISA", request.param)
    if unavailable() is not None:
        pytest.skip(str(unavailable()))
    return request.param


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


SHAPES = {
    "as it is": {},
    "one head": {"n_head": 1},
    "heads of 1": {"n_embd": 5, "n_head": 5},
    "odd sizes": {"n_embd": 33, "n_head": 3, "n_inner": 47, "vocab_size": 3},
    "wide": {"n_embd": 96, "n_head": 2, "n_inner": 200, "n_layer": 1},
    "large vocabulary": {"vocab_size": 200_003, "n_layer": 1, "n_embd": 8, "n_head": 2},
    "untied": {"tie_word_embeddings": False},
    "another epsilon": {"layer_norm_epsilon": 0.1},
    **{
        name: {"activation_function": name, "n_layer": 1}
        for name in ("gelu_new", "gelu", "quick_gelu", "relu", "silu", "tanh")
    },
}


class TestGradients:
    @pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
    def test_are_torchs(self, changes, isa) -> None:
        config = config_of(**changes)
        model = rough(config)
        x, y = windows(config, 3, 21)
        expected = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
        (0.25 * expected).backward()
        gradients = [p.grad for p in model.parameters()]
        found = NativeTrainer(model).gradients(x, y, scale=0.25, add=False)
        assert found == pytest.approx(expected.item(), rel=1e-5)
        for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
            error = (p.grad - gradient).norm() / gradient.norm().clamp_min(1e-6)
            assert error < 2e-5, name

    @pytest.mark.parametrize("length", [1, 2, 31, 40])
    @pytest.mark.parametrize("n", [1, 4])
    def test_of_any_windows(self, length, n, threads) -> None:
        config = config_of()
        model = rough(config)
        x, y = windows(config, n, length)
        F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").backward()
        gradients = [p.grad for p in model.parameters()]
        trainer = NativeTrainer(model)
        with trainer.at_work():
            assert torch.get_num_threads() == 1
            trainer.gradients(x, y, scale=1.0, add=False)
        assert torch.get_num_threads() == threads
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            assert torch.allclose(p.grad, gradient, rtol=1e-3, atol=1e-3)
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in model.parameters()]))
        assert trainer.grad_norm == pytest.approx(norm.item(), rel=1e-5)

    def test_of_micro_batches_add_up(self) -> None:
        config = config_of()
        model = rough(config)
        x, y = windows(config, 6, 20)
        trainer = NativeTrainer(model)
        whole = trainer.gradients(x, y, scale=0.1, add=False)
        together = [p.grad.clone() for p in model.parameters()]
        parts = [
            trainer.gradients(x[i : i + 2], y[i : i + 2], scale=0.1, add=i > 0) for i in (0, 2, 4)
        ]
        assert sum(parts) == pytest.approx(whole)
        for p, gradient in zip(model.parameters(), together, strict=True):
            assert torch.allclose(p.grad, gradient, rtol=1e-4, atol=1e-5)

    def test_have_the_same_bits_again(self, threads) -> None:
        config = config_of()
        model = rough(config)
        trainer, x, y = NativeTrainer(model), *windows(config, 5, 40)
        found = []
        for _ in range(2):
            loss = trainer.gradients(x, y, scale=1.0, add=False)
            found.append([loss, trainer.grad_norm, *(p.grad.clone() for p in model.parameters())])
            trainer.gradients(*windows(config, 2, 7), scale=1.0, add=False)  # another shape between
        assert found[0][:2] == found[1][:2]
        assert all(torch.equal(a, b) for a, b in zip(found[0][2:], found[1][2:], strict=True))

    def test_of_what_is_not_a_number_are_none_either(self) -> None:
        config = config_of()
        model = rough(config)
        with torch.no_grad():
            model.transformer.wpe.weight[3, 3] = float("nan")
        trainer = NativeTrainer(model)
        loss = trainer.gradients(*windows(config, 2, 20), scale=1.0, add=False)
        assert np.isnan(loss)
        assert np.isnan(trainer.grad_norm)

    def test_refuse_ids_that_there_are_not(self) -> None:
        config = config_of()
        trainer, (x, y) = NativeTrainer(rough(config)), windows(config, 2, 9)
        for wrong in (29, -1):
            for ids in (x, y):
                kept = ids[1, 4].item()
                ids[1, 4] = wrong
                with pytest.raises(ValueError, match=f"id {wrong} is not"):
                    trainer.gradients(x, y, scale=1.0, add=False)
                ids[1, 4] = kept
        for wrong in (y[:1], y.int()):
            with pytest.raises(ValueError, match="must be alike"):
                trainer.gradients(x, wrong, scale=1.0, add=False)
        with pytest.raises(ValueError, match="windows of 41: 1 to n_positions=40"):
            trainer.gradients(*windows(config, 1, 41), scale=1.0, add=False)
        matrices = torch.ones(1, 4, 4)
        with pytest.raises(ValueError, match="closed"):  # what was there before is gone
            trainer.muon(due(matrices, matrices, matrices, keep=1.0, rate=1.0))
        assert trainer.gradients(x, y, scale=1.0, add=False) > 0


@pytest.mark.parametrize("shape", [(5, 24, 24), (2, 96, 24), (3, 24, 96), (2, 33, 70), (1, 1, 3)])
def test_muon_is_the_one_in_torch(shape, isa, threads) -> None:
    generator = torch.Generator().manual_seed(0)
    weights, gradients, momenta = (torch.randn(shape, generator=generator) for _ in range(3))
    trainer = NativeTrainer(rough(config_of()))
    with trainer.at_work():
        trainer.gradients(*windows(config_of(), 2, 9), scale=1.0, add=False)
        found = []
        for update in (muon.update, trainer.muon):
            w, m = weights.clone(), momenta.clone()
            update(due(w, gradients, m, keep=0.7, rate=0.5))
            found.append((w, m))
    (w, m), (own_w, own_m) = found
    assert torch.allclose(own_m, m, rtol=1e-5, atol=1e-6)
    assert torch.allclose(own_w, w, rtol=1e-4, atol=1e-4)


def test_muon_of_a_gradient_of_zeros_only_decays() -> None:
    weights = torch.ones(2, 24, 24)
    trainer = NativeTrainer(rough(config_of()))
    trainer.gradients(*windows(config_of(), 2, 9), scale=1.0, add=False)
    zeros = torch.zeros(2, 24, 24)
    trainer.muon(due(weights, zeros, zeros.clone(), keep=0.5, rate=1.0))
    assert torch.equal(weights, torch.full((2, 24, 24), 0.5))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_goes_the_way_of_torch(optimizer) -> None:
    """Some steps with either engine: the same losses up to rounding."""
    config, ids = config_of(), np.arange(3000, dtype=np.int32) ** 2 % 29
    train = TrainConfig(block_size=32, batch_size=4, gradient_accumulation_steps=2)
    losses = {}
    for engine in ("native", "torch"):
        model, optim = new_model(config, 0), OptimConfig(optimizer=optimizer, warmup_steps=2)
        learner = Learner(model, optim, CPU, train, engine=engine)
        assert learner.engine.split()[0] == engine
        done = [learner.update(ids, train, step, step / 12, lambda: False) for step in range(12)]
        losses[engine] = [(update.loss, update.grad_norm) for update in done]
    assert np.array(losses["native"]) == pytest.approx(np.array(losses["torch"]), rel=5e-3)
    assert losses["native"][-1][0] < losses["native"][0][0] - 0.3


class TestChoice:
    TRAIN = TrainConfig()

    def choose(self, engine="auto", device=CPU, train=TRAIN, **changes) -> tuple[str, str]:
        return training_engine(config_of(**changes), train, device, engine)

    @needs_wide
    def test_native_where_it_can(self) -> None:
        assert self.choose() == (f"native {library().isa}", "the faster one here")
        assert self.choose("native") == (f"native {library().isa}", "as asked")
        assert self.choose("torch") == ("torch", "as asked")

    def test_torch_where_vectors_are_narrow(self, monkeypatch) -> None:
        """On such CPUs torch's products are at least as fast (on Apple's, much faster)."""
        monkeypatch.setenv("TINYGPT_NATIVE_ISA", "portable")
        assert self.choose() == ("torch", "the native engine has no wide vectors on this CPU")
        assert self.choose("native") == ("native portable", "as asked")

    @needs_wide
    def test_of_the_sizes(self) -> None:
        tinygpt = dataclasses.replace(PRESETS["tinygpt"], vocab_size=65)
        assert training_engine(tinygpt, self.TRAIN, CPU)[0].startswith("native")
        plain = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
        distilgpt2 = dataclasses.replace(PRESETS["distilgpt2"], **plain)
        assert training_engine(distilgpt2, self.TRAIN, CPU) == ("torch", "n_embd is above 512")
        assert training_engine(distilgpt2, self.TRAIN, CPU, "native")[0].startswith("native")

    @needs_wide
    def test_torch_where_a_thread_would_have_no_window(self) -> None:
        """A few short windows are still quicker on fewer threads than on all of torch's."""
        two = dataclasses.replace(CPU, threads=2)
        for device, length, n, engine in (
            (two, 1024, 1, "torch"),
            (two, 1024, 2, "native"),
            (two, 128, 1, "native"),
            (CPU, 1024, 1, "native"),
        ):
            train = TrainConfig(block_size=length, batch_size=n)
            assert self.choose(device=device, train=train)[0].startswith(engine)
        minutes = TrainConfig(block_size=1024, minutes=1.0)  # the batch is chosen later
        assert self.choose(device=two, train=minutes)[0] == "torch"
        steps = TrainConfig(block_size=1024, max_steps=9)  # 8 windows
        assert self.choose(device=two, train=steps)[0].startswith("native")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"resid_pdrop": 0.1}, "the native engine has no dropout"),
            ({"train": TrainConfig(gradient_checkpointing=True)}, "gradient_checkpointing"),
            ({"train": TrainConfig(compile=True)}, "only torch compiles"),
            ({"device": dataclasses.replace(CPU, dtype=torch.bfloat16)}, "not bfloat16 on cpu"),
            (
                {"device": dataclasses.replace(CPU, device=torch.device("cuda"))},
                "not float32 on cuda",
            ),
        ],
    )
    def test_torch_where_it_can_not(self, changes, reason) -> None:
        name, why = self.choose(**changes)
        assert name == "torch"
        assert reason in why
        with pytest.raises(ConfigError, match=r"engine=native can't train this.*--engine torch"):
            self.choose("native", **changes)

    def test_torch_where_there_is_no_library(self, monkeypatch, tmp_path) -> None:
        monkeypatch.setattr(native_library, "_FOLDER", tmp_path)
        native_library._library.cache_clear()
        try:
            name, why = self.choose()
        finally:
            native_library._library.cache_clear()
        assert (name, "not compiled" in why) == ("torch", True)

    def test_an_unknown_one(self) -> None:
        with pytest.raises(ConfigError, match='engine="nativ" is not known; did you mean'):
            self.choose("nativ")

    def test_as_a_run_began(self) -> None:
        assert engine_as_recorded({}, "auto") == "auto"
        assert engine_as_recorded({"threads": 2}, "auto") == "torch"  # of an earlier version
        assert engine_as_recorded({"engine": "torch"}, "auto") == "torch"
        assert engine_as_recorded({"engine": "native vnni"}, "auto") == "auto"
        assert engine_as_recorded({"engine": "torch"}, "native") == "native"
        assert engine_as_recorded({"engine": "native vnni"}, "torch") == "torch"


def test_the_device_stays_as_it_was_picked() -> None:
    before = torch.get_num_threads()
    learner = Learner(new_model(config_of(), 0), OptimConfig(), pick_device("cpu"))
    learner.update(np.arange(400) % 29, TrainConfig(block_size=8), 0, 0.0, lambda: False)
    assert torch.get_num_threads() == before
