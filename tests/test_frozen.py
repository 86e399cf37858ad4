"""What people and programs rely on may grow and never shrink: tests/frozen.json.

Flags of every verb, files of a run folder and their keys, fields of every JSON document, HTTP
routes and the exported names. A name that is no longer there fails here. Names that are new are
written down by `python -m tests.test_frozen`.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from starlette.routing import Route

import tinygpt
from tinygpt.cli.main import VERBS, main

HERE = Path(__file__).parent
FROZEN = HERE / "frozen.json"
RUN = HERE / "versions" / "0.1.0"
MIXED = {"vocab_size": 65, "block_size": 128, "n_layer": 4, "d_model": 128, "batch_size": 64}

DOCUMENTS = {
    "evaluate": "evaluate run --text sums.txt",
    "compare": "compare run other --text sums.txt --bytes 600",
    "lens": "lens run other --text sums.txt --bytes 100",
    "ladder": "ladder --corpus sums.txt --max-steps 2 --rungs rungs.toml --out ladder --threads 1",
    "inspect": "inspect run",
    "doctor": "doctor mixed.json",
    "corpus": "corpus show sums.txt",
    "convert": "convert run --out folder",
    "bench": "bench other --engine torch --device cpu --threads 1",
}
"""Every verb that prints JSON."""

OPEN = {
    "config_labels",
    "settings",
    "vocab",
    "n_params_by_component",
    "config",
    "machine",
    "split",
    "files",
    "values",
}
"""Objects whose keys are data: they are not part of the schema."""


def flags() -> dict[str, list[str]]:
    """Return the options and arguments of every verb, and of its verbs."""
    from tinygpt.cli.main import _group

    found: dict[str, list[str]] = {}
    context = click.Context(_group)
    for verb in VERBS:
        command = _group.get_command(context, verb)
        assert command is not None
        subs = command.commands if isinstance(command, click.Group) else {}
        for name, one in {verb: command, **{f"{verb} {n}": c for n, c in subs.items()}}.items():
            found[name] = sorted(word for p in one.params for word in [*p.opts, *p.secondary_opts])
    return found


def keys(value: Any, where: str = "") -> Iterator[str]:
    """Yield the path of every key of a JSON document; a list's items are one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{where}.{key}".lstrip(".")
            if key not in OPEN:
                yield from keys(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner, where)


def run_folder() -> dict[str, list[str]]:
    """Return the files of a run folder that ended, and the keys of those that hold JSON."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path("other").rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to("other").as_posix()
        if name.startswith("checkpoints/"):
            name = f"checkpoints/step-NNNNNNNN/{path.name}"
        lines = []
        if path.suffix == ".json":
            lines = [json.loads(path.read_text("utf-8"))]
        elif path.suffix == ".jsonl":
            lines = [
                {line["event"]: line}
                for line in map(json.loads, path.read_text("utf-8").splitlines())
            ]
        found[name] = sorted({*found.get(name, []), *(k for line in lines for k in keys(line))})
    return found


def documents() -> dict[str, list[str]]:
    """Return the fields of what every verb with --json prints."""
    found = {}
    for verb, line in DOCUMENTS.items():
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main([*line.split(), "--json", "--quiet"]) == 0, line
        found[verb] = sorted(set(keys(json.loads(out.getvalue()))))
    return found


def routes() -> list[str]:
    """Return the server's routes with their methods."""
    from tinygpt.serve import ServeConfig
    from tinygpt.serve.app import create_app
    from tinygpt.serve.playground.api import router

    config = ServeConfig()
    served = [*create_app([], config).routes, *router([], config).routes]
    return sorted(
        f"{method} {route.path}"
        for route in served
        if isinstance(route, Route)
        for method in route.methods or ()
    )


def surface() -> dict[str, Any]:
    """Return all of it as it is now; works in the current folder."""
    shutil.copytree(RUN / "run", "run")
    shutil.copy(RUN / "sums.txt", "sums.txt")
    Path("mixed.json").write_text(json.dumps(MIXED), "utf-8")
    Path("rungs.toml").write_text(
        '[[rung]]\nname = "one"\nmodel = {n_layer = 1, n_head = 1, n_embd = 8, n_positions = 8}\n'
        'train = {block_size = 8, batch_size = 2}\n[[rung]]\nname = "two"\nmodel = {n_embd = 16}\n',
        "utf-8",
    )
    sizes = "--n-layer 1 --n-head 2 --n-embd 8 --n-positions 64 --block-size 16 --batch-size 2"
    rest = "--max-steps 2 --n-evals 1 --sample-prompt 1 --sample-tokens 4 --threads 1 --quiet"
    train = ["train", "--corpus", "sums.txt", "--out", "other", *sizes.split(), *rest.split()]
    assert main(train) == 0
    return {
        "exported names": list(tinygpt.__all__),
        "HTTP routes": routes(),
        "run folder": run_folder(),
        "JSON fields": documents(),
        "flags": flags(),
    }


def missing(frozen: Any, now: Any, where: str = "") -> Iterator[str]:
    """Yield what the frozen surface has and the present one lacks."""
    if isinstance(frozen, dict):
        for key, inner in frozen.items():
            if key not in now:
                yield f"{where}{key}"
            else:
                yield from missing(inner, now[key], f"{where}{key}: ")
    else:
        yield from (f"{where}{name}" for name in frozen if name not in now)


def test_nothing_that_others_rely_on_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(missing(json.loads(FROZEN.read_text("utf-8")), surface())) == []


def test_what_goes_is_found() -> None:
    frozen = {"flags": {"sample": ["--seed", "--top-k"]}, "routes": ["GET /health"]}
    assert list(missing(frozen, {"flags": {"sample": ["--seed"]}, "routes": []})) == [
        "flags: sample: --top-k",
        "routes: GET /health",
    ]
    assert list(missing(frozen, {"flags": {}, "routes": ["GET /health"]})) == ["flags: sample"]


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["XDG_CACHE_HOME"] = folder
        now = surface()
    FROZEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", "utf-8")
