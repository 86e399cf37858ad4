"""Every key of every file, the differing ones first, labelled as the doctor does."""

import dataclasses
import json

from tinygpt.comparison.config_diff import config_files, config_keys, labels_by_file
from tinygpt.config.model_config import PRESETS


def test_every_key_of_each_file_is_there(tmp_path) -> None:
    one, other = PRESETS["tinygpt"], PRESETS["distilgpt2"]
    (tmp_path / "config.json").write_text(json.dumps({**one.to_dict(), "odd": 1}), "utf-8")
    training = {
        "train": {"batch_size": 8},
        "corpus": {"corpus": "/home/me/own.txt", "sha256": "0"},
        "data": {"n_bytes": 1},
    }
    (tmp_path / "training.json").write_text(json.dumps(training), "utf-8")
    files = config_files(tmp_path, one)
    keys = config_keys([files, config_files(None, other)])
    assert {k.key for k in keys if k.file == "config.json"} == {*one.to_dict(), "odd"}
    found = {(k.file, k.key): k for k in keys}
    n_layer = found["config.json", "n_layer"]
    assert (n_layer.values, n_layer.differs) == (("4", "6"), True)
    assert n_layer.labels == ("architecture",)
    assert found["config.json", "odd"].labels == ("dead",)
    assert found["config.json", "odd"].values == ("1", None)
    assert found["training.json", "train.batch_size"].labels == ("training",)
    assert found["training.json", "corpus.corpus"].values == ('"own.txt"', None)
    assert not any(k.key.startswith("data") for k in keys)  # no setting
    assert found["config.json", "model_type"].differs is False
    order = [k.differs for k in keys]
    assert order == sorted(order, reverse=True)


def test_equal_models_have_no_differing_key() -> None:
    config = PRESETS["tinygpt"]
    files = [config_files(None, config), config_files(None, dataclasses.replace(config))]
    assert not any(key.differs for key in config_keys(files))
    assert labels_by_file(files[0])["config.json"]["architecture"] > 10
