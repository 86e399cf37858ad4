"""Weight files: read as the safetensors library reads them, refused where it should refuse."""

import json
import os
import pickle
import random
import resource
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file
from safetensors.torch import save_file as save_torch

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.formats import safetensors_header
from tinygpt.formats.weights import read_safetensors, read_weights, write_safetensors

Arrays = dict[str, np.ndarray[Any, Any]]

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BOOL": "?",
    "U8": "u1",
    "I64": "<i8",
    "I32": "<i4",
}

arrays_by_name = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    hnp.arrays(
        dtype=st.sampled_from([*DTYPES.values()]),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    max_size=6,
)
quick = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(path: Path, header: Any, body: bytes = b"") -> Path:
    """Write a file with any header, well formed or not."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)
    return path


def entry(start: int, end: int, shape: Any = None, dtype: Any = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - start) // 4] if shape is None else shape,
        "data_offsets": [start, end],
    }


def peak_bytes() -> int:
    """Most memory this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def assert_same(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        np.testing.assert_array_equal(actual[name], array)  # shapes too; NaN equals NaN
        assert actual[name].shape == array.shape, name


class TestReading:
    @quick
    @given(arrays=arrays_by_name)
    def test_reads_what_the_library_reads(self, tmp_path: Path, arrays: Arrays) -> None:
        path = tmp_path / "x.safetensors"
        safetensors.numpy.save_file(arrays, path, metadata={"any": "thing"})
        assert_same(read_safetensors(path), load_file(path))

    @quick
    @given(values=hnp.arrays(np.float32, hnp.array_shapes(min_side=0)))
    def test_bf16_becomes_float32(self, tmp_path: Path, values: np.ndarray[Any, Any]) -> None:
        path, tensor = tmp_path / "x.safetensors", torch.from_numpy(values).bfloat16()
        save_torch({"x": tensor}, path)
        assert_same(read_safetensors(path), {"x": tensor.float().numpy()})

    @pytest.mark.parametrize("dtype", ["F32", "F16", "F64", "BOOL"])
    def test_arrays_are_views_on_one_copy_on_write_map(self, tmp_path: Path, dtype: str) -> None:
        path = tmp_path / "x.safetensors"
        arrays = {name: np.ones((3, 4), DTYPES[dtype]) for name in "ab"}
        write_safetensors(path, arrays)
        before = path.read_bytes()
        read = read_safetensors(path)
        maps = set()
        for array in read.values():
            base: Any = array
            while isinstance(base.base, np.ndarray):
                base = base.base
            assert isinstance(base, np.memmap)
            assert np.shares_memory(array, base)
            maps.add(id(base))
            array[:] = 0  # weights can be trained on the spot
        assert len(maps) == 1
        assert path.read_bytes() == before

    def test_opening_costs_no_memory(self, tmp_path: Path) -> None:
        n_bytes = 2**30
        raw = json.dumps({"x": entry(0, n_bytes)}).encode()
        path = write(tmp_path / "x.safetensors", raw + b" " * (-len(raw) % 8))
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + n_bytes)  # sparse
        before = peak_bytes()
        array = read_safetensors(path)["x"]
        assert array.shape == (n_bytes // 4,)
        assert array[-1] == 0
        assert peak_bytes() - before < n_bytes / 10

    def test_header_of_odd_length_gives_aligned_arrays(self, tmp_path: Path) -> None:
        values = np.arange(5, dtype="<f4")
        raw = json.dumps({"x": entry(0, 20)}).encode()
        path = write(tmp_path / "x", raw + b" " * (1 - len(raw) % 2), values.tobytes())
        array = read_safetensors(path)["x"]
        assert array.flags.aligned
        np.testing.assert_array_equal(array, values)

    def test_order_in_header_and_file_may_differ(self, tmp_path: Path) -> None:
        values = np.arange(3, dtype="<f4")
        header = {"b": entry(4, 12), "nothing": entry(4, 4), "a": entry(0, 4)}
        read = read_safetensors(write(tmp_path / "x", header, values.tobytes()))
        assert_same(read, {"b": values[1:], "nothing": values[:0], "a": values[:1]})

    def test_no_tensors_at_all(self, tmp_path: Path) -> None:
        assert read_safetensors(write(tmp_path / "x", {})) == {}


class TestRefusals:
    @pytest.fixture
    def good(self, tmp_path: Path) -> Path:
        path = tmp_path / "good.safetensors"
        write_safetensors(
            path,
            {
                "wte.weight": np.arange(12, dtype="<f4").reshape(3, 4),
                "b": np.arange(3, dtype="<f2"),
                "scalar": np.array(1.5),
            },
        )
        return path

    def test_truncated_anywhere(self, good: Path) -> None:
        data = good.read_bytes()
        for n in range(len(data)):
            good.write_bytes(data[:n])
            with pytest.raises(CheckpointError, match=r"good\.safetensors"):
                read_safetensors(good)

    def test_trailing_bytes(self, good: Path) -> None:
        good.write_bytes(good.read_bytes() + b"\0")
        with pytest.raises(CheckpointError, match="take 62 bytes, the file holds 63"):
            read_safetensors(good)

    BODY = b"12345678"
    BAD_HEADERS: Mapping[str, Any] = {
        "not json": b"{nonsense",
        "not utf-8": b'{"\xff": 1}',
        "utf-16": json.dumps({"a": entry(0, 8)}).encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + json.dumps({"a": entry(0, 8)}).encode(),
        "a list": [],
        "deep": b"[" * 200_000,
        "deep in a tensor": b'{"a":' * 100_000,
        "number of 10,000 digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b"]}}",
        "duplicate tensor": b'{"a":%b,"a":%b}' % (2 * (json.dumps(entry(0, 8)).encode(),)),
        "duplicate key": b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        "metadata are a list": {"__metadata__": ["a"], "a": entry(0, 8)},
        "metadata hold a number": {"__metadata__": {"x": 1}, "a": entry(0, 8)},
        "entry is a list": {"a": [1, 2]},
        "entry is null": {"a": None},
        "no dtype": {"a": {"shape": [2], "data_offsets": [0, 8]}},
        "unknown dtype": {"a": entry(0, 8, dtype="F8_E4M3")},
        "dtype is a list": {"a": entry(0, 8, dtype=["F32"])},
        "shape is an object": {"a": entry(0, 4, shape={}), "b": entry(4, 8)},
        "shape is a text": {"a": entry(0, 4, shape=""), "b": entry(4, 8)},
        "shape of floats": {"a": entry(0, 8, shape=[2.0])},
        "shape of booleans": {"a": entry(0, 4, shape=[True]), "b": entry(4, 8)},
        "negative shape": {"a": entry(0, 8, shape=[-1, -2])},
        "shape too small": {"a": entry(0, 8, shape=[1])},
        "shape too large": {"a": entry(0, 8, shape=[3])},
        "shape that overflows 64 bits": {"a": entry(0, 8, shape=[2**32, 2**32, 2])},
        "absurd shape without bytes": {"a": entry(0, 0, shape=[0, 2**70]), "b": entry(0, 8)},
        "100 dimensions": {"a": entry(0, 8, shape=[2] + [1] * 99)},
        "offsets are three": {"a": entry(0, 8) | {"data_offsets": [0, 4, 8]}},
        "offsets turned round": {"a": entry(0, 8) | {"data_offsets": [8, 0]}},
        "offsets of floats": {"a": entry(0, 8) | {"data_offsets": [0.0, 8.0]}},
        "beyond the file": {"a": entry(0, 12)},
        "overlap": {"a": entry(0, 8), "b": entry(4, 8)},
        "overlap that adds up": {"a": entry(0, 4), "b": entry(0, 4)},
        "gap at the start": {"a": entry(4, 8)},
        "gap in the middle": {"a": entry(0, 2, dtype="F16", shape=[1]), "b": entry(4, 8)},
        "empty tensor off the seam": {"a": entry(0, 8), "b": entry(2, 2)},
    }

    @pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
    def test_bad_header(self, header: Any, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"bad\.safetensors: ."):
            read_safetensors(write(tmp_path / "bad.safetensors", header, self.BODY))

    def test_messages_name_the_tensor(self, tmp_path: Path) -> None:
        for bad in (entry(0, 8, shape=[3]), entry(0, 8, dtype="F8_E4M3"), entry(0, 8, shape=[0.5])):
            with pytest.raises(CheckpointError, match=r"tensor 'h\.0\.ln_1\.bias'"):
                read_safetensors(write(tmp_path / "x", {"h.0.ln_1.bias": bad}, self.BODY))

    @pytest.mark.parametrize("n", [2**63, 2**64 - 1, safetensors_header.MAX_HEADER_BYTES + 1])
    def test_absurd_header_length(self, tmp_path: Path, n: int) -> None:
        path = tmp_path / "x"
        path.write_bytes(struct.pack("<Q", n) + b"{}")
        with path.open("r+b") as file:
            file.truncate(safetensors_header.MAX_HEADER_BYTES + 1000)  # sparse
        with pytest.raises(CheckpointError, match=r"not a (safetensors file|GPT-2)"):
            read_safetensors(path)

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="can't be read"):
            read_safetensors(tmp_path)
        with pytest.raises(CheckpointError, match="can't be read"):
            read_safetensors(tmp_path / "missing")

    @pytest.mark.parametrize("seed", range(4))
    def test_mutated_headers_give_arrays_or_a_checkpoint_error(self, good: Path, seed: int) -> None:
        """And nothing is accepted that the library, strict as it is, would read otherwise."""
        rng = random.Random(seed)
        data = good.read_bytes()
        n_header = int.from_bytes(data[:8], "little")
        refused = 0
        for _ in range(200):
            raw = mutated(data[8 : 8 + n_header], rng)
            write(good, raw, data[8 + n_header :])
            try:
                read = read_safetensors(good)
            except CheckpointError:
                refused += 1
            else:
                assert_same(read, load_file(good))
        assert 100 < refused < 200

    def test_random_bytes(self, tmp_path: Path) -> None:
        rng, path = random.Random(0), tmp_path / "x"
        for _ in range(200):
            path.write_bytes(struct.pack("<Q", rng.randrange(40)) + rng.randbytes(40))
            with pytest.raises(CheckpointError):
                read_safetensors(path)


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Change a header: a byte, a stretch, or a word for another that might pass."""
    words = [
        b'"F32"',
        b'"BF16"',
        b"0",
        b"48",
        b"-1",
        b"1e3",
        b"null",
        b"{}",
        b"[]",
        b"[0,2]",
        b'""',
    ]
    kind, at = rng.randrange(4), rng.randrange(len(raw))
    if kind == 0:
        return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at] + raw[at + rng.randrange(1, 9) :]
    if kind == 2:
        other = rng.randrange(len(raw))
        return raw[:at] + raw[other : other + rng.randrange(1, 30)] + raw[at:]
    values = [i for i in range(len(raw)) if raw[i - 1 : i] in (b":", b"[", b",")]
    start = rng.choice(values)
    end = min(
        i for i in range(start + 1, len(raw) + 1) if raw[i : i + 1] in (b",", b"]", b"}", b"")
    )
    return raw[:start] + rng.choice(words) + raw[end:]


class TestWriting:
    @quick
    @given(arrays=arrays_by_name)
    def test_the_library_reads_it_back(self, tmp_path: Path, arrays: Arrays) -> None:
        path = tmp_path / "x.safetensors"
        turned = {name: array.T for name, array in arrays.items()}
        write_safetensors(path, turned)
        assert_same(load_file(path), turned)
        assert_same(read_safetensors(path), turned)

    def test_says_pt_for_transformers(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        write_safetensors(path, {"x": np.zeros(1)})
        with safetensors.safe_open(path, "numpy") as file:
            assert file.metadata() == {"format": "pt"}

    @pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
    def test_mode_is_that_of_any_new_file(self, tmp_path: Path, umask: int) -> None:
        path, before = tmp_path / "x", os.umask(umask)
        try:
            write_safetensors(path, {"x": np.zeros(1)})
            assert os.umask(umask) == umask
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask

    def test_replaces_by_rename(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        write_safetensors(path, {"x": np.zeros(4)})
        old, inode = read_safetensors(path)["x"], path.stat().st_ino
        write_safetensors(path, {"x": np.ones(4)})
        assert path.stat().st_ino != inode
        assert (old == 0).all()  # a map of the old file lives on
        assert (read_safetensors(path)["x"] == 1).all()
        assert os.listdir(tmp_path) == ["x"]

    def test_flushes_before_it_renames(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, events = tmp_path / "x", []
        fsync, replace = os.fsync, Path.replace
        monkeypatch.setattr(
            os, "fsync", lambda fd: (events.append(("fsync", os.fstat(fd).st_ino)), fsync(fd))
        )
        monkeypatch.setattr(
            Path, "replace", lambda a, b: (events.append(("rename", b)), replace(a, b))[1]
        )
        write_safetensors(path, {"x": np.zeros(4)})
        assert events == [
            ("fsync", path.stat().st_ino),
            ("rename", path),
            ("fsync", tmp_path.stat().st_ino),
        ]

    @pytest.fixture
    def small_files_only(self) -> Iterator[None]:
        """The disk is full after 4096 bytes of a file."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_full_disk_leaves_the_old_file(self, tmp_path: Path, request: Any) -> None:
        path = tmp_path / "x.safetensors"
        write_safetensors(path, {"x": np.arange(4)})
        before = path.read_bytes()
        request.getfixturevalue("small_files_only")
        with pytest.raises(MachineError, match=r"x\.safetensors can't be written: .*free space"):
            write_safetensors(path, {"x": np.zeros(10_000)})
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["x.safetensors"]

    @pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
    def test_nothing_is_left_when_it_ends_halfway(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        path = tmp_path / "x"
        write_safetensors(path, {"x": np.zeros(1)})

        def fail(_fd: int) -> None:
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(MachineError if isinstance(error, OSError) else KeyboardInterrupt):
            write_safetensors(path, {"x": np.ones(1)})
        assert os.listdir(tmp_path) == ["x"]
        assert read_safetensors(path)["x"] == 0

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MachineError, match="can't be written"):
            write_safetensors(tmp_path / "no" / "x", {"x": np.zeros(1)})


class TestFolder:
    """model.safetensors, shards, pickles: which is read, and which is not."""

    ARRAYS: ClassVar[Arrays] = {
        "wte.weight": np.arange(6, dtype="<f4").reshape(2, 3),
        "h.0.ln_1.bias": np.arange(3, dtype="<f4"),
        "ln_f.bias": np.ones(3, "<f4"),
    }

    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array.copy()) for name, array in self.ARRAYS.items()}

    def write_shards(self, folder: Path, kind: str) -> Path:
        """Two shards and their index, as transformers names them."""
        tensors = self.tensors()
        parts = [dict(list(tensors.items())[:1]), dict(list(tensors.items())[1:])]
        stem = "model" if kind == "safetensors" else "pytorch_model"
        weight_map = {}
        for i, part in enumerate(parts, 1):
            name = f"{stem}-{i:05}-of-00002.{kind}"
            (save_torch if kind == "safetensors" else torch.save)(part, folder / name)
            weight_map |= dict.fromkeys(part, name)
        index = folder / f"{stem}.{kind}.index.json"
        index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": weight_map}))
        return index

    def test_single_file(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "model.safetensors", self.ARRAYS)
        assert_same(read_weights(tmp_path), self.ARRAYS)

    def test_shards(self, tmp_path: Path) -> None:
        self.write_shards(tmp_path, "safetensors")
        assert_same(read_weights(tmp_path), self.ARRAYS)

    def test_shards_that_transformers_wrote(self, tmp_path: Path, hf_gpt2: Any) -> None:
        hf_gpt2.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
        expected = {k: v.numpy() for k, v in hf_gpt2.state_dict().items() if k != "lm_head.weight"}
        assert_same(read_weights(tmp_path), expected)

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
    def test_pickle_only_when_allowed(self, tmp_path: Path, zipped: bool) -> None:
        path = tmp_path / "pytorch_model.bin"
        torch.save(self.tensors(), path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin.*--allow-pickle"):
            read_weights(tmp_path)
        assert_same(read_weights(tmp_path, allow_pickle=True), self.ARRAYS)

    def test_pickled_shards_only_when_allowed(self, tmp_path: Path) -> None:
        self.write_shards(tmp_path, "bin")
        with pytest.raises(
            CheckpointError, match=r"pytorch_model\.bin\.index\.json.*--allow-pickle"
        ):
            read_weights(tmp_path)
        assert_same(read_weights(tmp_path, allow_pickle=True), self.ARRAYS)

    def test_safetensors_win_over_a_pickle(self, tmp_path: Path) -> None:
        torch.save({"other": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
        write_safetensors(tmp_path / "model.safetensors", self.ARRAYS)
        assert_same(read_weights(tmp_path, allow_pickle=True), self.ARRAYS)

    def test_pickled_halves_and_parameters(self, tmp_path: Path) -> None:
        state = {
            "half": torch.ones(2, dtype=torch.float16),
            "brain": torch.ones(2, dtype=torch.bfloat16),
            "learned": torch.nn.Parameter(torch.ones(2)),
        }
        torch.save(state, tmp_path / "pytorch_model.bin")
        read = read_weights(tmp_path, allow_pickle=True)
        assert {name: array.dtype for name, array in read.items()} == {
            "half": np.float16,
            "brain": np.float32,
            "learned": np.float32,
        }
        assert all((array == 1).all() for array in read.values())

    def test_no_weights(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no weights"):
            read_weights(tmp_path)

    @pytest.mark.parametrize(
        "state",
        [[torch.zeros(1)], {"epoch": 3}, {1: torch.zeros(1)}, torch.zeros(1), {"a": {"b": 1}}],
        ids=["list", "number", "key", "tensor", "nested"],
    )
    def test_pickles_that_are_no_state_dict(self, tmp_path: Path, state: Any) -> None:
        torch.save(state, tmp_path / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="not a plain state_dict"):
            read_weights(tmp_path, allow_pickle=True)

    @pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04 broken"])
    def test_damaged_pickle(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "pytorch_model.bin").write_bytes(data)
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
            read_weights(tmp_path, allow_pickle=True)


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


class TestMaliciousPickle:
    """Refused even with --allow-pickle, and nothing of it runs."""

    @pytest.mark.parametrize("how", ["bare", "legacy torch", "torch", "in a tensor's place"])
    def test_runs_nothing(self, tmp_path: Path, how: str) -> None:
        folder, canary = tmp_path / "model", tmp_path / "canary"
        folder.mkdir()
        path, evil = folder / "pytorch_model.bin", Evil(canary)
        if how == "bare":
            path.write_bytes(pickle.dumps(evil))
        elif how == "legacy torch":
            torch.save({"wte.weight": evil}, path, _use_new_zipfile_serialization=False)
        elif how == "torch":
            torch.save(evil, path)
        else:
            torch.save({"wte.weight": torch.zeros(2), "x": [evil]}, path)
        for allow_pickle in (False, True):
            with pytest.raises(CheckpointError):
                read_weights(folder, allow_pickle=allow_pickle)
        assert not canary.exists()
        if how == "bare":  # the trap is a real one
            pickle.loads(path.read_bytes())
            assert canary.exists()

    def test_in_a_shard(self, tmp_path: Path) -> None:
        canary = tmp_path / "canary"
        torch.save({"x": Evil(canary)}, tmp_path / "a.bin")
        index = {"weight_map": {"x": "a.bin"}}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError):
            read_weights(tmp_path, allow_pickle=True)
        assert not canary.exists()

    def test_under_the_name_of_safetensors(self, tmp_path: Path) -> None:
        canary = tmp_path / "canary"
        torch.save({"x": Evil(canary)}, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            read_weights(tmp_path, allow_pickle=True)
        torch.save({"x": Evil(canary)}, tmp_path / "a.bin")
        (tmp_path / "model.safetensors").unlink()
        index = {"weight_map": {"x": "a.bin"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            read_weights(tmp_path, allow_pickle=True)
        assert not canary.exists()


class TestShardIndex:
    @staticmethod
    def refuse(folder: Path, index: Any, match: str) -> None:
        raw = index if isinstance(index, bytes) else json.dumps(index).encode()
        (folder / "model.safetensors.index.json").write_bytes(raw)
        with pytest.raises(CheckpointError, match=match):
            read_weights(folder)

    @pytest.mark.parametrize(
        "index",
        [
            b"{",
            b"\xff",
            b"[" * 100_000,
            [],
            {},
            {"weight_map": []},
            {"weight_map": {"a": ["x"]}},
            {"weight_map": {"a": "x", "b": 1}},
            {"weight_map": {"a": None}},
        ],
    )
    def test_damaged(self, tmp_path: Path, index: Any) -> None:
        self.refuse(tmp_path, index, r"model\.safetensors\.index\.json")

    @pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors"])
    def test_names_outside_the_folder(self, tmp_path: Path, name: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        write_safetensors(tmp_path / "x.safetensors", {"a": np.zeros(1)})
        self.refuse(folder, {"weight_map": {"a": name}}, "not the name of a file beside it")

    @pytest.mark.parametrize("name", ["", ".", ".."])
    def test_folders_are_no_shards(self, tmp_path: Path, name: str) -> None:
        self.refuse(tmp_path, {"weight_map": {"a": name}}, "can't be read|not the name")

    def test_missing_shard(self, tmp_path: Path) -> None:
        self.refuse(tmp_path, {"weight_map": {"a": "b.safetensors"}}, "b.safetensors is missing")

    def test_tensor_in_two_shards(self, tmp_path: Path) -> None:
        for name in "xy":
            write_safetensors(tmp_path / name, {"a": np.zeros(1), name: np.zeros(1)})
        index = {"weight_map": {"a": "x", "x": "x", "y": "y"}}
        self.refuse(tmp_path, index, "tensor 'a' is in another shard")
