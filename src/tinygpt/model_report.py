"""One model's column of a comparison: opened if it can be, measured, and what is missing said.

A known architecture whose hub can't be reached is not left out: its sizes, costs and (on random
weights, labelled) its speed are true without the weights; what is not true is None, with the
reason and the command that mends it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygpt import account
from tinygpt.bench import Speed
from tinygpt.doctor import count_labels
from tinygpt.errors import MachineError
from tinygpt.evaluate import Evaluation
from tinygpt.hub import gpt2_vocabulary
from tinygpt.language_model import LanguageModel
from tinygpt.model_config import PRESETS, ModelConfig
from tinygpt.model_folder import read_json
from tinygpt.opening import load, untrained
from tinygpt.samples import Sample, draw_samples
from tinygpt.texts import Text, escape_probability
from tinygpt.tokenizer import CharTokenizer, Tokenizer
from tinygpt.tokenizer_file import load_tokenizer

__all__ = [
    "Architecture",
    "ModelReport",
    "Progress",
    "Quality",
    "known_to_all",
    "open_model",
    "report_on",
]

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the work that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A known model of which neither weights nor tokenizer are at hand."""

    name: str
    config: ModelConfig
    missing_weights: str
    tokenizer: Tokenizer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What one model made of one text; exactly one of the two is None."""

    text: str
    """Name of the ScoredText."""
    evaluation: Evaluation | None
    missing: str | None
    """Why there is no figure, and the command that gets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """One column of the table."""

    name: str
    path: str | None
    commit: str | None
    missing_weights: str | None
    """Why its weights are not here; None where they are."""
    tokenization: str
    """"raw characters" or "BPE"."""
    first_tokens: tuple[str, ...] | None
    """How its tokenizer cuts the beginning of the first text."""
    config: dict[str, Any]
    """Its config.json."""
    head_dim: int
    config_labels: dict[str, dict[str, int]]
    """Per file: how many keys the doctor labels architecture, training, generation ..."""
    n_params: int
    n_params_by_component: dict[str, int]
    flops_per_token: int
    """Forward FLOPs of one token that sees a full context."""
    flops_per_byte: float | None
    kv_cache_bytes_per_token: int
    context_tokens: int
    context_bytes: float | None
    """A full context in bytes of the first text, on average."""
    bytes_per_token: float | None
    """On the first text."""
    speed: Speed | None
    speed_missing: str | None
    """Why there is no speed; None where there is one."""
    quality: tuple[Quality, ...]
    samples: tuple[Sample, ...]


def open_model(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> LanguageModel | Architecture:
    """Open a model; a preset whose hub can't be reached comes with random weights, labelled.

    Arguments and errors as `opening.load`; random weights are float32.
    """
    try:
        return load(
            name,
            device=device,
            dtype=dtype,
            threads=threads,
            revision=revision,
            allow_pickle=allow_pickle,
        )
    except MachineError as error:
        if name not in PRESETS or name == "tinygpt":
            raise
        why = str(error)
    try:
        tokenizer = load_tokenizer(gpt2_vocabulary())
    except MachineError as error:
        return Architecture(name, PRESETS[name], f"{why}; nor is its vocabulary at hand: {error}")
    return untrained(name, PRESETS[name], tokenizer, why, device=device, threads=threads)


def report_on(
    model: LanguageModel | Architecture,
    texts: Sequence[Text],
    speed: Speed | str,
    escape_unknown: bool,
    say: Progress,
) -> ModelReport:
    """Measure one model on the texts.

    Args:
        model: opened by `open_model`.
        texts: what to score; the first one also gives bytes per token and the prompt of samples.
        speed: measured beforehand, in turn with the other models; or why it could not be.
        escape_unknown: pay for unknown characters instead of refusing them.
        say: told the progress.
    """
    config, tokenizer, first = model.config, model.tokenizer, texts[0].text
    lm = model if isinstance(model, LanguageModel) else None
    bytes_per_token, tokens = None, None
    if tokenizer is not None:
        known = known_to_all(first, [tokenizer])
        ids = tokenizer.encode(known)
        bytes_per_token = len(known.encode()) / len(ids)
        first_bytes = [tokenizer.token_bytes[i] for i in ids[:8]]  # maybe parts of a character
        tokens = tuple(token.decode("utf-8", "backslashreplace") for token in first_bytes)
    flops = account.flops_per_token(config, config.n_positions)
    quality = []
    for i, text in enumerate(texts):
        share = _Nested(say, f"{model.name} on {text.name}", i / len(texts), 0.9 / len(texts))
        quality.append(_quality(model, text, escape_unknown, share))
    say(f"{model.name}: samples", 0.9)
    return ModelReport(
        name=model.name,
        path=str(lm.path) if lm and lm.path else None,
        commit=lm.commit if lm else None,
        missing_weights=model.missing_weights,
        tokenization=_tokenization(tokenizer),
        first_tokens=tokens,
        config=config.to_dict(),
        head_dim=config.head_dim,
        config_labels=_config_labels(lm, config),
        n_params=account.n_params(config),
        n_params_by_component=account.parameters(config),
        flops_per_token=flops,
        flops_per_byte=None if bytes_per_token is None else flops / bytes_per_token,
        kv_cache_bytes_per_token=account.kv_cache_bytes_per_token(config),
        context_tokens=config.n_positions,
        context_bytes=(
            None if bytes_per_token is None else account.context_bytes(config, bytes_per_token)
        ),
        bytes_per_token=bytes_per_token,
        speed=speed if isinstance(speed, Speed) else None,
        speed_missing=speed if isinstance(speed, str) else None,
        quality=tuple(quality),
        samples=draw_samples(lm, model.missing_weights, texts[0]),
    )


@dataclass(frozen=True, slots=True)
class _Nested:
    say: Progress
    what: str
    begin: float
    width: float

    def __call__(self, share: float) -> None:
        self.say(self.what, self.begin + self.width * share)


def _quality(
    model: LanguageModel | Architecture,
    text: Text,
    escape_unknown: bool,
    progress: Callable[[float], None],
) -> Quality:
    if model.missing_weights is not None:
        return Quality(text=text.name, evaluation=None, missing=model.missing_weights)
    assert isinstance(model, LanguageModel)
    evaluation = model.evaluate(
        text.text,
        prefix=text.prefix,
        escape=_escape(model) if escape_unknown else None,
        progress=progress,
    )
    return Quality(text=text.name, evaluation=evaluation, missing=None)


def _escape(lm: LanguageModel) -> float | None:
    return escape_probability(lm.path) if isinstance(lm.tokenizer, CharTokenizer) else None


def known_to_all(text: str, tokenizers: Sequence[Tokenizer]) -> str:
    """Return the text without the characters that some character model lacks (for timing)."""
    for tokenizer in tokenizers:
        if isinstance(tokenizer, CharTokenizer):
            mask = tokenizer.known_mask(text)
            text = "".join(c for c, known in zip(text, mask, strict=True) if known)
    return text


def _tokenization(tokenizer: Tokenizer | None) -> str:
    names = {"char": "raw characters", "byte": "raw bytes"}
    return names.get(tokenizer.kind if tokenizer else "bpe", "BPE subwords")


def _config_labels(lm: LanguageModel | None, config: ModelConfig) -> dict[str, dict[str, int]]:
    """Count the labels of the keys that the model's own files hold."""
    labels = {}
    files = ("config.json", "generation_config.json", "training.json")
    if lm is None or lm.path is None:
        return {"config.json": count_labels(config.to_dict())}
    for name in files:
        if (lm.path / name).exists():
            labels[name] = count_labels(read_json(lm.path / name))
    return labels
