"""What each precision costs is measured only where the native engine is asked for."""

import pytest

from tinygpt.evaluation.eval_texts import own_text
from tinygpt.inference.load import load
from tinygpt.inference.native_library import unavailable
from tinygpt.profiling.precision_cost import precision_costs

TEXT = own_text("abba\n" + "The cab sat on a mat\n" * 30, None)


def test_left_free_or_torch_costs_nothing(model_folder) -> None:
    assert precision_costs(load(model_folder), TEXT) == ()
    assert precision_costs(load(model_folder, engine="torch"), TEXT) == ()


def test_every_precision_beside_torch(model_folder) -> None:
    if (why := unavailable()) is not None:
        pytest.skip(why)
    costs = precision_costs(load(model_folder, engine="native", threads=1), TEXT)
    assert [cost.engine for cost in costs] == [
        "native exact",
        "native int8",
        "native int8-dynamic",
    ]
    theirs = load(model_folder, engine="torch", device="cpu")
    expected = theirs.evaluate(TEXT.text, prefix=TEXT.prefix).bits_per_byte
    exact, int8, dynamic = costs
    assert exact.difference == pytest.approx(0, abs=1e-5)
    assert exact.n_bytes == 630
    assert len({cost.bits_per_byte for cost in costs}) == 3
    for cost in (int8, dynamic):
        assert cost.bits_per_byte == pytest.approx(expected + cost.difference)
        assert 0 < abs(cost.difference) < 1
