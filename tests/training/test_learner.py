"""One optimizer step: what its randomness depends on."""

import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from tinygpt.config.train_config import OptimConfig, TrainConfig
from tinygpt.inference.device import pick_device
from tinygpt.training.learner import Learner, new_model

SETTINGS = TrainConfig(block_size=16, batch_size=4, max_steps=9)


def test_dropout_draws_anew_at_each_step_and_micro_batch(tiny_config, monkeypatch) -> None:
    """Same weights and same windows: only the mask can tell one step from another."""
    config = dataclasses.replace(tiny_config, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3)
    ids = np.tile(np.arange(17, dtype=np.int32), 1)  # one window, whatever the step

    def loss(step: int, model_config=config, **changes: int) -> float:
        learner = Learner(new_model(model_config, 0), OptimConfig(), pick_device("cpu"))
        settings = dataclasses.replace(SETTINGS, **changes)
        return learner.update(ids, settings, step, 0.0, lambda: False).loss

    assert loss(0) == loss(0)
    assert len({loss(step) for step in range(4)}) == 4
    assert loss(0) != loss(0, seed=1)
    assert loss(0) != loss(0, gradient_accumulation_steps=2)
    plain = [loss(step, tiny_config) for step in range(2)]
    assert plain[0] == plain[1]  # without dropout the steps are alike


IDS = np.arange(400, dtype=np.int32) % 29


def learner_of(config, settings=SETTINGS, **changes):
    settings = dataclasses.replace(settings, **changes)
    return Learner(new_model(config, 0), OptimConfig(), pick_device("cpu"), settings), settings


def test_recomputed_blocks_give_the_same_step_in_less_memory(tiny_config) -> None:
    """The same bits, dropout included; autograd keeps one input per block, not its insides."""
    config = dataclasses.replace(tiny_config, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3)
    found, kept = [], []
    for recompute in (False, True):
        learner, settings = learner_of(config, gradient_checkpointing=recompute)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            learner.update(IDS, settings, 0, 0.0, lambda: False)
        kept.append(sum(sizes))
        found.append({name: p.detach().clone() for name, p in learner.model.named_parameters()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert kept[1] < kept[0] / 3


COMPILED = """
import dataclasses, numpy as np, torch
from tinygpt.inference.device import pick_device
from tinygpt.training.learner import Learner, new_model
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import OptimConfig, TrainConfig

config = ModelConfig(vocab_size=29, n_positions=16, n_embd=32, n_layer=2, n_head=2)
ids = np.arange(400, dtype=np.int32) % 29
after = []
for compiled in (False, True):
    train = TrainConfig(block_size=16, batch_size=4, max_steps=9, compile=compiled)
    config = dataclasses.replace(config, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    learner = Learner(new_model(config, 0), OptimConfig(), pick_device("cpu"), train)
    learner.update(ids, train, 0, 0.0, lambda: False)
    after.append([p.detach().clone() for p in learner.model.parameters()])
print(max(float((a - b).abs().max()) for a, b in zip(*after)))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_takes_the_same_step(tmp_path) -> None:
    """In a process of its own: the compiler changes what later imports see."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-4


def test_a_rehearsal_changes_nothing(tiny_config) -> None:
    learner, settings = learner_of(tiny_config)
    before = [p.detach().clone() for p in learner.model.parameters()]
    learner.rehearse(IDS, settings)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
    assert not any(tensor.any() for tensor in learner.optimizer.state().values())
    assert all(p.grad is None for p in learner.model.parameters())


def test_a_new_model_begins_with_blocks_that_add_nothing(tiny_config) -> None:
    plain, zero = new_model(tiny_config, 3), new_model(tiny_config, 3, zero_init=True)
    ids = torch.arange(8)[None]
    body = zero.transformer
    embedded = body.wte(ids) + body.wpe(torch.arange(8))
    assert torch.equal(zero.hidden(ids), body.ln_f(embedded))
    changed = {
        name
        for (name, p), q in zip(plain.named_parameters(), zero.parameters(), strict=True)
        if not torch.equal(p, q)
    }
    assert changed == {n for n, _ in plain.named_parameters() if n.endswith("c_proj.weight")}


@pytest.mark.parametrize("most", [0.0, 1e-3, 1.0, 1e9])
def test_clipping_is_torchs(most, tiny_config) -> None:
    model = new_model(tiny_config, 0)
    device = pick_device("cpu")
    learner = Learner(model, OptimConfig(grad_clip=most), device, SETTINGS, engine="torch")
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(p.shape, generator=generator) for p in model.parameters()]
    for p, g in zip(model.parameters(), gradients, strict=True):
        p.grad = g.clone()
    norm = learner._clip()
    found = [p.grad.clone() for p in model.parameters()]
    for p, g in zip(model.parameters(), gradients, strict=True):
        p.grad = g.clone()
    expected = torch.nn.utils.clip_grad_norm_(model.parameters(), most or float("inf"))
    assert norm == pytest.approx(float(expected), rel=1e-6)
    for mine, p in zip(found, model.parameters(), strict=True):
        assert torch.allclose(mine, p.grad, rtol=1e-5)
