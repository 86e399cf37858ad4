"""A session over keys and values that a module of transformers keeps: the same as no cache."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tinygpt.errors import ConfigError, ContextError
from tinygpt.evaluation.token_nll import Scorer, score_tokens
from tinygpt.inference.load import load
from tinygpt.inference.transformers_backend.session import TransformersSession

FAMILIES = ("llama", "gpt_neox")
IDS = [7, 30, 31, 99, 120, 8, 7]


@pytest.fixture(params=FAMILIES)
def lm(request, foreign_folder: Callable[[str], Path]):
    return load(foreign_folder(request.param), threads=1)


def uncached(lm, ids: list[int]) -> np.ndarray:
    """What the module says of each id when it reads all of them at once, the start in front."""
    start = [] if lm.engine.start_id is None else [lm.engine.start_id]
    with torch.inference_mode():
        return lm.engine.module(torch.tensor([start + ids])).logits[0, len(start) :].numpy()


def test_any_split_gives_the_logits_of_one_reading(lm) -> None:
    expected = uncached(lm, IDS)
    for cut in range(1, len(IDS)):
        session = lm.session()
        session.prefill(0, IDS[:cut])
        np.testing.assert_allclose(session.logits(0), expected[cut - 1], atol=1e-4)
        np.testing.assert_allclose(session.verify(0, IDS[cut:]), expected[cut:], atol=1e-4)
        assert session.argmax([0]) == [int(expected[-1].argmax())]


def test_slots_are_apart_and_steps_go_on(lm) -> None:
    session = lm.session(2)
    session.prefill(0, IDS[:3])
    session.prefill(1, IDS[4:6])
    session.step([1, 0], [IDS[6], IDS[3]])
    np.testing.assert_allclose(session.logits(0), uncached(lm, IDS[:4])[-1], atol=1e-4)
    np.testing.assert_allclose(session.logits(1), uncached(lm, IDS[4:])[-1], atol=1e-4)


def test_truncate_forgets(lm) -> None:
    session = lm.session()
    session.prefill(0, IDS)
    session.truncate(0, 2)
    with pytest.raises(ValueError, match="no logits"):
        session.logits(0)
    session.step([0], [50])
    np.testing.assert_allclose(session.logits(0), uncached(lm, [*IDS[:2], 50])[-1], atol=1e-4)
    with pytest.raises(ValueError, match="can't keep 9"):
        session.truncate(0, 9)


def test_the_context_is_what_the_start_leaves(lm) -> None:
    assert lm.session().n_positions == 48 - (lm.engine.start_id is not None)
    session = lm.session()
    session.prefill(0, [5] * session.n_positions)
    with pytest.raises(ContextError, match="are more than this model's n_positions="):
        session.step([0], [5])


class Forgetful(torch.nn.Module):
    """A family that keeps no keys and values; each id counts whatever stood before."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(16))
        self.n_read = 0

    def forward(self, idx, past_key_values, use_cache):
        assert past_key_values is None
        self.n_read += idx.numel()
        return type("Out", (), {"logits": self.weight[idx].cumsum(1)})()


def test_a_long_window_is_not_read_anew_for_each_piece_of_its_logits() -> None:
    module, ids = Forgetful(), np.random.default_rng(0).integers(0, 16, 1201)
    scorer = Scorer(TransformersSession(module, 1200), SimpleNamespace(vocab_size=16), "fake")
    (found,) = score_tokens(scorer, ids[:1], ids[1:], 1200, [1200], n_best=1)
    assert module.n_read <= 2 * 1200  # the first piece shows that nothing is kept
    logits = module(torch.from_numpy(ids[None, :-1]), None, True).logits[0].double()
    expected = -torch.log_softmax(logits, -1)[torch.arange(1200), torch.from_numpy(ids[1:])]
    np.testing.assert_allclose(found.nats, expected.detach().numpy(), atol=1e-4)


def test_a_family_that_keeps_nothing_is_read_anew() -> None:
    session = TransformersSession(Forgetful(), 8, start_id=3)
    session.prefill(0, [1, 2])
    session.step([0], [2])
    assert session.logits(0)[:4].tolist() == [0, 1, 2, 1]


def test_there_is_no_gpt_in_it(lm) -> None:
    with pytest.raises(ConfigError, match="trains, converts and climbs the ladder with GPT-2s"):
        _ = lm.model
    assert str(lm.engine).startswith("transformers (cpu, float32, ")
