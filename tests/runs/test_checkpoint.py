import os
import random
import shutil

import numpy as np
import pytest

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.runs import checkpoint
from tinygpt.runs.checkpoint import load, load_newest, prune, save
from tinygpt.storage.files import clear_leftovers

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"a": np.full((3, 4), value, np.float32), "step": np.array(value, np.float32)}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 10 and 20."""
    for step in (10, 20):
        save_step(tmp_path / "c", step)
    return tmp_path / "c"


def save_step(folder, step, **changes):
    arguments = {"model": arrays(step), "optimizer": arrays(-step), "state": {"elapsed_s": 1.5}}
    return save(folder, step, **(arguments | changes))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_comes_back_as_it_was(folder):
    found = load(folder / "step-00000020")
    assert found.step == 20
    assert found.state == {"elapsed_s": 1.5}
    assert np.array_equal(found.model["a"], arrays(20)["a"])
    assert np.array_equal(found.optimizer["a"], arrays(-20)["a"])


def test_the_newest_is_taken_and_two_are_kept(folder):
    save_step(folder, 100)
    assert names(folder) == ["step-00000010", "step-00000020", "step-00000100"]
    assert prune(folder) == ()
    assert names(folder) == ["step-00000020", "step-00000100"]
    found, notes = load_newest(folder)
    assert (found.step, notes) == (100, ())


def test_a_second_save_of_a_step_overwrites_nothing(folder):
    path = save_step(folder, 20, state={"elapsed_s": 9.0})
    prune(folder)
    assert names(folder) == ["step-00000020", "step-00000020-2"]
    assert load_newest(folder)[0].path == path
    assert save_step(folder, 20).name == "step-00000020-3"


@pytest.mark.parametrize("name", [*FILES, "MANIFEST.json"])
def test_every_flipped_bit_is_noticed_and_the_file_named(folder, name):
    newest = folder / "step-00000020"
    original = (newest / name).read_bytes()
    rng = random.Random(name)
    for _ in range(40):
        damaged = bytearray(original)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (newest / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match="step-00000020") as caught:
            load(newest)
        assert name == "MANIFEST.json" or name in str(caught.value)


@pytest.mark.parametrize("name", [*FILES, "MANIFEST.json"])
@pytest.mark.parametrize("keep", [None, 0, 1, 0.5, -1])
def test_a_missing_or_shortened_file_is_named_and_the_one_before_taken(folder, name, keep):
    path = folder / "step-00000020" / name
    data = path.read_bytes()
    if keep is None:
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2 if keep == 0.5 else keep])
    found, notes = load_newest(folder)
    assert found.step == 10
    assert len(notes) == 1
    assert name in notes[0]
    assert "set aside as step-00000020.corrupt-1" in notes[0]
    assert names(folder) == ["step-00000010", "step-00000020.corrupt-1"]


def test_what_was_set_aside_is_neither_used_nor_pruned_nor_replaced(folder):
    for n in (1, 2):
        (folder / "step-00000020" / "state.json").write_text("{}")
        load_newest(folder)
        save_step(folder, 20)
        assert f"step-00000020.corrupt-{n}" in names(folder)
    save_step(folder, 30)
    prune(folder)
    assert names(folder) == [
        "step-00000020",
        "step-00000020.corrupt-1",
        "step-00000020.corrupt-2",
        "step-00000030",
    ]


def test_all_damaged_or_none_there_says_so(folder, tmp_path):
    for path in folder.iterdir():
        (path / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"nothing to go on from: .*step-00000020.*00000010"):
        load_newest(folder)
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        load_newest(tmp_path / "nowhere")


def test_another_format_version_is_refused_by_number(folder):
    path = folder / "step-00000020" / "MANIFEST.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(CheckpointError, match="format_version 3 is not known"):
        load(path.parent)


def test_weights_that_are_not_finite_are_not_saved(folder):
    bad = arrays(1)
    bad["a"][1, 1] = np.nan
    with pytest.raises(CheckpointError, match="step 30: 'a' is not finite"):
        save_step(folder, 30, model=bad)
    assert names(folder) == ["step-00000010", "step-00000020"]


@pytest.mark.parametrize("at", ["write_safetensors", "write_file", "write_manifest", "sync_folder"])
def test_a_save_that_fails_anywhere_leaves_the_others_and_nothing_else(folder, monkeypatch, at):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, at, full)
    with pytest.raises(MachineError, match="No space left"):
        save_step(folder, 30)
    monkeypatch.undo()
    assert load_newest(folder)[0].step in (20, 30)  # 30 only if the folder was there already
    assert not list(folder.glob(".*"))
    assert (folder / "step-00000010").exists()


def test_what_a_killed_save_left_is_cleaned_up(folder):
    shutil.copytree(folder / "step-00000020", folder / ".step-00000030.123.tmp")
    (folder / ".state.json.99.tmp").touch()
    clear_leftovers(folder)
    assert load_newest(folder)[0].step == 20
    assert names(folder) == ["step-00000010", "step-00000020"]


def test_damaged_checkpoints_do_not_count_when_old_ones_are_removed(folder):
    for step in (30, 40):
        save_step(folder, step)
    for step in (30, 40):
        (folder / f"step-000000{step}" / "optimizer.safetensors").write_bytes(b"x")
    notes = prune(folder)
    assert [note.partition(": ")[0][-2:] for note in notes] == ["40", "30"]
    assert all("optimizer.safetensors is not what was written" in note for note in notes)
    assert [name for name in names(folder) if "corrupt" not in name] == [
        "step-00000010",
        "step-00000020",
    ]
    assert len(names(folder)) == 4
    save_step(folder, 50)
    save_step(folder, 60)
    assert prune(folder, keep=1, spare=10) == ()
    assert [name for name in names(folder) if "corrupt" not in name] == [
        "step-00000010",
        "step-00000060",
    ]


def test_a_damaged_spare_gives_way_to_the_one_before_of_that_step(folder):
    save_step(folder, 10)
    (folder / "step-00000010-2" / "state.json").write_text("{}")
    for step in (30, 40):
        save_step(folder, step)
    (note,) = prune(folder, spare=10)
    assert "step-00000010-2" in note
    assert "step-00000010" in names(folder)


def test_what_is_published_is_never_behind_a_checkpoint(folder, tmp_path, monkeypatch):
    published = tmp_path / "model.safetensors"

    def refuse(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "rename", refuse)
        with pytest.raises(MachineError, match=r"needed, [\d,]+ free"):
            save_step(folder, 30, publish=published)
    assert load_newest(folder)[0].step == 20
    path = save_step(folder, 40, publish=published)
    assert published.read_bytes() == (path / "model.safetensors").read_bytes()


def test_what_does_not_read_as_it_was_written_is_no_checkpoint(folder, monkeypatch):
    real = checkpoint.read_safetensors

    def flipped(path):
        found = real(path)
        found["a"][0, 0] += 1
        return found

    monkeypatch.setattr(checkpoint, "read_safetensors", flipped)
    with pytest.raises(MachineError, match="'a' does not read as it was written"):
        save_step(folder, 30)
    assert names(folder) == ["step-00000010", "step-00000020"]


def test_a_whole_checkpoint_with_numbers_that_are_not_finite_is_set_aside(folder, monkeypatch):
    bad = arrays(1)
    bad["a"][1, 1] = np.inf
    monkeypatch.setattr(np, "isfinite", lambda array: np.ones_like(array, bool))
    save_step(folder, 30, model=bad)
    monkeypatch.undo()
    found, (note,) = load_newest(folder)
    assert found.step == 20
    assert "'a' is not finite; set aside as step-00000030.corrupt-1" in note


def test_an_optimizer_that_is_not_finite_is_not_saved(folder):
    bad = arrays(1)
    bad["a"][0, 0] = np.inf
    with pytest.raises(CheckpointError, match="'a' is not finite"):
        save_step(folder, 30, optimizer=bad)


@pytest.mark.skipif(os.name != "posix", reason="a umask is POSIX's")
@pytest.mark.parametrize(
    ("umask", "file_mode", "folder_mode"), [(0o22, 0o644, 0o755), (0o77, 0o600, 0o700)]
)
def test_files_have_the_modes_that_the_umask_allows(tmp_path, umask, file_mode, folder_mode):
    before = os.umask(umask)
    try:
        path = save_step(tmp_path / "c", 1, publish=tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == folder_mode
    for file in (tmp_path / "model.safetensors", *path.iterdir()):
        assert file.stat().st_mode & 0o777 == file_mode, file
