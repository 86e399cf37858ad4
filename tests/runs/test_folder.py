"""A run folder appears whole or not at all."""

import os
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.errors import ConfigError, MachineError
from tinygpt.runs import folder as run_folder
from tinygpt.runs.folder import create
from tinygpt.runs.lock import holder


def test_a_folder_that_appears_while_one_is_made_is_left_alone(
    tmp_path: Path, tiny_config, char_tokenizer
) -> None:
    """A rename would take the place of an empty folder without a word."""
    out = tmp_path / "runs" / "r"
    with pytest.raises(ConfigError, match="exists already"):
        create(
            out,
            config=tiny_config,
            generation_config=GenerationConfig(),
            tokenizer=char_tokenizer,
            recipe=SimpleNamespace(to_dict=dict),
            environment={},
            first_checkpoint=lambda _: out.mkdir(),
            held=ExitStack(),
        )
    assert list(out.iterdir()) == []
    assert list(out.parent.iterdir()) == [out]


def test_a_disk_without_room_for_the_checkpoints_to_come_is_refused(
    tmp_path: Path, tiny_config, char_tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"

    def first_checkpoint(folder: Path) -> None:
        (folder / "checkpoints" / "step-00000000").mkdir(parents=True)
        (folder / "checkpoints" / "step-00000000" / "x").write_bytes(bytes(1000))

    held = ExitStack()

    def make() -> None:
        create(
            out,
            config=tiny_config,
            generation_config=GenerationConfig(),
            tokenizer=char_tokenizer,
            recipe=SimpleNamespace(to_dict=dict),
            environment={},
            first_checkpoint=first_checkpoint,
            held=held,
        )

    monkeypatch.setattr(run_folder, "free_bytes", lambda _: 2999)
    with pytest.raises(MachineError, match="its checkpoints need 3,000 bytes, 2,999 are free"):
        make()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(run_folder, "free_bytes", lambda _: 3000)
    (tmp_path / ".r.4194305.tmp").mkdir()  # of a process that can't be: ids end before
    with held:
        make()
        assert list(tmp_path.iterdir()) == [out]
        assert holder(out).startswith(f"process {os.getpid()} on ")
        with pytest.raises(ConfigError, match=f"is being trained by process {os.getpid()} on "):
            make()
    assert holder(out) is None
