"""Lists of rungs: the default one, TOML files, what a rung changes, and what is refused."""

from pathlib import Path

import pytest
from tests.training.test_train import corpus_of

from tinygpt.config.model_config import PRESETS
from tinygpt.config.train_config import BATCH_SIZE, OptimConfig, TrainConfig
from tinygpt.errors import ConfigError
from tinygpt.ladder.changes import DEFAULT_RUNGS, read_rungs
from tinygpt.ladder.rung import differing, resolve

CORPUS = corpus_of("To be, or not to be: that is the question.\n" * 20)


def preset(name: str):
    return PRESETS[name]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rungs.toml"
    path.write_text(text, "utf-8")
    return path


def resolved(tmp_path: Path, text: str):
    return resolve(read_rungs(written(tmp_path, text)), CORPUS, preset)


def test_the_default_rungs_lead_from_tinygpt_to_distilgpt2() -> None:
    rungs = {rung.name: rung for rung in resolve(DEFAULT_RUNGS, CORPUS, preset)}
    ours = rungs["recipe"]
    assert (ours.train, ours.optim) == (TrainConfig(batch_size=BATCH_SIZE), OptimConfig())
    assert ours.model.initializer_range == PRESETS["tinygpt"].initializer_range
    scratch, pretrained = rungs["heads"].model, rungs["pretrained"].model
    sizes = ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")
    assert [getattr(scratch, n) for n in sizes] == [getattr(pretrained, n) for n in sizes]
    assert pretrained == PRESETS["distilgpt2"]
    assert [r.trained for r in rungs.values()] == [True] * 8 + [False, True]


def test_every_default_rung_says_what_it_changes() -> None:
    rungs = resolve(DEFAULT_RUNGS, CORPUS, preset)
    changes = {
        after.name: differing(before, after)
        for before, after in zip((None, *rungs), rungs, strict=False)
    }
    assert changes["tutorial"] == {}
    assert changes["depth"] == {"model.n_layer": [4, 6]}
    assert changes["heads"] == {"model.n_head": [4, 12]}
    context = {"model.n_positions", "train.block_size", "train.batch_size"}
    assert set(changes["context"]) == context
    assert changes["pretrained"]["from"] == [None, "distilgpt2"]
    assert not any(key.startswith(("train.", "optim.")) for key in changes["pretrained"])
    assert changes["fine-tuned"] == {
        "trained": [False, True],
        "optim.optimizer": ["muon", "adamw"],
        "optim.learning_rate": [6e-4, 5e-5],
    }
    tokens = [rung.train.tokens_per_step for rung in rungs]
    assert tokens[1:3] == [1024, 1024]  # the context rung changes nothing else


def test_a_rung_keeps_what_it_leaves_out(tmp_path) -> None:
    first, second, third = resolved(
        tmp_path,
        '[[rung]]\nname = "a"\n[rung.optim]\nlearning_rate = 1e-3\n'
        '[[rung]]\nname = "b"\n[rung.model]\nvocab_size = 300\n[rung.tokenizer]\ntokenizer="bpe"\n'
        '[[rung]]\nname = "c"\n[rung.tokenizer]\ntokenizer = "byte"\n',
    )
    assert [r.optim.learning_rate for r in (first, second, third)] == [1e-3] * 3
    assert [r.model.vocab_size for r in (first, second, third)] == [
        len(set(CORPUS.text)),
        300,
        256,
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rung: write [[rung]]"),
        ("[[rungs]]\nname='a'\n", 'unknown table "rungs"; did you mean "rung"?'),
        ("[rung]\nname='a'\n", "has no rung: write [[rung]]"),
        ("[[rung]]\nname='a'\nfrm='x'\n", 'unknown key "frm"; did you mean "from"?'),
        ("[[rung]]\nname='a'\nn_layer=2\n", "it belongs in [rung.model]"),
        ("[[rung]]\nname='a'\n[rung.model]\nn_layers=2\n", 'did you mean "n_layer"?'),
        ("[[rung]]\nname='a'\n[rung.model]\nbeta1=0.5\n", "it belongs in [optim]"),
        ("[[rung]]\nname='a'\nmodel=1\n", "write [rung.model] above its keys"),
        ("[[rung]]\nname='A/b'\n", "lower-case letters"),
        ("[[rung]]\n", "name=None is not allowed"),
        ("[[rung]]\nname='a'\n[[rung]]\nname='a'\n", 'two rungs are named "a"'),
        ("[[rung]]\nname='a'\n[[rung]]\nname='b'\n", 'rung 2 ("b") changes nothing'),
        ("[[rung]]\nname='a'\ntrained='no'\n", "true or false"),
        ("[[rung]]\nname='a'\nfrom=''\n", "the name of a model"),
        ("[[rung]]\nname='a'\ntrained=false\n", "trained=false needs weights"),
        ("[[rung]]\nname='a'\n[rung.train]\nminutes=1.0\n", "give --minutes"),
        ("[[rung]]\nname='a'\n[rung.train]\nseed=1\n", "give --seeds"),
        ("[[rung]]\nname='a'\n[rung.train]\nblock_size=256\n", "longer than n_positions=128"),
        ("[[rung]]\nname='a'\n[rung.tokenizer]\ntokenizer='bpe'\n", "give vocab_size"),
        ("[[rung]]\nname='a'\n[rung.model]\nvocab_size=9\n", 'tokenizer "char" makes it'),
        ("[[rung]]\nname='a'\n[rung.model]\nn_head=12\n", "not divisible by n_head=12"),
        ("[[rung]]\nname='a'\nfrom='gpt2'\n[rung.model]\nn_layer=2\n", "leave out n_layer"),
        ("[[rung]]\nname = a\n", "not readable as TOML"),
    ],
)
def test_rung_files_that_are_refused(tmp_path, text, words) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value).replace("TOML", "")


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_rungs(tmp_path / "none.toml")


def test_the_list_in_the_documents_is_read(tmp_path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text("utf-8")
    block = page.partition("```toml\n[[rung]]")[2].partition("```")[0]
    rungs = resolved(tmp_path, f"[[rung]]{block}")
    assert [rung.name for rung in rungs] == ["shallow", "wide", "pretrained"]
    assert (rungs[1].model.n_layer, rungs[1].model.n_embd) == (2, 256)
    assert rungs[2].model == PRESETS["distilgpt2"]
