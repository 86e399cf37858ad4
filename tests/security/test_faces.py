"""S18 and S19 of docs/trust.md: what models, files and users say is shown and never obeyed.

One list of hostile texts (`PAYLOADS`) goes through every face: terminal, tables, errors, Markdown,
HTML and JSON, as the names of folders and files, as keys, as tokens and as text.
"""

import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.security.hostile import PAYLOADS, plain_parts, safetensors, tensors, write

from tinygpt.cli import console
from tinygpt.cli.main import main
from tinygpt.config.model_config import ModelConfig
from tinygpt.escape import markdown, printable, visible
from tinygpt.tokenizers.char_byte import CharTokenizer

TEXT = "".join(p for p in PAYLOADS if "\ud800" not in p).replace("\x00", "").replace("\r", "")
NAME = "m\x1b[31m\u202e<img src=x onerror=alert(3)>[bold]a|b`*_[c](javascript:d)"
# What a terminal may obey: our own colours are SGR sequences, and nothing else may pass.
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model that emits the payloads, and a text of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    tokenizer = CharTokenizer.from_text(TEXT)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=8, n_layer=1, n_head=2
    )
    folder = tmp_path / NAME
    folder.mkdir()
    strays = {payload: payload for payload in PAYLOADS}
    write(folder, "config.json", config.to_dict() | strays)
    tokenizer.save(folder, 64)
    rng = np.random.default_rng(0)
    arrays = {n: rng.normal(0, 0.5, a.shape).astype("f4") for n, a in tensors(config).items()}
    write(folder, "model.safetensors", safetensors(*plain_parts(arrays)))
    (tmp_path / f"{NAME}.txt").write_text(f"{TEXT}\n" * 20, "utf-8")
    return folder


def seen(call: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a call at a terminal."""
    out, err = Terminal(), Terminal()
    with monkeypatch.context() as context:
        context.setattr(sys, "stdout", out)
        context.setattr(sys, "stderr", err)
        code = main(call)
    return code, out.getvalue(), err.getvalue()


CALLS = {
    "sample": ["sample", NAME, "<", "--max-new-tokens", "300", "--temperature", "2"],
    "inspect": ["inspect", NAME],
    "doctor": ["doctor", f"{NAME}/config.json"],
    "evaluate": ["evaluate", NAME, "--text", f"{NAME}.txt"],
    "lens": ["lens", NAME, "--text", f"{NAME}.txt"],
    "compare": ["compare", NAME, "--text", f"{NAME}.txt"],
    "bench": ["bench", NAME],
    "no model": ["sample", f"{NAME}{PAYLOADS[0]}"],
    "no file": ["evaluate", NAME, "--text", f"{NAME}{PAYLOADS[1]}".replace("\x00", "")],
    "no verb": [NAME],
    "no option": ["sample", f"--{NAME}"],
    "no corpus": ["train", "--corpus", NAME + "x"],
    "no run file": ["train", "--config", NAME + ".toml"],
    "unknown character": ["sample", NAME, "\u4e2d" + PAYLOADS[0]],
}


@pytest.mark.parametrize("name", CALLS)
def test_s18_the_terminal_obeys_nothing(
    name: str, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = seen(CALLS[name], monkeypatch)
    assert code in ((2,) if name.startswith(("no ", "unknown")) else (0, 2))
    for stream in (out, err):
        moved = re.sub(r"\r|\x1b\[\d*[ABCDGHJK]|\x1b\[\?25[lh]", "", stream)  # of our progress bar
        rest = COLOUR.sub("", moved.replace("\n", " ").replace("\t", " "))
        assert not OBEYED.search(rest), repr(OBEYED.findall(rest))
    assert "evil.example/x.png" not in out or name in (
        "sample",
        "lens",
        "compare",
        "inspect",
        "doctor",
    )


@pytest.mark.parametrize("payload", PAYLOADS)
def test_s18_lines_and_cells(payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console.say(payload)
    console.error(payload)
    console.data(payload)
    console.next_commands(console.word(payload))
    for text in (out.getvalue(), err.getvalue(), printable(payload), visible(payload)):
        assert not OBEYED.search(COLOUR.sub("", text.replace("\n", "")))
    cell = markdown(payload)
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)[<|`]|(?<!\\)\[|(?<!\\)\*", cell)
    assert not re.search(r"<\w", cell)


class Page(HTMLParser):
    """What a browser would make of a page: elements, and what could run."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[object] = []
        self.scripts: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag in ("img", "iframe", "object", "embed", "form", "base", "link"):
            self.bad.append((tag, attrs))
        for key, value in attrs:
            if key.startswith("on") or re.match(r"\s*(javascript|https?|data):", value or ""):
                self.bad.append((tag, key, value))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.mark.parametrize("verb", ["compare", "lens"])
def test_s18_pages_and_markdown(
    verb: str, hostile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [verb, NAME, "--text", f"{NAME}.txt", "--html", "r.html", "--quiet"]
    call += ["--markdown", "r.md"] if verb == "compare" else []
    assert main(call) == 0
    capsys.readouterr()
    html = Path("r.html").read_text("utf-8")
    page = Page()
    page.feed(html)
    assert page.bad == []
    assert not OBEYED.search(html.replace("\n", ""))
    for script in page.scripts:
        assert "alert(2)//" not in re.sub(r'"(\\.|[^"\\])*"', "", script)
        assert not re.search(r"</|<!--|[\u2028\u2029]", script)
    if verb == "compare":
        table = Path("r.md").read_text("utf-8")
        assert not OBEYED.search(table.replace("\n", ""))
        outside = re.sub(r"(?ms)^(`{3,}|~{3,}).*?^\1\s*$", "", table)
        assert not re.search(r"<(img|script|svg)", outside)
        assert not re.search(r"(?<!\\)\]\((javascript|https://evil)", outside)


@pytest.mark.parametrize("verb", ["inspect", "evaluate", "compare", "doctor"])
def test_s18_json_is_json(verb: str, hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = [verb, NAME] if verb != "doctor" else [verb, f"{NAME}/config.json"]
    call += ["--text", f"{NAME}.txt"] if verb in ("evaluate", "compare") else []
    code = main([*call, "--json", "--quiet"])
    said = capsys.readouterr()
    if code == 0:
        json.loads(said.out)
        said.out.encode()
    else:
        assert said.out == ""


@pytest.mark.parametrize("name", ["../out", "/tmp/../out", "a/../../out"])
def test_s19_what_a_name_says_stays_where_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of models are paths of the user's own; what the hub calls its files are never paths."""
    from tinygpt.errors import CheckpointError
    from tinygpt.formats.hub import locate
    from tinygpt.formats.model_files import wanted_files

    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        locate(name)
    offered = ["config.json", "tokenizer.json", "model.safetensors"]
    assert wanted_files("o/m", [*offered, f"{name}/config.json", f"{name}.safetensors"], False) == {
        *offered
    }
