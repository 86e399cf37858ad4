"""T16: what must be on the disk first is flushed first, so that a power cut finds it there."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygpt.runs.checkpoint import save

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json")


@pytest.mark.battery("T16")
def test_the_order_of_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    done: list[tuple[str, str]] = []
    real_fsync, real_rename, real_replace = os.fsync, os.rename, os.replace

    def plain(path: object) -> str:
        """Return a path's name without what makes it temporary."""
        name = Path(str(path)).name
        return name.removeprefix(".").split(f".{os.getpid()}")[0]

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        done.append(("flush", plain(path)))
        real_fsync(descriptor)

    def renamed(real: Callable[..., None]) -> Callable[..., None]:
        def rename(source: object, target: object, **given: object) -> None:
            done.append(("rename", plain(target)))
            real(source, target, **given)

        return rename

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", renamed(real_rename))
    monkeypatch.setattr(os, "replace", renamed(real_replace))
    arrays = {"a": np.ones((2, 2), np.float32)}
    folder = tmp_path / "checkpoints"
    published = tmp_path / "model.safetensors"
    save(folder, 7, model=arrays, optimizer=arrays, state={}, publish=published)
    expected = []
    for name in FILES:
        expected += [("flush", name), ("rename", name), ("flush", "step-00000007")]
    expected += [
        ("flush", "model.safetensors"),
        ("rename", "model.safetensors"),
        ("flush", tmp_path.name),
        ("rename", "step-00000007"),
        ("flush", "checkpoints"),
    ]
    assert done == expected
    figure(f"{len(done)} of {len(done)} flushes and renames of a save in their order")
