"""Packed weights are kept by what they are made of, and noticed when they are damaged."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.inference.test_native_session import SHAPES, Arrays, tensors

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.formats.weights import read_weights, write_safetensors
from tinygpt.inference import packed_weights
from tinygpt.inference.native_library import library, shape_of, unavailable
from tinygpt.inference.native_session import NativeSession
from tinygpt.inference.packed_weights import PRECISIONS, PackedModel, open_packed
from tinygpt.storage.cache_folder import cache_dir

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

CONFIG = ModelConfig(vocab_size=2100, n_positions=8, n_embd=32, n_layer=1, n_head=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with weights that nobody touched for a minute."""
    path = tmp_path / "model"
    path.mkdir()
    write_safetensors(path / "model.safetensors", tensors(CONFIG))
    return path


@pytest.fixture
def n_packed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often weights have been packed."""
    count, pack = [0], packed_weights._pack

    def counting(*arguments: Any) -> None:
        count[0] += 1
        pack(*arguments)

    monkeypatch.setattr(packed_weights, "_pack", counting)
    monkeypatch.setattr(packed_weights, "_RACY_S", -1.0)  # the test's files are new
    return lambda: count[0]


def opened(folder: Path, precision: str = "exact", config: ModelConfig = CONFIG) -> PackedModel:
    return open_packed(read_weights(folder), config, precision=precision, source=folder)


def rows(model: PackedModel) -> np.ndarray[Any, Any]:
    return NativeSession(model, threads=1).verify(0, [1, 2, 3])


def packed_files() -> list[Path]:
    return sorted((cache_dir() / "packed").glob("*.packed"))


class TestCache:
    def test_packed_once(self, folder: Path, n_packed: Callable[[], int]) -> None:
        first, second = opened(folder), opened(folder)
        assert n_packed() == 1
        np.testing.assert_array_equal(rows(first), rows(second))
        assert [path.stat().st_size for path in packed_files()] == [first.n_bytes]
        assert {path.suffix for path in (cache_dir() / "packed").iterdir()} == {".packed", ".json"}

    def test_one_file_for_each_precision_shape_and_layout(
        self, folder: Path, n_packed: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for precision in PRECISIONS:
            assert opened(folder, precision).precision == precision
        opened(folder, config=replace(CONFIG, activation_function="relu"))
        assert n_packed() == 4
        monkeypatch.setenv("TINYGPT_NATIVE_ISA", "portable")
        assert opened(folder).isa == "portable"
        assert (n_packed(), len(packed_files())) == (5, 5)

    def test_a_copy_shares_it(
        self, folder: Path, tmp_path: Path, n_packed: Callable[[], int]
    ) -> None:
        opened(folder)
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        opened(copy)
        assert n_packed() == 1

    def test_changed_weights_are_packed_anew(
        self, folder: Path, n_packed: Callable[[], int]
    ) -> None:
        before, path = opened(folder), folder / "model.safetensors"
        old = path.stat()
        write_safetensors(path, tensors(CONFIG, seed=1))
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))  # same size, same time
        after = opened(folder)
        assert n_packed() == 2
        assert np.abs(rows(before) - rows(after)).max() > 0.1

    def test_hashed_only_when_changed(
        self, folder: Path, n_packed: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened(folder)
        monkeypatch.setattr(packed_weights, "weights_sha256", lambda _: pytest.fail("hashed again"))
        opened(folder)
        assert n_packed() == 1

    def test_a_file_of_this_moment_is_hashed_again(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened(folder)  # it could change again without a change of its times
        calls: list[Path] = []
        hashed = packed_weights.weights_sha256
        monkeypatch.setattr(
            packed_weights, "weights_sha256", lambda p: calls.append(p) or hashed(p)
        )
        opened(folder)
        assert calls == [folder]

    def test_weights_without_a_folder_leave_nothing(self) -> None:
        model = open_packed(tensors(CONFIG), CONFIG, precision="int8", source=None)
        assert rows(model).shape == (3, 2100)
        assert list((cache_dir() / "packed").iterdir()) == []

    def test_the_oldest_make_room(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened(folder, "exact")
        (oldest,) = packed_files()
        os.utime(oldest, (1, 1))
        other = oldest.with_name("notes.packed")
        left_over = oldest.with_name(".old.packed.1.tmp")
        for path in (other, left_over):
            path.write_bytes(b"x" * 10)
            os.utime(path, (1, 1))
        monkeypatch.setattr(packed_weights, "MAX_BYTES", oldest.stat().st_size + 100)
        opened(folder, "int8")
        assert not oldest.exists()
        assert not left_over.exists()
        assert other.exists()  # not ours
        assert len(packed_files()) == 2


class TestDamage:
    def test_every_flipped_byte_and_every_cut_is_noticed(
        self, folder: Path, n_packed: Callable[[], int], caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = rows(opened(folder))
        (path,) = packed_files()
        whole, rng = path.read_bytes(), np.random.default_rng(0)
        places = [
            *range(0, 120, 5),
            65536,
            len(whole) - 65,
            *rng.integers(65536, len(whole) - 64, 12),
        ]
        for n, place in enumerate(places):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            np.testing.assert_array_equal(rows(opened(folder)), expected)
            assert n_packed() == n + 2
            assert path.read_bytes() == whole
        for size in (0, 7, 100, 4095, 65535, 65536, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            opened(folder)
            assert path.read_bytes() == whole
        path.write_bytes(whole + b"\0")
        opened(folder)
        assert path.read_bytes() == whole
        assert "it is packed anew" in caplog.text

    def test_of_another_shape_or_layout(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened(folder)
        (path,) = packed_files()
        with pytest.raises(CheckpointError, match="another shape"):
            PackedModel(library(), path, replace(CONFIG, n_positions=9), "exact")
        monkeypatch.setenv("TINYGPT_NATIVE_ISA", "portable")
        if library().panel != 64:
            with pytest.raises(CheckpointError, match="another version or CPU"):
                PackedModel(library(), path, CONFIG, "exact")

    @pytest.mark.parametrize("place", range(16, 88, 8))
    def test_a_header_that_lies_is_refused(self, folder: Path, place: int) -> None:
        """A file whose checksum is right and whose sizes are not: nothing is read beyond it."""
        opened(folder)
        (path,) = packed_files()
        for value in (0, 1, 3, 2**31, 2**62, 2**63):
            lie = bytearray(path.read_bytes())
            if lie[place : place + 8] == value.to_bytes(8, "little"):
                continue
            lie[place : place + 8] = value.to_bytes(8, "little")
            lie[112:120] = (0).to_bytes(8, "little")
            lie[112:120] = checksum(bytes(lie[:120])).to_bytes(8, "little")
            aside = path.with_name("lie")
            aside.write_bytes(lie)
            with pytest.raises(CheckpointError):
                PackedModel(library(), aside, CONFIG, "exact")


def checksum(data: bytes) -> int:
    """native/decode.cpp's checksum of a header."""
    mask, prime = 2**64 - 1, 0x9E3779B97F4A7C15
    lane = [7, 8, 9, 10]
    whole = len(data) // 32 * 32
    for i in range(0, whole, 32):
        for j in range(4):
            word = int.from_bytes(data[i + 8 * j : i + 8 * j + 8], "little")
            lane[j] = (lane[j] ^ word) * prime & mask
            lane[j] ^= lane[j] >> 29
    for byte in data[whole:]:
        lane[0] = (lane[0] ^ byte) * prime & mask
    total = len(data)
    for one in lane:
        total = (total ^ one) * prime & mask
        total ^= total >> 31
    return total


def test_the_checksum_of_a_true_header(folder: Path) -> None:
    opened(folder)
    header = bytearray(packed_files()[0].read_bytes()[:120])
    found = int.from_bytes(header[112:120], "little")
    header[112:120] = bytes(8)
    assert checksum(bytes(header)) == found


class TestRefusals:
    def test_an_unknown_precision(self) -> None:
        with pytest.raises(ConfigError, match='"int9" is not known; did you mean "int8"'):
            open_packed({}, CONFIG, precision="int9", source=None)

    def test_tensors_of_another_model(self) -> None:
        with pytest.raises(CheckpointError, match="has shape"):
            open_packed(
                tensors(CONFIG), replace(CONFIG, vocab_size=2000), precision="exact", source=None
            )

    def test_a_cache_that_cannot_be_written(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("not a folder", "utf-8")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(MachineError, match="set XDG_CACHE_HOME"):
            opened(folder)

    def test_a_full_disk(self, folder: Path) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full here")
        shape = shape_of(CONFIG)
        state = packed_weights.from_hf(tensors(CONFIG), CONFIG, "test")
        arrays = [np.asarray(state[name]) for name in packed_weights._names(CONFIG)]
        given = (packed_weights.Tensor * len(arrays))(*map(packed_weights._tensor, arrays))
        with pytest.raises(MachineError, match="can't be written"):
            library().call("pack", b"/dev/full", shape, given, len(arrays), 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_packed_as_float32(dtype: Any) -> None:
    given: Arrays = {name: array.astype(dtype) for name, array in tensors(CONFIG).items()}
    same: Arrays = {name: array.astype(np.float32) for name, array in given.items()}
    a, b = (open_packed(t, CONFIG, precision="exact", source=None) for t in (given, same))
    np.testing.assert_array_equal(rows(a), rows(b))


def test_names_cover_every_tensor() -> None:
    for config in SHAPES.values():
        state = packed_weights.from_hf(tensors(config), config, "test")
        assert sorted(packed_weights._names(config)) == sorted(state)


@pytest.mark.slow
def test_packing_distilgpt2_takes_seconds() -> None:
    from tinygpt.config.model_config import PRESETS

    weights = tensors(PRESETS["distilgpt2"])
    started_s = time.process_time()
    open_packed(weights, PRESETS["distilgpt2"], precision="exact", source=None)
    assert time.process_time() - started_s < 10
