"""Python configs: read from the syntax tree, never run, and what can't be known is not guessed."""

import time

import pytest

from tinygpt.doctor.fields import Computed
from tinygpt.doctor.python import read_python
from tinygpt.errors import ConfigError


def read(text: str) -> dict[str, object]:
    return read_python(text)[0]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("5e-4", 5e-4),
        ("2*60", 120),
        ("5 * 8  # a comment", 40),
        ("-1", -1),
        ("2**10", 1024),
        ("7 // 2", 3),
        ("1 / 4", 0.25),
        ("1_000", 1000),
        ("'a' 'b'", "ab"),
        ("True", True),
        ("None", None),
        ("(0.9, 0.95)", [0.9, 0.95]),
        ("['x', 'y']", ["x", "y"]),
        ("n_embd * 4", 128),
        ("dict(lr=1e-3, seed=n_embd)", {"lr": 1e-3, "seed": 32}),
        ("GPTConfig(n_layer=2 * 2)", {"n_layer": 4}),
        ("{'n_layer': 4, 'lr': rate()}", {"n_layer": 4, "lr": Computed("rate()")}),
    ],
)
def test_what_can_be_known_is(expression, value):
    assert read(f"n_embd = 32\nlearning_rate = {expression}")["learning_rate"] == value


@pytest.mark.parametrize(
    "expression",
    [
        "float('inf')",
        "1e999",
        "10 ** 1000",
        "9 ** 9 ** 9",
        "(-1) ** 0.5",
        "1 / 0",
        "True + 1",
        "'a' * 10",
        "f'{x}'",
        "b'x'",
        "1j",
        "...",
        "unknown",
        "base.learning_rate",
        "3 if gpu else 4",
        "[k for k in globals()]",
        "{k: 1 for k in 'ab'}",
        "lambda: 1",
        "open('x').read()",
        "__import__('os').system('true')",
        "GPTConfig(4)",
        "GPTConfig(**more)",
        "get_config()",
        "{1: 2}",
        "[{'a': 1}]",
    ],
)
def test_what_only_running_would_tell_is_computed(expression):
    value = read(f"learning_rate = {expression}")["learning_rate"]
    assert isinstance(value, Computed)
    assert str(value).startswith("computed: ")


def test_nothing_is_run(tmp_path):
    mark = tmp_path / "ran"
    read(f"x = open({str(mark)!r}, 'w')\nimport os\nos.mkdir({str(mark)!r})\nn_layer = 2")
    assert not mark.exists()


def test_a_nanogpt_script_ends_where_its_settings_end():
    settings, notes = read_python(
        "import os\n"
        '"""a text"""\n'
        "n_layer = 6\n"
        "device = 'cuda' if os.path.exists('x') else 'cpu'\n"
        "config_keys = [k for k, v in globals().items()]\n"
        "exec(open('configurator.py').read())\n"
        "config = {k: globals()[k] for k in config_keys}\n"
        "n_layer = 12\n"
    )
    assert list(settings) == ["n_layer", "device"]
    assert settings["n_layer"] == 6
    assert notes[0] == "only running it would tell: config_keys (line 5)"
    assert notes[1].startswith("line 6: exec runs other code, which is not read")


def test_mingpts_nodes_are_read_from_their_functions():
    settings, notes = read_python(
        "from mingpt.utils import CfgNode as CN\n"
        "def get_config():\n"
        "    C = CN()\n"
        "    C.system = CN()\n"
        "    C.system.seed = 3407\n"
        "    C.model = GPT.get_default_config()\n"
        "    C.model.n_layer = 6\n"
        "    x.y = 1\n"
        "    return C\n"
        "class Trainer:\n"
        "    @staticmethod\n"
        "    def get_default_config():\n"
        "        D = CN()\n"
        "        D.batch_size = 64\n"
        "        return D\n"
    )
    assert settings == {
        "C": {"system": {"seed": 3407}, "model": {"n_layer": 6}},
        "D": {"batch_size": 64},
    }
    assert notes == ["only running it would tell: C.model (line 6)"]


def test_classes_give_their_defaults_to_their_calls():
    source = (
        "@dataclass\n"
        "class Sizes:\n"
        "    n_layer: int = 12\n"
        "    n_head: int\n"
        "    betas: list = field(default_factory=list)\n"
        "    dropout: float = field(default=0.1)\n"
        "class TrainArgs:\n"
        "    lr = 3e-4\n"
        "class GPT(nn.Module):\n"
        "    n_embd = 3\n"
    )
    fields = {"n_layer": 12, "betas": Computed("field(default_factory=list)"), "dropout": 0.1}
    assert read(source) == {"Sizes": fields, "TrainArgs": {"lr": 3e-4}}
    called = read(source + "model = GPT(TrainArgs(lr=1e-3, wd=0))\n")
    assert called == {"TrainArgs": {"lr": 1e-3, "wd": 0}, "Sizes": fields}


def test_other_forms_of_assignment():
    settings, notes = read_python(
        "a: int = 1\n"
        "n_layer, n_head = 2, 4\n"
        "seed = random_seed = 7\n"
        "config = {'n_embd': 8}\n"
        "config['n_embd'] = 16\n"
        "config['lr'] = 1e-3\n"
        "batch_size = 4\n"
        "batch_size *= 2\n"
        "xs[0] = 1\n"
        "if gpu:\n"
        "    batch_size = 64\n"
        "    other = 1\n"
        "if __name__ == '__main__':\n"
        "    max_iters = 3\n"
        "beta1, beta2 = pair()\n"
    )
    assert settings == {
        "a": 1,
        "n_layer": 2,
        "n_head": 4,
        "seed": 7,
        "random_seed": 7,
        "config": {"n_embd": 16, "lr": 1e-3},
        "batch_size": Computed("inside `if gpu`"),
        "max_iters": 3,
        "beta1": Computed("pair()"),
        "beta2": Computed("pair()"),
    }
    assert "batch_size is set on lines 7, 8, 11; the last counts" in notes
    assert "config.n_embd is set on lines 4, 5; the last counts" in notes
    assert "only running it would tell: other (line 12)" in notes


def test_a_dict_alone_is_a_config():
    assert read("{'n_layer': 4, 'bias': False,}  # mine") == {"n_layer": 4, "bias": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_layer = \n", "line 1: invalid syntax; read as Python"),
        ("n_layer = 4\n  x = 3", "line 2: unexpected indent"),
        ("x = " + "(" * 5000, "too many nested parentheses"),
        ("x = " + "-" * 100_000 + "1", "nested too deep"),
        ("x = 1" + "+1" * 50_000, "nested too deep"),
        ("a" + ".b" * 50_000 + " = 1", "nested too deep"),
        ("x = '\0'", "null bytes"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        read_python(text)


def test_hostile_programs_cost_little():
    started_s = time.perf_counter()
    read("c = {}\n" + "c['a'] = c\nc['b'] = c\n" * 100)
    read("x = [1]\n" + "x = [x, x]\n" * 100)
    read("x = 2 ** 99\n" + "x = x * x\n" * 100)
    assert isinstance(read("lr = 2 ** 99\n" + "lr = lr * lr\n" * 100)["lr"], Computed)
    assert time.perf_counter() - started_s < 5
