"""What the keys of a flat config say against each other, and what is worth knowing about them.

The config classes refuse impossible values themselves; here is what no single class can see.
"""

from collections.abc import Iterator, Mapping

from tinygpt.config_fields import default_window, key_info, placed, shown
from tinygpt.config_keys import known_keys, look_up
from tinygpt.config_split import NO_SIZES, split_config
from tinygpt.errors import did_you_mean
from tinygpt.run_config import TrainConfig

__all__ = ["contradictions", "notes"]

_Values = Mapping[str, tuple[str, object]]  # field -> the key that sets it, and the value

_GPT2_VOCABULARY = 50257

_BIASES = "the GPT-2 format always has biases: without them they are written as zeros"
_CONSTANT = "tinygpt's learning rate always decays: give final_learning_rate the same value"
_LINEAR = "tinygpt's learning rate decays linearly"
_ADAMW = "tinygpt's optimizer is AdamW"
_TARGETS = "tinygpt's targets are not smoothed"
_SAMPLING = "tinygpt does not choose tokens that way"
# Keys that no field takes: the values that change nothing, and what to say of any other.
_ONLY: dict[str, tuple[tuple[object, ...], str]] = {
    **dict.fromkeys(("bias", "qkv_bias"), ((True,), _BIASES)),
    "decay_lr": ((True,), _CONSTANT),
    **dict.fromkeys(("lr_scheduler_type", "lr_schedule", "scheduler"), (("linear",), _LINEAR)),
    **dict.fromkeys(
        ("optim", "optimizer"),
        (("adamw", "AdamW", "adamw_torch", "adamw_torch_fused"), _ADAMW),
    ),
    **dict.fromkeys(("label_smoothing", "label_smoothing_factor"), ((0,), _TARGETS)),
    **dict.fromkeys(("penalty_alpha", "no_repeat_ngram_size"), ((0, None), _SAMPLING)),
    **dict.fromkeys(("num_beams", "typical_p"), ((1, None), _SAMPLING)),
}
_DATASETS_OF_NANOGPT = {
    "shakespeare_char": 'corpus "tinyshakespeare" with tokenizer "char"',
    "shakespeare": 'corpus "tinyshakespeare" with tokenizer "gpt2"',
}


def contradictions(data: Mapping[str, object]) -> tuple[str, ...]:
    """Return one line for each thing that can't be true or can't be done as it stands."""
    values, _ = placed(data)
    reasons = [message for messages in split_config(data).reasons.values() for message in messages]
    found = [message for message in reasons if message != NO_SIZES]
    for check in (_window, _n_ctx, _head_dim, _vocabulary, _budget, _not_computed):
        found += check(data, values)
    return tuple(dict.fromkeys(found))


def notes(data: Mapping[str, object]) -> tuple[str, ...]:
    """Return one line for each thing that is worth knowing but no mistake."""
    values, _ = placed(data)
    return (*_notes_on_keys(data), *_notes_on_defaults(values))


def _window(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    context_key, context = values.get("ModelConfig.n_positions", ("", None))
    window_key, window = values.get("TrainConfig.block_size", ("", None))
    if isinstance(context, int) and isinstance(window, int) and window > context:
        yield (
            f"{window_key}={window} is longer than {context_key}={context}: a training window "
            "must fit into the context"
        )


def _n_ctx(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    key, context = values.get("ModelConfig.n_positions", ("", None))
    if "n_ctx" in data and not key:
        yield f"n_ctx={shown(data['n_ctx'])} is read by nothing: call it n_positions"
    elif "n_ctx" in data and data["n_ctx"] != context:
        yield (
            f"n_ctx={shown(data['n_ctx'])} but {key}={shown(context)}: nothing reads n_ctx, "
            f"{key} counts"
        )


def _head_dim(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    width_key, width = values.get("ModelConfig.n_embd", ("", None))
    heads_key, heads = values.get("ModelConfig.n_head", ("", None))
    if not isinstance(width, int) or not isinstance(heads, int) or heads < 1:
        return
    for key in ("head_dim", "head_size", "d_head"):
        if key in data and data[key] != width / heads:
            yield (
                f"{key}={shown(data[key])} but {width_key} / {heads_key} = {width / heads:g}: "
                "a head takes its share of the width"
            )


def _vocabulary(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    size_key, size = values.get("ModelConfig.vocab_size", ("", None))
    kind_key, kind = values.get("TokenizerConfig.tokenizer", ("", None))
    if kind == "gpt2" and isinstance(size, int) and size < _GPT2_VOCABULARY:
        yield (
            f"{kind_key}={shown(kind)} has {_GPT2_VOCABULARY:,} ids but {size_key}={size}: each id "
            "needs its row"
        )
    if isinstance(size, int) and ((kind == "byte" and size != 256) or (kind == "bpe" and size < 256)):
        rule = "has 256 ids" if kind == "byte" else "has at least the 256 bytes"
        yield f"{kind_key}={shown(kind)} {rule} but {size_key}={size}"


def _budget(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    """Yield second budgets, and a learning rate that ends at another step than the run."""
    steps_key, steps = values.get("TrainConfig.max_steps", ("", None))
    budget_key, budget = values.get("TrainConfig.minutes", (steps_key, steps))
    for key, value in data.items():
        info = look_up(key)
        if info and info.hf_name == "num_train_epochs" and None not in (budget, value):
            yield f"{key}={shown(value)} and {budget_key}={shown(budget)}: give one budget, not two"
    for key in ("lr_decay_iters", "lr_decay_steps"):
        if key in data and steps is not None and data[key] != steps:
            yield (
                f"{key}={shown(data[key])} but {steps_key}={shown(steps)}: tinygpt's learning "
                "rate reaches its end with the budget"
            )


def _not_computed(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    """Yield the keys whose value asks for what tinygpt does not do."""
    for key, (plain, why) in _ONLY.items():
        info = look_up(key)
        if key in data and data[key] not in plain and info is not None and not info.fields:
            yield f"{key}={shown(data[key])} can't be kept: {why}"
    temperature_key, temperature = values.get("GenerationConfig.temperature", ("", None))
    if data.get("do_sample") is True and temperature == 0:
        yield f"do_sample=true and {temperature_key}=0: a temperature of 0 does not sample"


def _notes_on_keys(data: Mapping[str, object]) -> Iterator[str]:
    for key, value in data.items():
        info = key_info(key, data)
        if info is None:
            if isinstance(value, Mapping):
                yield f'"{key}" holds an object: the doctor reads flat configs, give it alone'
            else:
                yield f'no code reads "{key}"{did_you_mean(key, known_keys())}'
            continue
        names = " and ".join(place.partition(".")[2] for place in info.fields)
        if names == "n_positions and block_size":
            yield (
                f"{key}={shown(value)} is two settings: n_positions (longest context, "
                "architecture) and block_size (training window)"
            )
        elif names == "resid_pdrop and embd_pdrop and attn_pdrop":
            yield f"{key}={shown(value)} stands for three settings: {names}"
        if key == "dataset" and isinstance(value, str) and value in _DATASETS_OF_NANOGPT:
            meant = _DATASETS_OF_NANOGPT[value]
            yield f"dataset={shown(value)}: nanoGPT's name for what tinygpt calls {meant}"


def _notes_on_defaults(values: _Values) -> Iterator[str]:
    """Yield defaults that differ from what the writer of another program's config may expect."""
    if "ModelConfig.n_embd" not in values:
        return
    dropouts = [n for n in ("resid_pdrop", "embd_pdrop", "attn_pdrop") if _free(n, values)]
    if dropouts:
        yield f"{' and '.join(dropouts)} not given: GPT-2's default of 0.1 is taken"
    if _free("activation_function", values):
        yield "activation_function not given: GPT-2's gelu_new is taken (nanoGPT computes gelu)"
    if "TrainConfig.block_size" not in values and default_window(values) < TrainConfig().block_size:
        window = default_window(values)
        yield f"block_size not given: a training window of n_positions={window} tokens is taken"
    size = values.get("ModelConfig.vocab_size", ("", 0))[1]
    if isinstance(size, int) and size >= _GPT2_VOCABULARY:
        if _free("eos_token_id", values):
            yield "eos_token_id not given: in GPT-2's vocabulary <|endoftext|> is 50256; add it"
        if "TokenizerConfig.tokenizer" not in values:
            yield f'tokenizer not given: char is taken; vocab_size={size} looks like "gpt2"'


def _free(name: str, values: _Values) -> bool:
    return f"ModelConfig.{name}" not in values
