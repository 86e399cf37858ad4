"""Models opened to be served: each with its name, its bounds and its batcher."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.serve.batching.test_scheduler import Noted
from tests.serve.serving import Heard, job_of

from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.inference.load import load
from tinygpt.serve.batching.jobs import Full
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.models import open_models


def test_two_models_write_side_by_side(model_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model_folder, tmp_path / "other")
    seen: dict[str, Any] = {}

    def observe(name: str) -> Noted:
        return seen.setdefault(name, Noted())

    config = ServeConfig(slots=2, max_waiting=1)
    found = open_models(
        [str(model_folder), str(other)], config, EngineOptions(threads=1), observe=observe
    )
    assert [one.name for one in found] == ["tiny", "other"]
    expected = load(model_folder, threads=1).generate("abc", temperature=0, max_new_tokens=9)
    for one in found:
        assert one.batcher.n_slots == 2
        heard, ids = Heard(), [int(i) for i in one.lm.tokenizer.encode("abc")]
        one.batcher.submit(job_of(ids, max_new_tokens=9), heard)
        assert heard.wait().text == expected
        one.batcher.close(1)
    assert [noted.reasons for noted in seen.values()] == [["length"], ["length"]]


def test_the_bounds_are_the_configs(model_folder: Path) -> None:
    config = ServeConfig(slots=1, max_waiting=2, max_waiting_per_client=2)
    (one,) = open_models([str(model_folder)], config, EngineOptions(threads=1))
    jobs = [job_of([1], client=str(i), max_new_tokens=10_000) for i in range(4)]
    for job in jobs[:3]:
        one.batcher.submit(job, Heard())
    with pytest.raises(Full):
        one.batcher.submit(jobs[3], Heard())
    one.batcher.close(0)


def test_one_name_twice_is_refused(model_folder: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(model_folder, tmp_path / "elsewhere" / "tiny")
    with pytest.raises(ConfigError, match='two models are called "tiny"'):
        open_models([str(model_folder), str(twin)], ServeConfig())


def test_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one"):
        open_models([], ServeConfig())


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        open_models([str(tmp_path / "nothing")], ServeConfig())
