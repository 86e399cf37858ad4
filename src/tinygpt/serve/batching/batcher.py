"""Continuous batching: jobs join and leave a model's batch at every step.

One thread owns the session. Between two steps of all that write, at most one bounded chunk of
prompts is read, so a long prompt stops nobody. No HTTP and no asyncio here.
"""

import threading
import time
from collections.abc import Callable

from tinygpt.inference.language_model import LanguageModel
from tinygpt.serve.batching.jobs import Busy, Draining, Full, Job, Observer, Piece
from tinygpt.serve.batching.scheduler import Scheduler
from tinygpt.serve.batching.sequence import ActiveSequence

__all__ = ["Batcher", "Ticket"]

LAST_CALL_S = 10.0
"""What a step may still take when the thread is to end."""
LONGEST_RETRY_S = 60.0


class Ticket:
    """A job that was taken."""

    def __init__(self, one: ActiveSequence) -> None:
        self._one = one

    def cancel(self) -> None:
        """End it before the next step; from any thread, as often as one likes."""
        self._one.is_cancelled = True


class Batcher:
    """Jobs on the slots of one model.

    Clients take turns for the slots. One that holds none while another holds several gets one of
    those at once; the job that had it goes on later, where it was.

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the session and start the thread.

        Args:
            lm: its sessions are not touched by others.
            n_slots: each takes memory for a full context.
            max_waiting, max_waiting_per_client: jobs that may wait beyond the slots that are free.
            prefill_chunk: ids of prompts that are read between two steps.

        Raises:
            MachineError: no memory for the session.
        """
        self.n_slots = n_slots
        self._max_waiting, self._max_per_client = max_waiting, max_waiting_per_client
        self._tokenizer, self._clock = lm.tokenizer, clock
        self._scheduler = Scheduler(
            lm.session(n_slots), prefill_chunk, observer or _Nobody(), clock
        )
        self._is_draining = self._is_closing = False
        self._thread = threading.Thread(target=self._work, name=f"batch {lm.name}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Jobs that have a slot."""
        return len(self._scheduler.live)

    @property
    def waiting(self) -> int:
        """Jobs that wait for one; not those whose slot is free already."""
        with self._scheduler.changed:
            return max(0, len(self._scheduler.queue) - len(self._scheduler.free))

    @property
    def slots_in_use(self) -> int:
        """Slots that hold a sequence."""
        return self.n_slots - len(self._scheduler.free)

    def submit(self, job: Job, on_piece: Callable[[Piece], None]) -> Ticket:
        """Take a job, from any thread.

        Args:
            on_piece: called in the batcher's thread with each piece, of which the last one has a
                finish_reason; must return at once.

        Raises:
            Full, Busy, Draining: not now.
        """
        one = ActiveSequence(job, on_piece, self._tokenizer, self._clock())
        scheduler = self._scheduler
        with scheduler.changed:
            n_free = len(scheduler.free)  # which jobs are about to take
            if self._is_draining:
                raise Draining("the server is about to end; ask it again in a while", LAST_CALL_S)
            if scheduler.queue.of(job.client) >= self._max_per_client + n_free:
                raise Busy(
                    f"{self._max_per_client} texts of yours wait already; let some end first",
                    self._retry_after_s(scheduler.queue.of(job.client)),
                )
            if len(scheduler.queue) >= self._max_waiting + n_free:
                raise Full(
                    f"{self._max_waiting} texts wait already, as many as may; try again later",
                    self._retry_after_s(len(scheduler.queue)),
                )
            scheduler.queue.push(one)
            scheduler.changed.notify_all()
        return Ticket(one)

    def drain(self) -> None:
        """Take no more jobs; those that were taken go on, and the thread ends after them."""
        with self._scheduler.changed:
            self._is_draining = True
            self._scheduler.changed.notify_all()

    def close(self, timeout_s: float) -> None:
        """Drain, wait this long, end what is left with an error, and stop the thread."""
        self.drain()
        self._thread.join(timeout_s)
        self._is_closing = True
        self._thread.join(LAST_CALL_S)

    def _retry_after_s(self, n_before: int) -> float:
        """Guess when a slot may be had."""
        return min(LONGEST_RETRY_S, max(1.0, self._scheduler.run_s * n_before / self.n_slots))

    def _work(self) -> None:
        """Step the scheduler until the batcher is drained or closed; then end every job left."""
        message = "the server ended before the text did"
        try:
            while self._has_work() and not self._is_closing:
                self._scheduler.step()
        except BaseException:
            message = "the model stopped; it can't be asked any more"
            raise
        finally:
            self.drain()
            self._scheduler.end_all(message)

    def _has_work(self) -> bool:
        """Wait for a job; False once there is none and none will come."""
        scheduler = self._scheduler
        with scheduler.changed:
            scheduler.changed.wait_for(
                lambda: scheduler.live or scheduler.queue or self._is_draining
            )
            return bool(scheduler.live or scheduler.queue)


class _Nobody:
    """An Observer that looks away."""

    def started(self, job: Job, queue_s: float) -> None:
        pass

    def read(self, job: Job, n_tokens: int) -> None:
        pass

    def wrote(self, job: Job, n_before: int, elapsed_s: float) -> None:
        pass

    def finished(self, job: Job, reason: str, elapsed_s: float) -> None:
        pass

    def failed(self, error: Exception) -> None:
        pass
