"""What the tests of the server share: a small model on either engine, and who listens to a job."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.inference.engine import Engine
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.gpt import GPT
from tinygpt.model.hf_weights import to_hf
from tinygpt.serve.batching.jobs import Job, Piece
from tinygpt.tokenizers.char_byte import Tokenizer

PATIENCE_S = 30.0


def model_of(gpt: GPT, tokenizer: Tokenizer, engine: str) -> LanguageModel:
    """A model in memory, run by an engine."""
    weights = {name: t.numpy() for name, t in to_hf(gpt.state_dict(), gpt.config).items()}
    options = EngineOptions(engine=engine, device="cpu", threads=1)
    made = Engine(gpt.config, weights, where="the test", options=options)
    return LanguageModel(
        name="tiny",
        path=None,
        commit=None,
        config=gpt.config,
        generation_config=GenerationConfig(),
        tokenizer=tokenizer,
        engine=made,
    )


def job_of(ids: Any, client: str = "", **settings: Any) -> Job:
    """A greedy job; settings of Job and of GenerationConfig."""
    own = {k: settings.pop(k) for k in list(settings) if k in Job.__dataclass_fields__}
    generation = GenerationConfig(**{"temperature": 0.0, **settings})
    return Job(ids=tuple(ids), generation=generation, client=client, **own)


@dataclass
class Heard:
    """What a job gave; `then` is called with each piece."""

    then: Callable[[Piece], None] = lambda _: None
    pieces: list[Piece] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, piece: Piece) -> None:
        assert not self.ended.is_set(), "a piece after the last one"
        self.pieces.append(piece)
        self.then(piece)
        if piece.finish_reason is not None:
            self.ended.set()

    def wait(self) -> "Heard":
        assert self.ended.wait(PATIENCE_S), "the job never ended"
        return self

    @property
    def ids(self) -> list[int]:
        return [token.id for piece in self.pieces if not piece.prompt for token in piece.tokens]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces if not piece.prompt)

    @property
    def reason(self) -> str | None:
        return self.pieces[-1].finish_reason if self.pieces else None

    @property
    def message(self) -> str:
        return self.pieces[-1].message
