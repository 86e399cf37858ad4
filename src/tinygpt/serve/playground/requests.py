"""What the page may ask: every field bounded, unknown ones refused."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tinygpt.serve.requests import Strict

__all__ = [
    "MAX_REPORTED",
    "Name",
    "NextRequest",
    "ReportRequest",
    "SurpriseRequest",
    "TokensRequest",
]

MAX_TOKENS_BYTES = 64 * 1024
MAX_SCORED_BYTES = 32 * 1024
MAX_REPORTED = 4

Name = Annotated[str, Field(min_length=1, max_length=1000)]


def _at_most(n_bytes: int) -> AfterValidator:
    def check(text: str) -> str:
        if (found := len(text.encode("utf-8", "surrogatepass"))) > n_bytes:
            raise ValueError(f"the text has {found:,} bytes; {n_bytes:,} are allowed")
        return text

    return AfterValidator(check)


ShortText = Annotated[str, Field(max_length=MAX_SCORED_BYTES), _at_most(MAX_SCORED_BYTES)]
LongText = Annotated[str, Field(max_length=MAX_TOKENS_BYTES), _at_most(MAX_TOKENS_BYTES)]


class TokensRequest(Strict):
    """How does this model's tokenizer cut a text?"""

    model: Name
    text: LongText


class NextRequest(Strict):
    """What may come after a text? The settings that are left out are the model's own."""

    model: Name
    text: LongText
    k: Annotated[int, Field(ge=1, le=40)] = 10
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """0 keeps all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None


class SurpriseRequest(Strict):
    """What does each character of a text cost one model, or two?"""

    models: Annotated[list[Name], Field(min_length=1, max_length=2)]
    text: ShortText


class ReportRequest(Strict):
    """Compare some models; without a text, on those that `tinygpt compare` takes."""

    models: Annotated[list[Name], Field(min_length=1, max_length=MAX_REPORTED)]
    text: Annotated[ShortText, Field(min_length=1)] | None = None
