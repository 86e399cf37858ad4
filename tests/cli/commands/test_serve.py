"""`tinygpt serve`: its options, its key, its first words."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.serve.live import KEY

from tinygpt.cli.main import main
from tinygpt.serve import require_extra, server
from tinygpt.serve.config import ServeConfig


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    """Let a server begin and end at once; the configs that it was given."""
    given: list[ServeConfig] = []

    def serve(app: Any, models: Any, config: ServeConfig, sock: Any, *, stop: Any, ready: Any):
        given.append(config)
        ready()
        for one in models:
            one.batcher.close(1)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.delenv("TINYGPT_API_KEY", raising=False)
    return given


def test_the_first_words_say_what_is_served_where(
    model_folder: Path, served: list[ServeConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"serve {model_folder} --port 0 --slots 3 --threads 1 --engine torch"
    assert main(command.split()) == 0
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("serving tiny: ")
    for word in ("parameters", "3 slots of ", "engine torch", "device cpu", "dtype float32"):
        assert word in first
    assert "listening on http://127.0.0.1:" in second
    assert "without a key" in second
    assert "MiB of memory" in second
    assert served[0].slots == 3
    assert not [one for one in threading.enumerate() if one.name.startswith("batch")]


def test_quiet_says_nothing(
    model_folder: Path, served: list[ServeConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(model_folder), "--port", "0", "--threads", "1", "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert len(served) == 1


def test_the_key_comes_from_the_environment_or_a_file(
    model_folder: Path,
    served: list[ServeConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "key.txt"
    file.write_text(f"{KEY} of the file\n")
    command = ["serve", str(model_folder), "--port", "0", "--threads", "1"]
    monkeypatch.setenv("TINYGPT_API_KEY", KEY)
    assert main(command) == 0
    assert main([*command, "--key-file", str(file)]) == 0
    assert [config.key for config in served] == [KEY, f"{KEY} of the file"]
    err = capsys.readouterr().err
    assert "with the key" in err
    assert KEY not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "TINYGPT_API_KEY or --key-file"),
        (["--port", "70000"], "port=70000 is not allowed: 0 to 65,535"),
        (["--slots", "0"], "slots=0"),
        (["--max-waiting", "0"], "max_waiting=0"),
        (["--timeout-s", "0"], "timeout_s=0"),
        (["--drain-s", "-1"], "drain_s=-1"),
        (["--allow-host", "http://models.example/"], "without http:// and without a port"),
        (["--allow-host", "models.example:80"], "without http:// and without a port"),
        (["--allow-host", ""], "without http:// and without a port"),
        (["no-such-model"], "no-such-model is given twice"),
        (["--key-file", "none.txt"], "No such file"),
        (["--key", "secret"], 'there is no option "--key"'),
    ],
)
def test_wrong_settings_are_refused_before_a_model_is_opened(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TINYGPT_API_KEY", raising=False)
    assert main(["serve", "no-such-model", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_short_key_or_no_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data in (b"short", b"\xff" * 20, b"", b"x" * 20_000):
        (tmp_path / "key").write_bytes(data)
        assert main(["serve", "no-such-model", "--key-file", str(tmp_path / "key")]) == 2
        err = capsys.readouterr().err
        assert "key" in err
        assert "xff" not in err
    assert main(["serve", "no-such-model", "--key-file", str(tmp_path)]) == 2
    assert "no regular file" in capsys.readouterr().err


def test_an_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "no/such/place", "--port", "0"]) == 2
    assert "no/such/place" in capsys.readouterr().err


def test_without_the_extra_one_command_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_extra()
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name in ("fastapi", "uvicorn") else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert main(["serve", "no-such-model"]) == 2
    err = capsys.readouterr().err
    assert 'pip install "tinygpt[serve]"' in err
    assert len(err.splitlines()) == 1
