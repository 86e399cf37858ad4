"""What is answered: OpenAI's completion, whole or in pieces, and the small answers beside it."""

from typing import Literal

from pydantic import BaseModel

__all__ = [
    "Choice",
    "Completion",
    "Detokenized",
    "FinishReason",
    "Health",
    "Logprobs",
    "Model",
    "Models",
    "Tokenized",
    "Usage",
]

FinishReason = Literal["stop", "length", "timeout"]
"""timeout: the request's time was up."""


class Logprobs(BaseModel):
    """Natural logarithms of the model's own probabilities, before temperature and penalties."""

    tokens: list[str]
    token_logprobs: list[float | None]
    """None for the first token of a prompt, which nothing stands before."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens, and the one that was taken."""
    text_offset: list[int]
    """Characters of the choice's text before each token."""


class Choice(BaseModel):
    """One text."""

    index: int
    """Its prompt's number times n, and its own among the n."""
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None
    """None only while a stream goes on."""


class Usage(BaseModel):
    """Tokens read and written; each prompt counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The answer to POST /v1/completions, and each event of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    """Seconds since 1970."""
    model: str
    choices: list[Choice]
    usage: Usage | None


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Seconds since 1970: when the server started."""
    owned_by: Literal["tinygpt"] = "tinygpt"
    max_model_len: int
    """Tokens of context (n_positions)."""


class Models(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether the server takes requests."""

    status: Literal["ok"] = "ok"


class Tokenized(BaseModel):
    """A text's ids."""

    tokens: list[int]
    count: int
    max_model_len: int
    """Tokens of context (n_positions)."""


class Detokenized(BaseModel):
    """The text of ids, under vLLM's name and llama-server's."""

    prompt: str
    content: str
