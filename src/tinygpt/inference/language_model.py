"""LanguageModel: a model folder opened, whichever of the two scales it is (load.py)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from tinygpt.config.generation_config import GenerationConfig, GenerationSettings, changed
from tinygpt.config.html_repr import table_html
from tinygpt.errors import ConfigError
from tinygpt.inference.engine import Engine
from tinygpt.inference.generate import prompt_ids, stream_batch, stream_text
from tinygpt.model.external_config import AnyConfig, account_of
from tinygpt.model.session import DecodeSession
from tinygpt.runs.log import last_evaluation
from tinygpt.tokenizers.char_byte import Tokenizer

if TYPE_CHECKING:  # what needs torch is imported when it is used
    from tinygpt.evaluation.result import Evaluation
    from tinygpt.evaluation.token_nll import Scorer
    from tinygpt.inference.transformers_backend.session import TransformersEngine
    from tinygpt.model.gpt import GPT

__all__ = ["LanguageModel"]

BATCH_SIZE = 8
"""Prompts continued at once unless asked otherwise (docs/measuring.md has the figures)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LanguageModel:
    """A model with its tokenizer and configs, ready to generate and to be evaluated."""

    name: str
    """What to call it: the run's or the hub's name."""
    path: Path | None
    """Its folder; None for a model that was made in memory."""
    commit: str | None
    """The hub's commit, where it came from there."""
    config: AnyConfig
    generation_config: GenerationConfig
    tokenizer: Tokenizer
    engine: "Engine | TransformersEngine"
    """What runs it, and why."""
    notes: tuple[str, ...] = ()
    """One-line warnings about the folder, for the user."""
    missing_weights: str | None = None
    """Why the weights are random and how to get the real ones; None where they are real."""

    @property
    def model(self) -> "GPT":
        """The model in torch, whatever the engine."""
        return self.engine.model

    @property
    def scorer(self) -> "GPT | Scorer":
        """What scores texts: torch, unless another engine was asked for or is the only one."""
        if self.engine.name == "torch" or not self.engine.asked:
            return self.model
        from tinygpt.evaluation.token_nll import Scorer

        return Scorer(self.session(), self.config, self.engine.name)

    @property
    def escape(self) -> float | None:
        """Probability of the escape code, which pays for characters outside a vocabulary.

        None where every text can be written, or the folder does not say how many characters the
        model was trained on.
        """
        from tinygpt.evaluation.eval_texts import escape_probability

        return escape_probability(self.path) if self.tokenizer.kind == "char" else None

    def session(self, n_slots: int = 1) -> DecodeSession:
        """Return a session of its engine with this many empty slots."""
        return self.engine.session(n_slots)

    def stream(
        self,
        prompt: str = "",
        *,
        seed: int = 0,
        sample_index: int = 0,
        truncate_prompt: bool = False,
        **settings: Unpack[GenerationSettings],
    ) -> Iterator[str]:
        """Yield the continuation of a prompt piece by piece.

        Args:
            prompt: the text to continue; an empty one starts a new text.
            seed, sample_index: the same pair gives the same text.
            truncate_prompt: keep the tail of a prompt that is longer than n_positions.
            settings: any field of GenerationConfig; the folder's own value is the default.

        Raises:
            ConfigError: an unknown or impossible setting.
            TokenizerError: a character that the tokenizer lacks.
            ContextError: a prompt longer than n_positions.
        """
        chosen = changed(self.generation_config, settings)
        ids = prompt_ids(self.tokenizer, prompt, self.config.n_positions, truncate=truncate_prompt)
        yield from stream_text(
            self.session(), self.tokenizer, ids, chosen, seed=seed, sample_index=sample_index
        )

    def generate(
        self,
        prompt: str = "",
        *,
        seed: int = 0,
        sample_index: int = 0,
        truncate_prompt: bool = False,
        **settings: Unpack[GenerationSettings],
    ) -> str:
        """Return the continuation of a prompt; arguments and errors as `stream`.

        Settings: temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens,
        stop_strings.
        """
        pieces = self.stream(
            prompt,
            seed=seed,
            sample_index=sample_index,
            truncate_prompt=truncate_prompt,
            **settings,
        )
        return "".join(pieces)

    def stream_batch(
        self,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        truncate_prompt: bool = False,
        batch_size: int = BATCH_SIZE,
        **settings: Unpack[GenerationSettings],
    ) -> Iterator[tuple[int, str | None]]:
        """Continue several prompts at once, which is faster than one after another.

        Prompt i gets the text that `stream` gives it with sample_index=i. Only rounding differs: a
        batch may sum in another order than a row alone, so where two ids are as good as equally
        likely, the other one may be taken (docs/measuring.md).

        Args:
            prompts: of any lengths; the same one several times gives several samples.
            batch_size: how many are continued at once; each takes memory for a full context.
            seed, truncate_prompt, settings: as `stream`.

        Yields:
            (index of the prompt, piece of its continuation), and (index, None) once when it ends.

        Raises:
            ConfigError, TokenizerError, ContextError: as `stream`.
        """
        if isinstance(prompts, str):
            raise ConfigError("prompts is one text, not a list of texts: use generate or stream")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} is not allowed: at least 1")
        chosen, n = changed(self.generation_config, settings), self.config.n_positions
        rows = [prompt_ids(self.tokenizer, text, n, truncate=truncate_prompt) for text in prompts]
        session = self.session(max(1, min(batch_size, len(rows))))
        yield from stream_batch(session, self.tokenizer, rows, chosen, seed=seed)

    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        truncate_prompt: bool = False,
        batch_size: int = BATCH_SIZE,
        **settings: Unpack[GenerationSettings],
    ) -> list[str]:
        """Return the continuations of several prompts; arguments and errors as `stream_batch`."""
        texts = [""] * len(prompts)
        for index, piece in self.stream_batch(
            prompts,
            seed=seed,
            truncate_prompt=truncate_prompt,
            batch_size=batch_size,
            **settings,
        ):
            texts[index] += piece or ""
        return texts

    def evaluate(
        self,
        text: str,
        *,
        prefix: str = "",
        context: int | None = None,
        stride: int | None = None,
        escape: float | None = None,
        batch_size: int = 16,
        progress: Callable[[float], None] | None = None,
    ) -> "Evaluation":
        """Score a text; arguments, result and errors as `bits_per_byte.evaluate`."""
        from tinygpt.evaluation.bits_per_byte import evaluate

        return evaluate(
            self.scorer,
            self.tokenizer,
            text,
            prefix=prefix,
            context=context,
            stride=stride,
            escape=escape,
            batch_size=batch_size,
            progress=progress,
        )

    def __repr__(self) -> str:
        """Say which model this is and how large."""
        c = self.config
        sizes = f"{c.n_layer} layers x {c.n_head} heads x {c.n_embd} wide"
        return (
            f"<LanguageModel {self.name}: {sizes}, {self.tokenizer.kind} vocabulary of "
            f"{c.vocab_size:,}, context {c.n_positions}>"
        )

    def _repr_html_(self) -> str:
        """Return its sizes, and of a run what it measured last, for a notebook."""
        c = self.config
        rows = [
            ("folder", str(self.path or "in memory")),
            ("parameters", f"{account_of(c).n_params:,}"),
            ("layers x heads x width", f"{c.n_layer} x {c.n_head} x {c.n_embd}"),
            ("vocabulary", f"{c.vocab_size:,} ({self.tokenizer.kind})"),
            ("context", f"{c.n_positions:,} tokens"),
            ("weights", self.missing_weights or self.engine.precision),
            ("engine", self.engine.name),
            *(("note", note) for note in self.notes),
        ]
        measured = last_evaluation(self.path) if self.path else None
        rows += [(f"last measured: {key}", str(value)) for key, value in (measured or {}).items()]
        return table_html(self.name, rows)
