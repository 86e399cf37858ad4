"""What a folder may not say before transformers sees it."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from tinygpt.errors import CheckpointError
from tinygpt.inference.transformers_backend.safety import read_external


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in (("config.json", {"model_type": "llama"}), ("tokenizer.json", {})):
        (tmp_path / name).write_text(json.dumps(data), "utf-8")
    return tmp_path


def test_a_plain_folder_is_read(folder: Path) -> None:
    assert read_external(folder) == {"model_type": "llama"}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("config.json", "auto_map", {"AutoConfig": "code.Config"}),
        ("config.json", "_attn_implementation_internal", "owner/kernel"),
        ("config.json", "_experts_implementation_internal", "owner/kernel"),
        ("config.json", "attn_implementation", "owner/kernel"),
        ("config.json", "_attn_implementation", {"text_config": "owner/kernel"}),
        ("config.json", "trust_remote_code", True),
        ("tokenizer_config.json", "auto_map", ["code.Tokenizer", None]),
        ("generation_config.json", "trust_remote_code", True),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_keys_that_name_code_are_refused_at_any_depth(
    folder: Path, name: str, key: str, value: object, nested: bool
) -> None:
    data: dict[str, object] = {"model_type": "llama", key: value}
    if nested:
        data = {"model_type": "llama", "text_config": {"parts": [{key: value}]}}
    (folder / name).write_text(json.dumps(data), "utf-8")
    with pytest.raises(CheckpointError, match=rf"{name}: {key}=.* can name code to run"):
        read_external(folder)


def test_harmless_values_of_these_keys_pass(folder: Path) -> None:
    data = {"model_type": "llama", "_attn_implementation": "sdpa", "auto_map": None}
    (folder / "config.json").write_text(json.dumps(data), "utf-8")
    assert read_external(folder) == data


def test_adapters_and_folders_without_tokenizer_json_are_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(CheckpointError, match="holds an adapter"):
        read_external(folder)
    (folder / "adapter_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        read_external(folder)


def test_nothing_is_imported_or_run_before_the_refusal(
    tmp_path: Path, foreign_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from tinygpt.inference.load import load

    bad = copytree(foreign_folder("llama"), tmp_path / "bad")
    data = json.loads((bad / "config.json").read_text("utf-8"))
    data["_attn_implementation_internal"] = "owner/kernel"
    (bad / "config.json").write_text(json.dumps(data), "utf-8")
    monkeypatch.setitem(sys.modules, "transformers", None)  # an import of it would fail
    with pytest.raises(CheckpointError, match="can name code to run"):
        load(bad)
