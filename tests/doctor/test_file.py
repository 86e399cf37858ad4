"""Config files of every language: found out, read strictly, bounded."""

import json
import time
from pathlib import Path

import pytest

from tinygpt.doctor.fields import Computed
from tinygpt.doctor.file import ConfigFile, parse_config, read_config_file
from tinygpt.errors import ConfigError

SETTINGS = {"n_layer": 4, "learning_rate": 3e-4, "bias": True, "dataset": "mine"}
TEXTS = {
    "JSON": json.dumps(SETTINGS),
    "Python": "n_layer = 2 * 2\nlearning_rate = 3e-4\nbias = True\ndataset = 'mine'\n",
    "TOML": "n_layer = 4\nlearning_rate = 3e-4\nbias = true\ndataset = 'mine'\n",
    "YAML": "n_layer: 4\nlearning_rate: 3.0e-4\nbias: true\ndataset: mine\n",
}


def parse(text: str, language: str | None = None) -> ConfigFile:
    return parse_config(text.encode(), "x", language=language)


@pytest.mark.parametrize("language", TEXTS)
def test_every_language_says_the_same(language, tmp_path):
    suffix = {"JSON": ".json", "Python": ".py", "TOML": ".TOML", "YAML": ".yml"}[language]
    path = tmp_path / f"c{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + TEXTS[language].encode())
    file = read_config_file(path)
    assert (file.language, file.data, file.notes) == (language, SETTINGS, ())
    assert (file.name, file.n_token_ids) == (str(path), None)


@pytest.mark.parametrize("language", TEXTS)
def test_a_language_is_found_out(language):
    assert parse(TEXTS[language]).language == language
    fenced = f"My settings:\n\n```{language.lower()} title\n{TEXTS[language]}\n```\n\nand more"
    assert (parse(fenced).language, parse(fenced).data) == (language, SETTINGS)
    nameless = f"```\n{TEXTS[language]}\n```"
    assert (parse(nameless).language, parse(nameless).data) == (language, SETTINGS)


def test_texts_that_two_languages_could_read():
    assert parse("[train]\nmax_steps = 3\n").data == {"train": {"max_steps": 3}}
    assert parse("{'n_layer': 4}").language == "Python"
    assert parse("model:\n  n_layer: 4\n").data == {"model": {"n_layer": 4}}
    assert parse("lr = rate()\n").data == {"lr": Computed("rate()")}


def test_the_first_of_several_blocks_is_read():
    file = parse("```\nn_layer: 1\n```\n```\nn_layer: 2\n```\n")
    assert file.data == {"n_layer": 1}
    assert file.notes == ("the first of 2 fenced blocks is read",)


def test_json_written_twice_over():
    file = parse(json.dumps(json.dumps(SETTINGS)), "JSON")
    assert file.data == SETTINGS
    assert "written twice over" in file.notes[0]


def refusal(text: bytes | str, language: str | None = "JSON") -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as refused:
        parse_config(raw, "c", language=language)
    message = str(refused.value)
    assert message.startswith("c: ")
    assert "\n" not in message
    return message.removeprefix("c: ")


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_empty_file_is_said_to_be_empty(text, tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"empty\.txt is empty; give a file with settings in it"):
        read_config_file(path)


def test_of_a_file_of_no_known_kind_json_is_not_expected():
    assert "JSON can't" not in refusal("x " * 60_000, None)
    assert refusal("x " * 60_000, None) == "larger than 100,000 characters, which no config is"


def test_syntax_errors_name_line_and_column():
    message = refusal('{\n "n_layer": 4,\n "n_head" 4}')
    assert message == "line 3, column 11: Expecting ':' delimiter; read as JSON"
    assert refusal('{\n "n_layer": 4,\n "n_head" 4}', None) == message
    assert "line 2, column 5" in refusal("a = 1\nb = \n", "TOML")
    assert refusal("a: 1\n b: 2", "YAML").startswith("line 2, column 3: ")
    assert refusal("a = = 1", "Python") == "line 1: invalid syntax; read as Python"


def test_a_key_twice_is_refused_with_its_lines():
    message = refusal('{"n_layer": 4,\n"n_head": 4,\n"n_layer": 5}')
    assert message == 'the key "n_layer" stands twice (lines 1, 3); keep one'
    nested = refusal('{"model":\n{"a": 1,\n"a": 1}}')
    assert nested == 'the key "a" stands twice (lines 2, 3); keep one'
    assert "line 3" in refusal("a: 1\nb: 2\na: 3\n", "YAML")
    assert "Cannot overwrite a value" in refusal("a = 1\na = 2\n", "TOML")


@pytest.mark.parametrize(
    ("text", "message", "language"),
    [
        ("[1]", "expected an object with keys, got a list", "JSON"),
        ('"{}"', "no settings in it", "JSON"),
        ("3", "expected an object with keys, got a single value", "JSON"),
        ("{}", "no settings in it", "JSON"),
        ("import os\n", "no settings in it that can be read without running it", "Python"),
        ("just some words", "neither JSON nor Python, TOML or YAML with settings", None),
        ('{"a": NaN}', "NaN is not a number that JSON can hold; write another", "JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number that JSON can hold", "JSON"),
        ('{"a": [1e999]}', "Infinity is not a number that JSON can hold", "JSON"),
        ("a = nan", "NaN is not a number", "TOML"),
        ("a: .inf", "Infinity is not a number", "YAML"),
        ("a = 2026-11-22", "2026-11-22 is no number, text or truth value", "TOML"),
        ('{"a": "\\ud800"}', "not UTF-8 text", "JSON"),
        (b'{"a": "\xff"}', "not UTF-8 text", "JSON"),
        ('{"a": ' + "1" * 5000 + "}", "Exceeds the limit", "JSON"),
        ('{"a": ' + "[" * 19 + "]" * 19 + ', "b": ' + "[" * 20 + "]" * 20 + "}", "20 levels", None),
        ("[" * 100_000, "more than 20 levels, which no config has", "JSON"),
        ("a = " + "[" * 50_000, "more than 20 levels, which no config has", "TOML"),
        (json.dumps(dict.fromkeys(map(str, range(501)))), "more than 500 keys", "JSON"),
        (
            "a = '" + "y" * 100_000 + "'",
            "larger than 100,000 characters, which no config is",
            "TOML",
        ),
        (b" " * 1_000_001, "larger than 1,000,000 bytes, which no config is", "JSON"),
    ],
)
def test_other_texts_are_refused(text, message, language):
    assert message in refusal(text, language)


def test_twenty_levels_are_read():
    assert list(parse('{"a": ' + "[" * 19 + "]" * 19 + "}").data) == ["a"]


def test_a_path_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.json", tmp_path / "none" / "none.json"):
        with pytest.raises(ConfigError, match="; give a JSON, Python, TOML or YAML file"):
            read_config_file(path)


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), "utf-8")


def test_the_tokenizer_beside_is_counted(tmp_path):
    path = tmp_path / "config.json"
    write(path, SETTINGS)
    write(tmp_path / "vocab.json", {"a": 0, "b": 1, "added_tokens": 2})
    assert read_config_file(path).n_token_ids is None  # no vocabulary that could be counted
    write(tmp_path / "vocab.json", {"a": 0, "b": 4})
    assert read_config_file(path).n_token_ids == 5
    tokenizer = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 6}]}
    write(tmp_path / "tokenizer.json", tokenizer)
    assert read_config_file(path).n_token_ids == 7
    write(tmp_path / "tokenizer.json", {"model": {"vocab": [["a", 0.0], ["b", 0.0]]}})
    assert read_config_file(path).n_token_ids == 2
    (tmp_path / "tokenizer.json").write_text("{")
    assert read_config_file(path).n_token_ids == 5


def test_hostile_files_cost_little():
    started_s = time.perf_counter()
    twice = ",".join(f'"{n}":0' for n in range(50_000))
    assert "stands twice" in refusal("{" + twice + "," + twice + "}")
    for text in ("`" * 900_000, "```\n" * 200_000, "a: &a\n" * 100_000, "a." * 40_000 + "a = 1"):
        refusal(text, None)
    assert time.perf_counter() - started_s < 20
