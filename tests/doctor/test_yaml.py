"""YAML configs: plain values, bounded, each mistake with its line."""

import sys
import time

import pytest

from tinygpt.doctor.yaml import read_yaml
from tinygpt.errors import ConfigError


def test_plain_values():
    data, notes = read_yaml(
        "a: 1\nb: 0.5\nc: yes\nd: null\ne: text\nf: [1, two]\ng:\n  h: '3e-4'\nday: 2026-11-22\n"
        "0: zero\n"
    )
    assert data == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": None,
        "e": "text",
        "f": [1, "two"],
        "g": {"h": "3e-4"},
        "day": "2026-11-22",
        "0": "zero",
    }
    assert notes == []


@pytest.mark.parametrize("number", ["3e-4", "5E-5", "1.e3", "-2e1"])
def test_an_exponent_is_a_number_and_said(number):
    data, notes = read_yaml(f"seed: 1\nlr: {number}\n")
    assert data == {"seed": 1, "lr": float(number)}
    assert notes[0].startswith(f"line 2: PyYAML alone takes {number} for a text")


def test_aliases_and_merges():
    data, _ = read_yaml("base: &b {n_layer: 4, lr: 1}\nmine:\n  <<: *b\n  n_layer: 6\nagain: *b\n")
    assert data == {
        "base": {"n_layer": 4, "lr": 1},
        "mine": {"n_layer": 6, "lr": 1},
        "again": {"n_layer": 4, "lr": 1},
    }
    both, _ = read_yaml("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz:\n  <<: [*x, *y]\n")
    assert both["z"] == {"a": 1, "b": 2}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 10,000 values, aliases counted as copies"),
        ("a: &a [*a]", "more than 20 levels"),
        ("[" * 5_000, "more than 20 levels"),
        ("a: " + "[" * 25 + "]" * 25, "more than 20 levels"),
        ("a: 1\nb: 2\na: 3\n", 'line 3: the key "a" stands twice; keep one'),
        ("a: 1\n b: 2\n", "line 2, column 3: mapping values are not allowed here"),
        ("a: !!python/object/apply:os.system [true]", "line 1: the tag .*os.system is not read"),
        ("a: !mine 3", "line 1: the tag !mine is not read; write plain values"),
        ("a: !!binary aGk=", "line 1: the tag .*binary is not read"),
        ("? [a, b]\n: 1\n", "line 1: a key must be a text"),
        ("a:\n  <<: 3\n", "line 2: << takes a mapping"),
        ("a: *none", "undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        ("a: \x07", "not YAML: "),
        ("a: " + "1" * 5000, "line 1: Exceeds the limit"),
    ],
)
def test_other_texts_are_refused(text, message):
    started_s = time.perf_counter()
    with pytest.raises(ConfigError, match=message):
        read_yaml(text)
    assert time.perf_counter() - started_s < 10


def test_nothing_is_no_mapping():
    assert read_yaml("") == (None, [])


def test_yaml_is_imported_when_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)  # importing it now fails
    with pytest.raises(ImportError):
        read_yaml("a: 1")
