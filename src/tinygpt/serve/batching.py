"""Continuous batching: jobs join and leave a model's batch at every step.

One thread owns the session. Between two steps of all that write, at most one bounded chunk of a
prompt is read, so a long prompt stops nobody. No HTTP and no asyncio here.
"""

from collections.abc import Callable

from tinygpt.language_model import LanguageModel
from tinygpt.serve.jobs import Job, Observer, Piece

__all__ = ["Batcher", "Ticket"]


class Ticket:
    """A job that was taken."""

    def cancel(self) -> None:
        """End it before the next step; from any thread, as often as one likes."""


class Batcher:
    """Jobs on the slots of one model.

    Attributes:
        n_slots: jobs that run at once.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        n_slots: int = 8,
        max_waiting: int = 64,
        max_waiting_per_client: int = 32,
        prefill_chunk: int = 64,
        observer: Observer | None = None,
    ) -> None:
        """Make the session and start the thread."""
        self.n_slots = n_slots

    @property
    def running(self) -> int:
        """Jobs that have a slot."""

    @property
    def waiting(self) -> int:
        """Jobs that wait for one."""

    @property
    def slots_in_use(self) -> int:
        """Slots that hold a sequence."""

    def submit(self, job: Job, on_piece: Callable[[Piece], None]) -> Ticket:
        """Take a job, from any thread.

        Args:
            on_piece: called in the batcher's thread with each piece, of which the last one has a
                finish_reason; must return at once.

        Raises:
            Full, Busy, Draining: not now.
        """

    def drain(self) -> None:
        """Take no more jobs; those that were taken go on."""

    def close(self, timeout_s: float) -> None:
        """Drain, wait this long, end what is left with an error, and stop the thread."""
