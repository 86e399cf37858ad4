"""What the batcher is asked for and what it gives: jobs, pieces of text, and refusals.

A job is one choice of a request: ids in, pieces of text out. No HTTP and no threads here.
"""

from dataclasses import dataclass
from typing import Protocol

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.errors import MachineError

__all__ = ["Busy", "Draining", "Full", "Job", "Observer", "Piece", "Refused", "SampledToken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One text to write, to score, or both."""

    ids: tuple[int, ...]
    """The whole prompt, 1 to n_positions ids."""
    generation: GenerationConfig
    """How to sample, how much, and where to stop. 0 new tokens: the prompt is only scored."""
    seed: int = 0
    sample_index: int = 0
    """With the seed the key of the random stream: the same pair, the same text as `sample`."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    """OpenAI's penalties on what was written so far (sampling.lowered); 0 changes nothing."""
    logprobs: int | None = None
    """How many of the likeliest tokens to give beside each one; None gives no log probabilities.
    They are of the model itself, before temperature, penalties and cuts."""
    echo: bool = False
    """Give the prompt first, with its log probabilities if there are to be any."""
    client: str = ""
    """Whose it is: clients take turns, and a slot that another one has too many of."""
    timeout_s: float = 60.0
    """Seconds that it may wait and run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledToken:
    """One token of a text, sampled by the model or, with `echo`, given by the prompt."""

    id: int
    text: str
    """Its text; bytes that are no whole character as backslash escapes."""
    logprob: float | None = None
    """Natural logarithm of its probability; None if not asked for, and of a prompt's first."""
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens here, best first: text and log probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a job is given at a time. The last one, and no other, has a finish_reason.

    All tokens arrive, also those whose text waits for the rest of a character, and those of a stop
    string, which is not in any text. The token that ends a text (eos) is not among them.
    """

    text: str = ""
    """Whole characters, certain not to belong to a stop string."""
    tokens: tuple[SampledToken, ...] = ()
    prompt: bool = False
    """Whether this is of the prompt (`echo`)."""
    finish_reason: str | None = None
    """stop, length, timeout, cancelled or error."""
    message: str = ""
    """What went wrong, in one line; only of an error."""


class Observer(Protocol):
    """Who keeps the figures; called in the batcher's thread, and has to return at once."""

    def started(self, job: Job, queue_s: float) -> None:
        """See a job get its first slot."""

    def read(self, job: Job, n_tokens: int) -> None:
        """See some tokens of a prompt read (also anew, past the window)."""

    def wrote(self, job: Job, n_before: int, elapsed_s: float) -> None:
        """See a token written: seconds since the one before, or since `submit` for the first."""

    def finished(self, job: Job, reason: str, elapsed_s: float) -> None:
        """See a job end, seconds after `submit`."""

    def failed(self, error: Exception) -> None:
        """See what went wrong inside, which the client is told only in general words."""


class Refused(MachineError):  # noqa: N818  # an answer, no fault
    """A job that was not taken; worth another try after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Full(Refused):
    """As many jobs wait as may."""


class Busy(Refused):
    """As many jobs of this client wait as may."""


class Draining(Refused):
    """The server is about to end."""
