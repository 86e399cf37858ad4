"""The rules of the house that no linter knows: owners of dependencies, exports, sizes."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygpt
from tinygpt.config import model_config, train_config

SOURCE = Path(tinygpt.__file__).parent

OWNERS = {
    "tokenizers": {"tokenizers/bpe.py"},
    "safetensors": {"formats/weights.py"},
    "gguf": {"formats/gguf.py"},
    "huggingface_hub": {"formats/hub_cache.py"},
    "click": {"cli"},
    "rich": {"cli", "report"},
    "jinja2": {"report"},
    "fastapi": {"serve"},  # the extra, with what comes with it
    "starlette": {"serve"},
    "pydantic": {"serve"},
    "uvicorn": {"serve"},
    "transformers": {"inference/transformers_backend/open.py"},  # the extra
    "yaml": {"doctor"},
    "pickle": set(),
    "pickletools": {"formats/nanogpt_meta.py"},  # names instructions; builds nothing
}
"""Packages, and the wings or files that alone may import them."""

WINGS = sorted(path.parent for path in SOURCE.glob("*/__init__.py"))


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


TELLS_FAMILIES_APART = {
    *("ModelConfig", "ExternalConfig", "Account", "ExternalAccount"),
    *("Engine", "TransformersEngine"),
}
"""Pairs with one interface, for GPT-2s and for models that transformers computes."""

MAY_TELL_APART = ("inference/transformers_backend/", "model/external_config.py")


def classes_told_apart(path: Path) -> set[str]:
    """Names of the classes that a file compares an object's class with."""
    asked: list[ast.AST] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("isinstance", "issubclass"):
                asked += node.args[1:]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            asked.append(node)
        elif isinstance(node, ast.MatchClass):
            asked.append(node.cls)
    named = (part for node in asked for part in ast.walk(node))
    return {getattr(part, "id", getattr(part, "attr", "")) for part in named}


def test_models_of_other_families_are_told_apart_in_their_wing_alone() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): told
        for path in SOURCE.rglob("*.py")
        if (told := classes_told_apart(path) & TELLS_FAMILIES_APART)
    }
    assert found  # else the search finds nothing at all
    assert [name for name in found if not name.startswith(MAY_TELL_APART)] == []


@pytest.mark.parametrize("package", OWNERS)
def test_one_owner_per_dependency(package: str) -> None:
    users = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if package in imports_of(path)
    }
    owners = OWNERS[package]
    at_home = {o for o in owners for user in users if user == o or user.startswith(f"{o}/")}
    assert at_home == owners
    assert all(any(user == o or user.startswith(f"{o}/") for o in owners) for user in users), users


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


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_every_module_says_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"
    if path.name == "__main__.py" or (path.name == "__init__.py" and len(tree.body) == 1):
        return
    names = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert ast.literal_eval(names["__all__"]), path  # ruff keeps it sorted (RUF022)


@pytest.mark.parametrize("wing", WINGS, ids=lambda p: p.name)
def test_each_wing_says_what_comes_in_goes_out_and_where_to_begin(wing: Path) -> None:
    said = ast.get_docstring(ast.parse((wing / "__init__.py").read_text("utf-8"))) or ""
    assert "In: " in said
    assert "Out: " in said
    opened = re.findall(r"\b[a-z_]+(?:/[a-z_]+)*\.py\b", said.partition("Open ")[2])
    assert opened, "which file to open first?"
    assert all(next(wing.rglob(name), None) for name in opened), opened


def test_a_class_name_is_used_once() -> None:
    homes: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.relative_to(SOURCE).as_posix())
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_model_fits_in_three_hundred_lines() -> None:
    assert len((SOURCE / "model" / "gpt.py").read_text("utf-8").splitlines()) <= 300


def test_architecture_and_training_share_no_field() -> None:
    architecture = {f.name for f in dataclasses.fields(model_config.ModelConfig)}
    for cls in (
        train_config.TrainConfig,
        train_config.OptimConfig,
        train_config.CorpusConfig,
        train_config.TokenizerConfig,
    ):
        assert not architecture & {f.name for f in dataclasses.fields(cls)}


def test_importing_tinygpt_is_light() -> None:
    code = "import tinygpt, sys; print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["comparison.result", "comparison.lens_result", "ladder.results", "evaluation.result"]
)
def test_results_load_neither_torch_nor_what_draws_them(name: str) -> None:
    code = f"import tinygpt.{name}, sys; print({{'torch', 'tinygpt.report'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
