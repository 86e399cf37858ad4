"""Which engine is taken, what is said of it, and what is refused; by a fake compiled engine.

So these tests hold where no compiler stands; the real engine's own are in test_native_session.py.
"""

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.inference import engine as engine_module
from tinygpt.inference import native_library, native_session, packed_weights
from tinygpt.inference.engine import Engine
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import load
from tinygpt.inference.torch_session import TorchSession
from tinygpt.model.gpt import GPT
from tinygpt.model.hf_weights import to_hf

Make = Callable[..., Engine]


@pytest.fixture
def make(tiny_model: GPT) -> Make:
    """make(**settings): an Engine on tiny_model's weights."""
    weights = {k: t.numpy() for k, t in to_hf(tiny_model.state_dict(), tiny_model.config).items()}

    def engine(**settings: Any) -> Engine:
        return Engine(
            tiny_model.config, weights, where="the test", options=EngineOptions(**settings)
        )

    return engine


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch, tiny_model: GPT) -> list[tuple[str, Path | None]]:
    """A native engine that is there; the list gets (precision, source) of what it packs."""
    found: list[tuple[str, Path | None]] = []

    def open_packed(weights: Any, config: Any, *, precision: str, source: Path | None) -> str:
        found.append((precision, source))
        return precision

    class Session(TorchSession):
        def __init__(self, packed: str, n_slots: int = 1, *, threads: int) -> None:
            super().__init__(tiny_model, n_slots)
            self.precision, self.threads = packed, threads

    monkeypatch.setattr(native_library, "unavailable", lambda: None)
    isa = types.SimpleNamespace(isa="abacus")
    monkeypatch.setattr(native_library, "library", lambda: isa)
    monkeypatch.setattr(packed_weights, "open_packed", open_packed)
    monkeypatch.setattr(native_session, "NativeSession", Session)
    monkeypatch.setattr(engine_module, "_may_have_gpu", lambda: False)
    return found


@pytest.fixture
def none_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_library, "unavailable", lambda: "no compiler stood here")


def test_auto_takes_native_on_the_cpu(make: Make, packed: list[Any]) -> None:
    engine = make(threads=2)
    assert (engine.name, engine.device, engine.precision) == ("native", "cpu", "exact")
    assert str(engine) == "native (abacus, exact, 2 threads)"
    assert not engine.asked
    session = engine.session(3)
    assert (session.n_slots, session.precision) == (3, "exact")
    engine.session()
    assert packed == [("exact", None)]  # packed once
    assert str(make(threads=1, precision="int8")) == "native (abacus, int8, 1 thread)"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"engine": "torch"}, "asked for"),
        ({"dtype": "bfloat16"}, "dtype bfloat16 is torch's"),
    ],
)
def test_torch_runs_what_native_does_not(
    make: Make, packed: list[Any], settings: dict[str, str], why: str
) -> None:
    engine = make(**settings, threads=1)
    dtype = settings.get("dtype", "float32")
    assert str(engine) == f"torch (cpu, {dtype}, 1 thread): {why}"
    assert isinstance(engine.session(), TorchSession)
    assert engine.session().precision == dtype
    assert engine.isa is None
    assert packed == []


def test_auto_says_why_there_is_no_native_engine(make: Make, none_here: None) -> None:
    engine = make(threads=1)
    assert str(engine) == "torch (cpu, float32, 1 thread): no compiler stood here"


def test_auto_leaves_a_gpu_to_torch(
    make: Make, packed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = types.SimpleNamespace(type="cuda")
    picked = types.SimpleNamespace(device=device, dtype="torch.float32", threads=1)
    monkeypatch.setattr(engine_module, "_may_have_gpu", lambda: True)
    monkeypatch.setattr("tinygpt.inference.device.pick_device", lambda *_: picked)
    assert str(make()) == "torch (cuda, float32, 1 thread): device cuda"
    assert make(device="cpu").name == "native"


def test_auto_takes_torch_where_packing_fails(
    make: Make, packed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MachineError("the cache is full")

    monkeypatch.setattr(packed_weights, "open_packed", refuse)
    assert (make().name, make().why) == ("torch", "the cache is full")
    with pytest.raises(MachineError, match="the cache is full"):
        make(engine="native")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "nativ"}, 'engine="nativ" is not known; did you mean "native"'),
        ({"precision": "int4"}, r'precision="int4" .*known: exact, int8, int8-dynamic'),
        ({"engine": "torch", "precision": "int8"}, "precision=int8 is the native engine's"),
        ({"engine": "native", "dtype": "bfloat16"}, "engine native is not to be had: dtype bf"),
        ({"engine": "native", "device": "cuda"}, "engine native is not to be had: device cuda is"),
        ({"precision": "int8", "device": "mps"}, "precision int8 is not to be had: device mps"),
        ({"threads": 5000}, "threads=5000 is not allowed: 1 to 1024"),
    ],
)
def test_refuses_what_excludes_itself(
    make: Make, packed: list[Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_native_where_it_is_not_is_one_clear_error(make: Make, none_here: None) -> None:
    with pytest.raises(ConfigError, match="engine native is not to be had: no compiler stood here"):
        make(engine="native")


def test_weights_that_do_not_fit_are_refused_at_once(tiny_model: GPT, none_here: None) -> None:
    with pytest.raises(CheckpointError, match=r"the test: .* missing"):
        Engine(tiny_model.config, {}, where="the test")


def test_another_engine_has_the_same_weights(make: Make, packed: list[Any]) -> None:
    native = make(threads=1)
    torch_engine = native.other(engine="torch")
    assert torch_engine.model is native.model
    assert native.other(engine="native", precision="int8").precision == "int8"
    assert [precision for precision, _ in packed] == ["exact", "int8"]


def test_only_who_asks_for_native_is_scored_by_it(model_folder: Path, packed: list[Any]) -> None:
    left_free, asked = load(model_folder), load(model_folder, engine="native")
    assert left_free.scorer is left_free.model
    assert (asked.scorer.engine, asked.scorer.session.precision) == ("native", "exact")
    assert left_free.evaluate("abba").engine == "torch float32"
    theirs, ours = left_free.evaluate("abba" * 9), asked.evaluate("abba" * 9)
    assert ours.engine == "native exact"
    assert ours.bits_per_byte == pytest.approx(theirs.bits_per_byte, rel=1e-6)
    assert packed == [("exact", model_folder)] * 2
    assert EngineOptions().for_scoring() == EngineOptions(engine="torch")
    for asked in (EngineOptions(precision="int8"), EngineOptions(engine="native")):
        assert asked.for_scoring() == asked


# --- the real engine, where it was compiled


@pytest.fixture
def native(model_folder: Path) -> LanguageModel:
    if (why := native_library.unavailable()) is not None:
        pytest.skip(why)
    return load(model_folder, engine="native", threads=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 0.9, "top_k": 7},
        {"temperature": 1.3, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2},
    ],
)
def test_both_engines_write_the_same(
    native: LanguageModel, model_folder: Path, settings: dict[str, Any]
) -> None:
    """Past the window too, which holds 16 ids here; alone and in a batch."""
    theirs = load(model_folder, engine="torch", device="cpu")
    prompts = ["ab", "", "abba ab", "ab"]
    for seed in range(5):
        ours = native.generate_batch(prompts, seed=seed, max_new_tokens=60, **settings)
        expected = theirs.generate_batch(prompts, seed=seed, max_new_tokens=60, **settings)
        assert ours == expected
    alone = native.generate("ab", seed=4, sample_index=3, max_new_tokens=60, **settings)
    assert alone == expected[3]


def test_both_engines_score_the_same(native: LanguageModel, model_folder: Path) -> None:
    theirs = load(model_folder, engine="torch", device="cpu")
    text = "abba ABBA\nThe cab\n" * 5
    for window in ({}, {"context": 8, "stride": 3}, {"context": 1}):
        ours = native.evaluate(text, prefix="ab", **window)
        expected = theirs.evaluate(text, prefix="ab", **window)
        assert ours.bits_per_byte == pytest.approx(expected.bits_per_byte, rel=1e-6)


def test_sample_does_not_import_torch(native: LanguageModel) -> None:
    code = f"""
import sys
from tinygpt.cli.main import main
verb = ["sample", {str(native.path)!r}, "ab", "--max-new-tokens", "5", "--device", "cpu"]
assert main([*verb, "--threads", "1"]) == 0
print(sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")
    assert "engine: native (" in done.stderr
