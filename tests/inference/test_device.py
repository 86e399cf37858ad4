import os

import pytest
import torch

from tinygpt.errors import ConfigError
from tinygpt.inference.device import pick_as_recorded, pick_device, without_denormals


@pytest.fixture(autouse=True)
def _keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def one_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


def test_auto_takes_the_cpu_in_float32_where_there_is_no_gpu(no_gpu):
    picked = pick_device()
    assert picked.device == torch.device("cpu")
    assert picked.dtype == torch.float32
    assert "no GPU found" in picked.why


def test_auto_prefers_cuda_with_bfloat16(one_cuda):
    picked = pick_device()
    assert (picked.device.type, picked.dtype) == ("cuda", torch.bfloat16)
    assert "Card" in picked.why


def test_auto_prefers_mps_to_the_cpu_and_stays_in_float32(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    picked = pick_device()
    assert (picked.device.type, picked.dtype) == ("mps", torch.float32)


def test_threads_are_set_and_reported():
    assert pick_device("cpu", threads=1).threads == 1
    assert torch.get_num_threads() == 1
    assert pick_device("cpu").threads == 1  # 0 changes nothing


def test_bfloat16_on_the_cpu_only_when_asked_for():
    assert pick_device("cpu").dtype == torch.float32
    assert pick_device("cpu", "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cuda"}, "use --device cpu"),
        ({"device": "mps"}, "no Apple GPU"),
        ({"device": "cudda"}, 'did you mean "cuda"'),
        ({"device": "cpu:1"}, "is not known"),
        ({"device": "cpu", "dtype": "float16"}, "known: auto, float32, bfloat16"),
        ({"device": "cpu", "threads": -1}, "threads=-1"),
        ({"device": "cpu", "threads": 100_000}, "threads=100000 is not allowed: 1 to 1024"),
    ],
)
def test_refuses_what_is_not_there(no_gpu, arguments, message):
    with pytest.raises(ConfigError, match=message):
        pick_device(**arguments)


def test_refuses_a_second_card_and_bfloat16_that_are_not_there(one_cuda, monkeypatch):
    with pytest.raises(ConfigError, match=r"1 CUDA device\(s\)"):
        pick_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert pick_device("cuda").dtype == torch.float32
    with pytest.raises(ConfigError, match="--dtype float32"):
        pick_device("cuda", "bfloat16")


def test_the_threads_of_a_run_are_taken_again_where_there_are_so_many(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    torch.set_num_threads(2)
    assert pick_as_recorded({"device": "cpu", "threads": 1}, "auto", "auto", 0).threads == 1
    assert torch.get_num_threads() == 1
    assert pick_as_recorded({"device": "cpu", "threads": 1}, "cpu", "auto", 2).threads == 2  # asked
    assert pick_as_recorded({"device": "cpu", "threads": 1}, "cpu", "auto", 0).threads == 1
    assert pick_as_recorded({"device": "cpu", "threads": 3}, "auto", "auto", 0).threads == 1
    assert pick_as_recorded({}, "auto", "auto", 0).threads == 1  # nothing recorded: as it is


def test_what_is_taken_from_the_record_is_not_said_to_be_asked_for(no_gpu):
    recorded = {"device": "cpu", "dtype": "bfloat16", "threads": 1}
    why = pick_as_recorded(recorded, "auto", "auto", 0).why
    assert why.startswith("cpu (as the run began), bfloat16 (as the run began)")
    why = pick_as_recorded(recorded, "auto", "float32", 0).why
    assert why.startswith("cpu (as the run began), float32 (as asked)")
    assert pick_as_recorded(recorded, "cpu", "auto", 0).why.startswith("cpu (as asked), float32")


def test_denormals_are_zeros_only_where_it_is_asked_for() -> None:
    small = torch.full((1,), 1e-40)
    assert float(small * 1) != 0
    with without_denormals():
        assert float(small * 1) == 0
        with without_denormals():
            assert float(small * 1) == 0
        assert float(small * 1) == 0  # as it was outside of the inner one
    assert float(small * 1) != 0
