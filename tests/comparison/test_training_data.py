"""What runs were trained on is read again, searched, and where it can't be had that is said."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygpt.comparison import training_data
from tinygpt.comparison.training_data import (
    TrainingText,
    contamination,
    copies,
    read_training_texts,
    web_trained,
    yardsticks,
)
from tinygpt.evaluation.eval_texts import Text

LINES = "".join(
    f"line {i} of a text that says {i * i} things, and no two alike\n" for i in range(99)
)


def run(folder: Path, name: str, corpus: str, **more: object) -> SimpleNamespace:
    """What matters of an opened run: its name and its folder."""
    import hashlib

    path = folder / name
    path.mkdir()
    digest = hashlib.sha256(Path(corpus).read_bytes()).hexdigest()
    table = {"corpus": {"corpus": corpus, "sha256": digest}, **more}
    (path / "training.json").write_text(json.dumps(table), "utf-8")
    return SimpleNamespace(name=name, path=path)


@pytest.fixture
def corpus(tmp_path) -> str:
    path = tmp_path / "own.txt"
    path.write_text(LINES, "utf-8")
    return str(path)


def training(text: str) -> TrainingText:
    return TrainingText(name="own", text=text, n_characters=len(text), n_bytes=None, start=None)


def test_the_training_part_is_what_was_not_held_out(tmp_path, corpus) -> None:
    sizes = {"n_train_bytes": 7}
    a = run(tmp_path, "a", corpus, data=sizes)
    b = run(tmp_path, "b", corpus, **{"from": "distilgpt2"})
    found = read_training_texts([a, b])
    assert found["a"].text == LINES[: int(0.9 * len(LINES))]
    assert found["a"].n_bytes == 7
    assert found["a"].start is None
    assert found["b"].start == "distilgpt2"  # the same corpus, another beginning
    assert found["a"].described.endswith("characters of own.txt")


def test_of_a_large_corpus_the_end_is_read(tmp_path, corpus, monkeypatch) -> None:
    monkeypatch.setattr(training_data, "SEARCHED_CHARACTERS", 100)
    found = read_training_texts([run(tmp_path, "a", corpus)])["a"]
    n = int(0.9 * len(LINES))
    assert found.text == LINES[n - 100 : n]
    assert found.n_characters == n
    searched = contamination(Text(name="x", text="line", prefix="", source=""), found)
    assert (searched.n_searched_characters, searched.n_training_characters) == (100, n)


def test_what_can_not_be_had_has_a_reason(tmp_path, corpus) -> None:
    gone = run(tmp_path, "gone", corpus)
    Path(corpus).write_text("another text", "utf-8")
    foreign = SimpleNamespace(name="foreign", path=tmp_path)
    memory = SimpleNamespace(name="memory", path=None)
    found = read_training_texts([gone, foreign, memory])
    assert "has changed since" in found["gone"]
    assert found["foreign"] == found["memory"] == "what it was trained on is not known here"


def test_a_planted_contamination_is_found(corpus) -> None:
    """A tenth of the scored text is a passage of the training text."""
    clean = "".join(f"verse {i} sings about {i * 7} other matters entirely\n" for i in range(60))
    n = len(clean) // 10
    planted = clean[:500] + LINES[200 : 200 + n] + clean[500:]
    train = training(LINES)
    found = contamination(Text(name="x", text=planted, prefix="", source=""), train)
    assert found.longest_characters >= n
    assert LINES[200:230] in found.longest or found.longest in planted
    assert len(found.longest) <= 60
    assert found.share == pytest.approx((n - 49) / (len(planted) - 49), rel=0.05)
    assert contamination(Text(name="x", text=clean, prefix="", source=""), train).share == 0.0


def test_copies_in_a_sample() -> None:
    train = training(LINES)
    assert copies(LINES[300:400], train).copied_share == 1.0
    assert copies("of a sheep", train).n_copied == 0
    assert copies(None, train) is copies("", train) is copies("of", None) is None


def test_yardsticks_are_taught_where_there_is_a_teacher() -> None:
    text = Text(name="x", text=LINES[-400:], prefix="", source="")
    names = [y.name for y in yardsticks(text, training(LINES[:-400]))]
    assert names[:2] == ["uniform", "unigram"]
    assert [y.name for y in yardsticks(text, None)] == ["xz alone", "bzip2 alone"]
    assert yardsticks(text, "not known") == yardsticks(text, None)


def test_who_has_read_the_web(tmp_path, corpus) -> None:
    def behind(name: str, **more: object) -> bool | None:
        made = run(tmp_path, name, corpus, **more)
        return web_trained(name, SimpleNamespace(path=made.path, commit=None))

    assert behind("scratch", data={}, **{"from": None}) is False
    assert behind("tuned", data={}, **{"from": "distilgpt2@0123abc"}) is True
    assert behind("again", data={}, **{"from": "/home/me/runs/scratch"}) is None
    assert behind("doctored") is None  # a training.json of the doctor's says no more than settings
    assert web_trained("distilgpt2", None) is True
    assert web_trained("tinygpt", None) is None
    assert web_trained("x/y", SimpleNamespace(path=tmp_path, commit="0123")) is True
    assert web_trained("distilgpt2", SimpleNamespace(path=None, commit=None)) is True
    for name in ("a folder", "distilgpt2"):
        assert web_trained(name, SimpleNamespace(path=tmp_path, commit=None)) is None


def test_a_start_is_named_without_the_folders_of_its_owner(tmp_path, corpus) -> None:
    made = run(tmp_path, "tuned", corpus, **{"from": "/home/me/runs/big"})
    described = read_training_texts([made])["tuned"].described
    assert described.endswith("own.txt, after big")


def test_runs_on_one_corpus_share_the_search(monkeypatch, corpus) -> None:
    asked = []
    search = training_data.find_overlap

    def logged(*texts):
        asked.append(texts)
        return search(*texts)

    monkeypatch.setattr(training_data, "find_overlap", logged)
    text = Text(name="shared", text="searched once for both of them", prefix="", source="here")
    known = training("what the two of them were trained on")
    assert contamination(text, known) == contamination(text, known)
    assert len(asked) == 1
