"""The rules of the house that no linter knows: owners of dependencies, exports, sizes."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import tinygpt
from tinygpt import model_config, run_config

SOURCE = Path(tinygpt.__file__).parent

OWNERS = {
    "tokenizers": {"bpe.py"},
    "safetensors": {"weights.py"},
    "gguf": {"gguf_file.py"},
    "huggingface_hub": {"snapshot.py"},
    "click": {"cli"},
    "rich": {"cli", "report"},
    "jinja2": {"report"},
    "fastapi": {"serve"},  # the extra, with what comes with it
    "starlette": {"serve"},
    "pydantic": {"serve"},
    "uvicorn": {"serve"},
    "transformers": {"transformers_model.py"},  # the extra
    "yaml": {"doctor"},
    "pickle": set(),
    "pickletools": {"meta_file.py"},  # names instructions; builds nothing
}


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", OWNERS)
def test_one_owner_per_dependency(package: str) -> None:
    users = {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        if package in imports_of(path)
    }
    assert users == OWNERS[package]


def test_no_unsafe_call_anywhere() -> None:
    forbidden = ("weights_only=False", "pickle.load", "shell=True", "yaml.load(", "eval(", "exec(")
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8").replace(".eval(", "")
        assert not [word for word in forbidden if word in text], path
        for line in text.splitlines():
            assert "torch.load(" not in line or "weights_only=True" in line, (path, line)


def test_public_names_are_exact_and_sorted() -> None:
    assert tinygpt.__all__ == sorted(tinygpt.__all__)
    for name in tinygpt.__all__:
        assert getattr(tinygpt, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_like_it"):
        tinygpt.nothing_like_it  # noqa: B018


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.name)
def test_every_module_says_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"
    if path.name == "__main__.py":
        return
    names = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert ast.literal_eval(names["__all__"]), path  # ruff keeps it sorted (RUF022)


def test_model_fits_in_three_hundred_lines() -> None:
    assert len((SOURCE / "model.py").read_text("utf-8").splitlines()) <= 300


def test_architecture_and_training_share_no_field() -> None:
    architecture = {f.name for f in dataclasses.fields(model_config.ModelConfig)}
    for cls in (
        run_config.TrainConfig,
        run_config.OptimConfig,
        run_config.CorpusConfig,
        run_config.TokenizerConfig,
    ):
        assert not architecture & {f.name for f in dataclasses.fields(cls)}


def test_importing_tinygpt_is_light() -> None:
    code = "import tinygpt, sys; print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
