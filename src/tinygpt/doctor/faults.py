"""What the keys of a flat config say against each other: each line with the rule and the mend.

The config classes refuse impossible values themselves; here is what no single class can see.
"""

from collections.abc import Iterator, Mapping

from tinygpt.config.model_config import PRESETS, stray_keys
from tinygpt.doctor.build import NO_SIZES
from tinygpt.doctor.fields import (
    GPT2_VOCABULARY,
    Computed,
    foreign_model_type,
    named,
    placed,
    shown,
)
from tinygpt.doctor.keys import look_up
from tinygpt.doctor.split import split_config

__all__ = ["contradictions", "is_hf_config"]

_Values = Mapping[str, tuple[str, object]]  # field or name -> the key that sets it, and the value

_FEWEST_IDS = {"byte": 256, "bpe": 256, "gpt2": GPT2_VOCABULARY}

_BIASES = "the GPT-2 format always has biases: without them they are written as zeros"
_CONSTANT = "tinygpt's learning rate always decays: give final_learning_rate the same value"
_LINEAR = "tinygpt's learning rate decays linearly"
_ADAMW = "tinygpt's are AdamW and Muon"
_TARGETS = "tinygpt's targets are not smoothed"
_SAMPLING = "tinygpt does not choose tokens that way"
# Keys that no field takes: the values that change nothing, and what to say of any other.
_ONLY: dict[str, tuple[tuple[object, ...], str]] = {
    **dict.fromkeys(("bias", "qkv_bias"), ((True,), _BIASES)),
    "decay_lr": ((True,), _CONSTANT),
    **dict.fromkeys(
        ("lr_scheduler_type", "lr_schedule", "scheduler", "scheduler.name", "scheduler.type"),
        (("linear",), _LINEAR),
    ),
    **dict.fromkeys(
        ("optim", "optimizer.name", "optimizer.type", "optimizer.class_path"),
        (
            ("adamw", "AdamW", "adamw_torch", "adamw_torch_fused", "torch.optim.AdamW"),
            _ADAMW,
        ),
    ),
    **dict.fromkeys(("label_smoothing", "label_smoothing_factor"), ((0,), _TARGETS)),
    **dict.fromkeys(("penalty_alpha", "no_repeat_ngram_size"), ((0, None), _SAMPLING)),
    **dict.fromkeys(("num_beams", "typical_p"), ((1, None), _SAMPLING)),
}

# Names that GPT2Config takes for its own (its attribute_map).
_HF_ALIASES = ("hidden_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers")

_HIGH_LEARNING_RATE = 0.1
"""AdamW at this rate or above learns nothing in a Transformer of any size."""


def contradictions(data: Mapping[str, object]) -> tuple[str, ...]:
    """Return one line for each thing that can't be true or can't be done as it stands."""
    reasons = [message for messages in split_config(data).reasons.values() for message in messages]
    found = [message for message in reasons if message != NO_SIZES]
    if foreign_model_type(data) is None:
        names = named(data)
        values = {
            place: value
            for place, value in placed(data)[0].items()
            if not isinstance(value[1], Computed)
        }
        for check in _CHECKS:
            found += check(names, values)
        found += _unread_by_hf(data, values)
    return tuple(dict.fromkeys(found))


def is_hf_config(data: Mapping[str, object]) -> bool:
    """Say whether this is a config.json that transformers reads as a GPT-2."""
    return data.get("model_type") == "gpt2" or "transformers_version" in data


def _window(names: _Values, values: _Values) -> Iterator[str]:
    context_key, context = values.get("ModelConfig.n_positions", ("", None))
    window_key, window = values.get("TrainConfig.block_size", ("", None))
    if isinstance(context, int) and isinstance(window, int) and window > context:
        yield (
            f"{window_key}={window} is longer than {context_key}={context}: a training window "
            f"must fit into the context; lower {window_key} or raise {context_key}"
        )


def _n_ctx(names: _Values, values: _Values) -> Iterator[str]:
    key, context = values.get("ModelConfig.n_positions", ("", None))
    old, value = names.get("n_ctx", ("", context))
    if old and not key:
        yield f"{old}={shown(value)} is read by nothing: call it n_positions"
    elif value != context:
        yield (
            f"{old}={shown(value)} but {key}={shown(context)}: nothing reads n_ctx, {key} counts; "
            f"leave {old} out"
        )


def _head_dim(names: _Values, values: _Values) -> Iterator[str]:
    width_key, width = values.get("ModelConfig.n_embd", ("", None))
    heads_key, heads = values.get("ModelConfig.n_head", ("", None))
    if not isinstance(width, int) or not isinstance(heads, int) or heads < 1:
        return
    for name in ("head_dim", "head_size", "d_head"):
        key, value = names.get(name, ("", None))
        if key and value != width / heads:
            yield (
                f"{key}={shown(value)} but {width_key} / {heads_key} = {width / heads:g}: "
                f"a head takes its share of the width; leave {key} out"
            )


def _vocabulary(names: _Values, values: _Values) -> Iterator[str]:
    size_key, size = values.get("ModelConfig.vocab_size", ("", None))
    kind_key, kind = values.get("TokenizerConfig.tokenizer", ("", None))
    fewest = _FEWEST_IDS.get(str(kind), 0)
    if isinstance(size, int) and size < fewest:
        at_least = "at least " if kind == "bpe" else ""
        yield (
            f"{kind_key}={shown(kind)} has {at_least}{fewest:,} ids but {size_key}={size}: each id "
            f"needs its row; set {size_key}={fewest}"
        )


def _ends(names: _Values, values: _Values) -> Iterator[str]:
    """Yield what ModelConfig says of them, which it does not reach where a size is wrong too."""
    _, size = values.get("ModelConfig.vocab_size", ("", None))
    for name in ("bos_token_id", "eos_token_id"):
        _, value = values.get(f"ModelConfig.{name}", ("", None))
        if isinstance(size, int) and isinstance(value, int) and not 0 <= value < size:
            yield (
                f"{name}={value} is outside the vocabulary (0 to {size - 1}); use null if there is "
                "none"
            )


def _schedule(names: _Values, values: _Values) -> Iterator[str]:
    """Yield second budgets, and learning rates that miss the budget or any sense."""
    steps_key, steps = values.get("TrainConfig.max_steps", ("", None))
    budget_key, budget = values.get("TrainConfig.minutes", (steps_key, steps))
    for name, (key, value) in names.items():
        info = look_up(name)
        if info and info.hf_name == "num_train_epochs" and None not in (budget, value):
            yield f"{key}={shown(value)} and {budget_key}={shown(budget)}: give one budget, not two"
    for name in ("lr_decay_iters", "lr_decay_steps"):
        key, value = names.get(name, ("", None))
        if key and steps is not None and value != steps:
            yield (
                f"{key}={shown(value)} but {steps_key}={shown(steps)}: tinygpt's learning "
                "rate reaches its end with the budget; give both the same number"
            )
    key, warmup = values.get("OptimConfig.warmup_steps", ("", None))
    if isinstance(warmup, int) and isinstance(steps, int) and 0 < steps <= warmup:
        yield (
            f"{key}={warmup} but {steps_key}={steps}: the learning rate never reaches its peak; "
            f"a tenth of the steps, {max(1, steps // 10)}, is usual"
        )
    key, rate = values.get("OptimConfig.learning_rate", ("", None))
    if isinstance(rate, float | int) and rate >= _HIGH_LEARNING_RATE:
        yield (
            f"{key}={shown(rate)} is far above what AdamW bears (1e-5 to 1e-2): is a minus sign "
            "or a zero missing, as in 3e4 for 3e-4?"
        )


def _batches(names: _Values, values: _Values) -> Iterator[str]:
    for name in ("global_batch_size", "total_batch_size"):
        key, whole = names.get(name, ("", None))
        part_key, part = values.get("TrainConfig.batch_size", ("", None))
        times_key, times = values.get("TrainConfig.gradient_accumulation_steps", ("", None))
        if not isinstance(whole, int) or not isinstance(part, int) or whole < 1 or part < 1:
            continue
        if isinstance(times, int) and part * times != whole:
            yield (
                f"{key}={whole} but {part_key} x {times_key} = {part * times}: a step's batch is "
                f"their product on one machine; leave {key} out"
            )
        elif times is None and whole % part:
            yield f"{key}={whole} is not a multiple of {part_key}={part}; a step is whole batches"
        elif times is None and whole != part:
            yield (
                f"{key}={whole} is {whole // part} x {part_key}={part}: add "
                f"gradient_accumulation_steps={whole // part}, or a step is {part} windows"
            )


def _not_computed(names: _Values, values: _Values) -> Iterator[str]:
    """Yield the keys whose value asks for what tinygpt does not do."""
    for name, (plain, why) in _ONLY.items():
        key, value = names.get(name, ("", None))
        info = look_up(name)
        if key and value not in plain and info is not None and not info.fields:
            yield f"{key}={shown(value)} can't be kept: {why}"
    temperature_key, temperature = values.get("GenerationConfig.temperature", ("", None))
    key, sampled = names.get("do_sample", ("", None))
    if sampled is True and temperature == 0:
        yield f"{key}=true and {temperature_key}=0: a temperature of 0 never samples; drop one"


def _unread_by_hf(data: Mapping[str, object], values: _Values) -> Iterator[str]:
    """Yield the keys of a HF config.json that say an architecture by a name HF does not read."""
    if not is_hf_config(data):
        return
    default = PRESETS["gpt2"].to_dict()
    for key in stray_keys(data):
        info = look_up(key)
        if info is None or info.hf_home != "GPT2Config" or not info.fields or key in _HF_ALIASES:
            continue
        names = (info.hf_name or "").split(", ")
        taken = ", ".join(f"{name}={shown(data.get(name, default[name]))}" for name in names)
        mend = f" by default; call it {' and '.join(names)}"
        if names[0] in data:
            mend = "; leave it out of config.json"
        yield (
            f"{key}={shown(data[key])} is kept by transformers and read by nothing: it takes "
            f"{taken}{mend}"
        )


_CHECKS = (
    *(_window, _n_ctx, _head_dim, _vocabulary, _ends),
    *(_schedule, _not_computed, _batches),
)
