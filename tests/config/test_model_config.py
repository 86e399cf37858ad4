"""ModelConfig: presets, every refusal with its rule, config.json there and back, foreign files."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from tinygpt.config import model_config, train_config
from tinygpt.config.model_config import ACTIVATIONS, PRESETS, ModelConfig, stray_keys
from tinygpt.config.schema import field_docs
from tinygpt.errors import ConfigError
from tinygpt.model.costs import n_params

SIZES = {"vocab_size": 65, "n_positions": 128, "n_embd": 128, "n_layer": 4, "n_head": 4}
# A value other than the default for every field.
OTHER = {
    "vocab_size": 11,
    "n_positions": 12,
    "n_embd": 26,
    "n_layer": 3,
    "n_head": 13,
    "n_inner": 17,
    "activation_function": "relu",
    "resid_pdrop": 0.2,
    "embd_pdrop": 0.3,
    "attn_pdrop": 0.4,
    "layer_norm_epsilon": 1e-6,
    "initializer_range": 0.5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# The published file of distilgpt2, key by key.
DISTILGPT2_JSON = """{"_num_labels":1,"activation_function":"gelu_new",
"architectures":["GPT2LMHeadModel"],"attn_pdrop":0.1,"bos_token_id":50256,"embd_pdrop":0.1,
"eos_token_id":50256,"id2label":{"0":"LABEL_0"},"initializer_range":0.02,"label2id":{"LABEL_0":0},
"layer_norm_epsilon":1e-05,"model_type":"gpt2","n_ctx":1024,"n_embd":768,"n_head":12,"n_layer":6,
"n_positions":1024,"resid_pdrop":0.1,"summary_activation":null,"summary_first_dropout":0.1,
"summary_proj_to_labels":true,"summary_type":"cls_index","summary_use_proj":true,
"task_specific_params":{"text-generation":{"do_sample":true,"max_length":50}},"vocab_size":50257}"""


def refusal(data=None, *, strict=True, **settings) -> str:
    """Return the message with which SIZES, changed by the settings, are refused."""

    def build() -> ModelConfig:
        if data is None:
            return ModelConfig(**{**SIZES, **settings})
        return ModelConfig.from_dict({**SIZES, **data}, strict=strict)

    with pytest.raises(ConfigError) as refused:
        build()
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("tinygpt", 818_048),
        ("distilgpt2", 81_912_576),
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_presets_have_their_published_sizes(name, count):
    assert n_params(PRESETS[name]) == count


def test_the_two_scales():
    tiny, distil = PRESETS["tinygpt"], PRESETS["distilgpt2"]
    assert (tiny.head_dim, tiny.inner_dim, tiny.bos_token_id) == (32, 512, None)
    assert (distil.head_dim, distil.inner_dim, distil.bos_token_id) == (64, 3072, 50256)
    assert replace(distil, n_inner=7).inner_dim == 7


def test_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        PRESETS["tinygpt"].n_layer = 5


def test_sizes_have_no_default():
    for name in SIZES:
        with pytest.raises(TypeError, match=name):
            ModelConfig(**{k: v for k, v in SIZES.items() if k != name})
        with pytest.raises(ConfigError, match=f'config.json: the key "{name}" is missing'):
            ModelConfig.from_dict({k: v for k, v in SIZES.items() if k != name})


@pytest.mark.parametrize("name", [*SIZES, "n_inner"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused(name, value):
    message = refusal(**{name: value})
    assert message == f"{name}={value} is not allowed: it must be at least 1"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("n_layer", 4.0, "a whole number"),
        ("n_layer", True, "a whole number"),
        ("n_layer", "4", "a whole number"),
        ("n_layer", None, "a whole number"),
        ("n_inner", 0.5, "a whole number or null"),
        ("resid_pdrop", "0.1", "a finite number"),
        ("resid_pdrop", float("nan"), "a finite number"),
        ("layer_norm_epsilon", float("inf"), "a finite number"),
        ("initializer_range", 10**400, "a finite number"),
        ("attn_pdrop", False, "a finite number"),
        ("tie_word_embeddings", 1, "true or false"),
        ("activation_function", None, "a text"),
        ("eos_token_id", "0", "a whole number or null"),
    ],
)
def test_wrong_types_are_refused(name, value, allowed):
    message = refusal(**{name: value})
    assert message.startswith(f"{name}=")
    assert message.endswith(f"is not allowed: expected {allowed}")


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"n_head": 3}, "n_embd=128 is not divisible by n_head=3; each head takes an equal share"),
        ({"resid_pdrop": 1.0}, "resid_pdrop=1.0 is not allowed: 0 <= p < 1"),
        ({"embd_pdrop": -0.1}, "embd_pdrop=-0.1 is not allowed: 0 <= p < 1"),
        ({"attn_pdrop": 2}, "attn_pdrop=2 is not allowed: 0 <= p < 1"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon=0.0 is not allowed: must be above 0"),
        ({"initializer_range": -1.0}, "initializer_range=-1.0 is not allowed: must be above 0"),
        ({"bos_token_id": 65}, "bos_token_id=65 is outside the vocabulary (0 to 64); use null"),
        ({"eos_token_id": -1}, "eos_token_id=-1 is outside the vocabulary (0 to 64); use null"),
        ({"activation_function": "gelu_now"}, 'is not known; did you mean "gelu_new"? (known: '),
    ],
)
def test_impossible_values_are_refused_with_the_rule(settings, rule):
    assert rule in refusal(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"vocab_size": 10**10},
        {"n_positions": 10**10},
        {"n_embd": 4 * 10**5},
        {"n_inner": 10**9},
        {"n_layer": 1001},
        {"vocab_size": 5 * 10**8, "tie_word_embeddings": False},
    ],
)
def test_giants_are_refused_before_anything_is_allocated(settings):
    assert "tinygpt opens no more" in refusal(**settings)


def test_every_known_activation_is_allowed():
    for name in ACTIVATIONS:
        assert ModelConfig(**SIZES, activation_function=name).activation_function == name


def test_round_trip_over_every_field():
    defaults = {f.name: f.default for f in fields(ModelConfig)}
    assert OTHER.keys() == defaults.keys()
    assert not [name for name, value in OTHER.items() if defaults[name] == value]
    config = ModelConfig(**OTHER)
    data = json.loads(json.dumps(config.to_dict()))
    assert {**data, **OTHER} == data  # each field stands in the file under its own name
    assert ModelConfig.from_dict(data) == config
    assert ModelConfig.from_dict(data, strict=False) == config


def test_written_file_tells_transformers_the_class():
    data = ModelConfig(**SIZES).to_dict()
    assert (data["model_type"], data["architectures"]) == ("gpt2", ["GPT2LMHeadModel"])


def test_strict_reading_names_the_nearest_key():
    assert refusal({"n_heads": 4}) == 'config.json: unknown key "n_heads"; did you mean "n_head"?'
    assert refusal({"batch_size": 4}).startswith('config.json: unknown key "batch_size"')
    with pytest.raises(ConfigError, match=r"^my\.json: n_embd=128 is not divisible"):
        ModelConfig.from_dict({**SIZES, "n_head": 5}, where="my.json")


@pytest.mark.parametrize("data", [[], "{}", None, 3])
def test_anything_but_an_object_is_refused(data):
    with pytest.raises(ConfigError, match=r"config\.json: expected a JSON object, got "):
        ModelConfig.from_dict(data)


def test_the_published_distilgpt2_file_is_read():
    data = json.loads(DISTILGPT2_JSON)
    assert ModelConfig.from_dict(data, strict=False) == PRESETS["distilgpt2"]
    assert stray_keys(data) == []


def test_a_foreign_file_keeps_strays_aside_and_takes_gpt2s_defaults():
    data = {**SIZES, "line_by_line": True, "n_ctx": 7, "n_heads": 9}
    config = ModelConfig.from_dict(data, strict=False)
    assert stray_keys(data) == ["line_by_line", "n_heads"]
    assert config == ModelConfig(**SIZES)  # 50256 is no id of a vocabulary of 65
    large = ModelConfig.from_dict({**SIZES, "vocab_size": 50257}, strict=False)
    assert (large.bos_token_id, large.eos_token_id) == (50256, 50256)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"add_cross_attention": True}, "add_cross_attention=True asks for cross attention"),
        (
            {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx=True asks for attention scaled by the inverse",
        ),
        ({"scale_attn_weights": False}, "only scale_attn_weights=true can be opened"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder=True asks for an encoder-decoder"),
        ({"model_type": "llama"}, 'model_type "llama" is not a GPT-2'),
        (
            {"architectures": ["GPT2ForSequenceClassification"]},
            "architectures names GPT2ForSequenceClassification, which is not a language model",
        ),
        ({"architectures": "GPT2ForTokenClassification"}, "names GPT2ForTokenClassification,"),
        ({"architectures": 7}, "architectures names 7,"),
    ],
)
def test_what_tinygpt_does_not_compute_is_refused_by_name(data, message, strict):
    assert message in refusal(data, strict=strict)


def test_values_of_the_wrong_type_are_refused_in_foreign_files_too():
    for value in ("65", None, [65]):
        assert "vocab_size=" in refusal({"vocab_size": value}, strict=False)


def test_the_values_everyone_computes_are_read():
    data = {
        **SIZES,
        "add_cross_attention": False,
        "scale_attn_weights": True,
        "architectures": ["GPT2Model"],
        "reorder_and_upcast_attn": True,
    }
    assert ModelConfig.from_dict(data) == ModelConfig(**SIZES)


def test_architecture_and_training_settings_share_no_field():
    own = {f.name for f in fields(ModelConfig)}
    for cls in (
        train_config.TrainConfig,
        train_config.OptimConfig,
        train_config.CorpusConfig,
        train_config.TokenizerConfig,
    ):
        assert not own & {f.name for f in fields(cls)}


def test_every_field_is_documented():
    docs = field_docs(ModelConfig)
    assert list(docs) == [f.name for f in fields(ModelConfig)]
    assert docs["n_layer"] == "Number of Transformer blocks."
    assert all(text.endswith((".", ")")) and "\n" not in text for text in docs.values())


def test_the_configs_need_neither_torch_nor_numpy():
    code = (
        "import sys, tinygpt.config.model_config, tinygpt.config.train_config\n"
        "import tinygpt.model.costs, tinygpt.doctor.diagnose\n"
        "print(sorted({'torch', 'numpy', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_exports_are_exact_and_sorted():
    public = {
        name
        for name, value in vars(model_config).items()
        if getattr(value, "__module__", "") == model_config.__name__ and not name.startswith("_")
    }
    constants_first = sorted(model_config.__all__, key=lambda name: (not name.isupper(), name))
    assert model_config.__all__ == constants_first
    assert set(model_config.__all__) == public | {"ACTIVATIONS", "GPT2_EOT_ID", "PRESETS"}
