"""What is worth knowing about a flat config though it is no mistake, one line each."""

from collections.abc import Iterator, Mapping

from tinygpt.config.model_config import PRESETS, stray_keys
from tinygpt.doctor.faults import is_hf_config
from tinygpt.doctor.fields import (
    GPT2_VOCABULARY,
    MINGPT_SIZES,
    NANOGPT_DATASETS,
    Computed,
    default_window,
    foreign_model_type,
    key_info,
    named,
    placed,
    shown,
)
from tinygpt.doctor.keys import known_keys, look_up
from tinygpt.errors import did_you_mean

__all__ = ["nearest", "notes"]

_Values = Mapping[str, tuple[str, object]]  # field -> the key that sets it, and the value

_EXACT_SIZES = {"byte": 256, "gpt2": GPT2_VOCABULARY}


def notes(data: Mapping[str, object]) -> tuple[str, ...]:
    """Return one line for each thing that is worth knowing but no mistake."""
    foreign = foreign_model_type(data)
    if foreign is not None:
        said = shown(foreign)
        return (f"the keys are those of {said}; the doctor knows GPT-2's and splits nothing here",)
    values = {
        place: value
        for place, value in placed(data)[0].items()
        if not isinstance(value[1], Computed)
    }
    return (
        *_on_keys(data),
        *_on_unknown_keys(data),
        *_on_hf_config(data),
        *_on_defaults(values),
        *_on_vocabulary(named(data), values),
        *_on_a_step(values),
    )


def nearest(key: str) -> str:
    """Return `; did you mean "x"?` for the known key nearest to an unknown one, or nothing."""
    return did_you_mean(key.rpartition(".")[2], known_keys())


def _on_keys(data: Mapping[str, object]) -> Iterator[str]:
    for key, value in data.items():
        info = key_info(key, data)
        names = " and ".join(place.partition(".")[2] for place in info.fields) if info else ""
        if names == "n_positions and block_size":
            yield (
                f"{key}={shown(value)} is two settings: n_positions (longest context, "
                "architecture) and block_size (training window)"
            )
        elif names == "resid_pdrop and embd_pdrop and attn_pdrop":
            yield f"{key}={shown(value)} stands for three settings: {names}"
    found = named(data)
    key, dataset = found.get("dataset", ("", None))
    if isinstance(dataset, str) and dataset in NANOGPT_DATASETS:
        corpus, kind = NANOGPT_DATASETS[dataset]
        yield (
            f"{key}={shown(dataset)}: nanoGPT's name for what tinygpt calls corpus "
            f'"{corpus}" with tokenizer "{kind}", which the split says'
        )
    key, model_type = found.get("model_type", ("", None))
    if isinstance(model_type, str) and model_type in MINGPT_SIZES:
        sizes = zip(("n_layer", "n_head", "n_embd"), MINGPT_SIZES[model_type], strict=True)
        meant = ", ".join(f"{name}={size}" for name, size in sizes)
        yield f"{key}={shown(model_type)} is minGPT's name for {meant}: write these in its place"
    key, steps = found.get("max_steps", ("", None))
    if steps == -1:
        yield f"{key}=-1 is HF's word for no limit: no budget is taken from it"


def _on_unknown_keys(data: Mapping[str, object]) -> Iterator[str]:
    """Yield each unknown key that is near a known one, then all others in one line."""
    others = []
    for key in data:
        if look_up(key) is None:
            guess = nearest(key)
            if guess:
                yield f'no code reads "{key}"{guess}'
            else:
                others.append(f'"{key}"')
    if others:
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        yield f"no code reads {', '.join(others[:8])}{more}"


def _on_hf_config(data: Mapping[str, object]) -> Iterator[str]:
    """Yield what a HF config.json holds for nobody: transformers keeps every key silently."""
    if not is_hf_config(data):
        return
    strays = []
    for key in stray_keys(data):
        info = look_up(key)
        if info is not None and info.hf_home != "GPT2Config":
            strays.append(key)
    if strays:
        yield (
            f"{', '.join(strays)}: transformers keeps what stands in a config.json and reads none "
            "of it there; the split moves what is of use"
        )


def _on_defaults(values: _Values) -> Iterator[str]:
    """Yield defaults that differ from what the writer of another program's config may expect."""
    if "ModelConfig.n_embd" not in values:
        return
    dropouts = [n for n in ("resid_pdrop", "embd_pdrop", "attn_pdrop") if _free(n, values)]
    if dropouts:
        yield f"{' and '.join(dropouts)} not given: GPT-2's default of 0.1 is taken"
    if _free("activation_function", values):
        yield "activation_function not given: GPT-2's gelu_new is taken (nanoGPT computes gelu)"
    if "TrainConfig.block_size" not in values and default_window(values) < default_window({}):
        window = default_window(values)
        yield f"block_size not given: a training window of n_positions={window} tokens is taken"
    if _free("vocab_size", values):
        yield "vocab_size not given: it follows from the text and its tokenizer"


def _on_vocabulary(names: _Values, values: _Values) -> Iterator[str]:
    """Yield what a size says of the tokenizer, and of the text."""
    key, size = values.get("ModelConfig.vocab_size", ("", None))
    kind_key, kind = values.get("TokenizerConfig.tokenizer", ("", None))
    if not isinstance(size, int):
        return
    if size >= GPT2_VOCABULARY and _free("eos_token_id", values):
        yield "eos_token_id not given: in GPT-2's vocabulary <|endoftext|> is 50256; add it"
    if kind_key == key:
        yield f'tokenizer not given: "gpt2" is taken, because {key}={size} is its size'
    elif size > GPT2_VOCABULARY and not kind_key:
        yield (
            f'tokenizer not given: char is taken; {key}={size} looks like "gpt2" rounded up: to '
            f"train with it, set {key}={GPT2_VOCABULARY}"
        )
    exact = _EXACT_SIZES.get(str(kind), size)
    if size > exact:
        yield (
            f'tokenizer "{kind}" has {exact:,} ids but {key}={size}: the other rows are padding, '
            f"which training does without; to train, set {key}={exact}"
        )
    trains = any(place.startswith(("TrainConfig.", "OptimConfig.")) for place in values)
    if trains and size == PRESETS["tinygpt"].vocab_size and kind in (None, "char"):
        yield (
            f"{key}={size} is the number of characters in Tiny Shakespeare, which is the corpus "
            "unless another is named; another text has another number"
        )


def _on_a_step(values: _Values) -> Iterator[str]:
    """Yield how much one optimizer step trains on, where more than one factor is given."""
    factors = [
        values[f"TrainConfig.{name}"]
        for name in ("batch_size", "gradient_accumulation_steps", "block_size")
        if f"TrainConfig.{name}" in values
    ]
    if len(factors) == 3 and all(type(n) is int and 0 < n < 2**31 for _, n in factors):
        product = 1
        for _, n in factors:
            assert isinstance(n, int)
            product *= n
        names, numbers = (" x ".join(str(f[i]) for f in factors) for i in (0, 1))
        yield f"one step trains on {names} = {numbers} = {product:,} tokens"


def _free(name: str, values: _Values) -> bool:
    return f"ModelConfig.{name}" not in values
