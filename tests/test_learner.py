"""One optimizer step: what its randomness depends on."""

import dataclasses

import numpy as np

from tinygpt.device import pick_device
from tinygpt.learner import Learner, new_model
from tinygpt.run_config import OptimConfig, TrainConfig

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
