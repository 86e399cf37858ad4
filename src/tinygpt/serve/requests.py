"""What may be asked: OpenAI's fields for completions with their bounds, and a few of our own.

Types are strict (true is no number, "5" neither), NaN and infinity are refused, an unknown field is
an error that names the nearest one, and what OpenAI has and tinygpt has not is refused by name.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "CompletionRequest",
    "DetokenizeRequest",
    "Prompt",
    "StreamOptions",
    "Strict",
    "TokenizeRequest",
]

MAX_PROMPTS, MAX_N, MAX_IDS = 16, 8, 100_000
MAX_STOPS, MAX_STOP = 4, 64
MAX_LOGPROBS = 20
MAX_TEXT = 2**20

Id = Annotated[int, Field(ge=0, lt=2**31)]
Ids = Annotated[list[Id], Field(fail_fast=True, min_length=1, max_length=MAX_IDS)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def _kind(value: Any) -> str:
    """Tell by its first item which of the four kinds of prompt a value is meant to be."""
    if not isinstance(value, list):
        return "text"
    if value and isinstance(value[0], list):
        return "rows"
    return "ids" if value and isinstance(value[0], int) else "texts"


Prompt = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[
        Annotated[list[Text], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS)],
        Tag("texts"),
    ]
    | Annotated[Ids, Tag("ids")]
    | Annotated[
        Annotated[list[Ids], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS)],
        Tag("rows"),
    ],
    Discriminator(_kind),
]
"""A text, several, a row of ids, or several."""

_Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP)]
Stops = Annotated[
    Annotated[_Stop, Tag("text")]
    | Annotated[Annotated[list[_Stop], Field(fail_fast=True, max_length=MAX_STOPS)], Tag("texts")],
    Discriminator(lambda value: "texts" if isinstance(value, list) else "text"),
]
"""A text or some."""


class Strict(BaseModel):
    """No conversions, no unknown fields."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _name_unknown(cls, data: Any) -> Any:
        """Refuse an unknown field with the known ones at hand, for the nearest name."""
        if isinstance(data, dict):
            for name in data:
                if name not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_field", "unknown", {"name": name, "known": [*cls.model_fields]}
                    )
        return data


class StreamOptions(Strict):
    """What a stream holds beside its pieces."""

    include_usage: bool = False
    """End with a piece that has no choices, but the usage."""
    include_obfuscation: Literal[False] | None = None
    """OpenAI's padding is not offered."""


class CompletionRequest(Strict):
    """The body of POST /v1/completions. What is null or left out takes its default."""

    model: Name | None = None
    """Which model; may be left out where one is served."""
    prompt: Prompt = ""
    """What to continue; an empty text starts a new one."""
    max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = 16
    """Tokens to write, at most; the server's own limit may be lower. 0 only scores (echo)."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 always takes the likeliest token. Default: the model's generation_config.json."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Keep the likeliest tokens that sum to at least p. Default: the model's."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Keep the k likeliest tokens; 0 keeps all. Default: the model's. Not OpenAI's."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Keep tokens at least min_p times as likely as the likeliest. Default: the model's. Not
    OpenAI's."""
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    """Above 1 makes ids seen before less likely. Default: the model's. Not OpenAI's."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Taken from the scores of tokens that were written before. Default: 0."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Taken from them once for each time they were written. Default: 0."""
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = 1
    """Texts to write for each prompt."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """The same seed and request give the same texts. Default: another one each time."""
    stop: Stops | None = None
    """Texts at which writing ends; they are not part of it."""
    stream: bool | None = False
    """Send each piece when it is written."""
    stream_options: StreamOptions | None = None
    """Only with stream."""
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    """Give each token's log probability, and those of this many likeliest ones."""
    echo: bool | None = False
    """Give the prompt back before the text."""
    user: Annotated[str, Field(max_length=200)] | None = None
    """Who asks: users of one address take turns as clients of their own."""
    truncate_prompt: bool = False
    """Keep the end of a prompt that is longer than the context. Not OpenAI's."""
    best_of: Literal[1] | None = None
    """Not offered: one text is written for each that is asked for."""
    suffix: Literal[""] | None = None
    """Not offered: the models write forwards only."""
    logit_bias: None = None
    """Not offered."""

    @field_validator("suffix", "logit_bias", "best_of", mode="before")
    @classmethod
    def _not_offered(cls, value: Any, info: ValidationInfo) -> Any:
        """Say of a field that is not offered that it is not, and what to send."""
        allowed = {"best_of": (None, 1), "suffix": (None, "")}.get(str(info.field_name), (None,))
        if isinstance(value, bool) or value not in allowed:
            raise PydanticCustomError("not_offered", "leave it out: tinygpt does not offer it")
        return value

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        """Refuse options of a stream without one."""
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "together", "stream_options is only allowed with stream: true"
            )
        return self

    def prompts(self) -> list[str] | list[list[int]]:
        """Return the prompts as a list, all texts or all ids."""
        given: Any = self.prompt
        if isinstance(given, str) or isinstance(given[0], int):
            return [given]
        return list(given)

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class TokenizeRequest(Strict):
    """The body of POST /tokenize: `prompt` as vLLM calls the text, or `content` as llama-server."""

    model: Name | None = None
    prompt: Text | None = None
    content: Text | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        """Refuse no text and two."""
        if (self.prompt is None) == (self.content is None):
            raise PydanticCustomError("one_text", "give the text as prompt or as content")
        return self

    def text(self) -> str:
        """Return the text."""
        return (self.prompt if self.prompt is not None else self.content) or ""


class DetokenizeRequest(Strict):
    """The body of POST /detokenize."""

    model: Name | None = None
    tokens: Annotated[list[Id], Field(fail_fast=True, max_length=MAX_IDS)]
