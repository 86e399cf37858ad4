import pytest

from tinygpt.errors import MachineError
from tinygpt.storage import cache_folder


def test_cache_dir_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder.cache_dir() == tmp_path / "tinygpt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder.cache_dir() == tmp_path / "home" / ".cache" / "tinygpt"


def test_no_home_is_a_machine_error(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home():
        raise RuntimeError("no home")

    monkeypatch.setattr(cache_folder.Path, "home", no_home)
    with pytest.raises(MachineError, match="set XDG_CACHE_HOME"):
        cache_folder.cache_dir()
