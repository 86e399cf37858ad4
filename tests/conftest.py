"""Small models and folders that many tests share. Nothing is downloaded."""

from pathlib import Path

import pytest

from tinygpt.model_config import ModelConfig


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> None:
    """Keep tests away from the user's cache and from the network, but for marker `index`."""
    if "index" not in request.keywords:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def tiny_config() -> ModelConfig:
    """2 layers x 2 heads x 32 wide x 16 positions."""
    return ModelConfig(
        vocab_size=50,
        n_positions=16,
        n_embd=32,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
