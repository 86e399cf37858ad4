"""One step of a batch: jobs leave and join, a chunk of prompts is read, each text gets a token.

All of it belongs to one thread, but for the queue, to which others add under the lock.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable

from tinygpt.errors import TinyGPTError
from tinygpt.model.session import DecodeSession
from tinygpt.serve.batching.fair_queue import FairQueue
from tinygpt.serve.batching.jobs import Observer, Piece
from tinygpt.serve.batching.sequence import ActiveSequence
from tinygpt.serve.batching.token_sampling import sample_next

__all__ = ["Scheduler"]


class Scheduler:
    """The jobs on the slots of a session, and those that wait for one.

    Attributes:
        changed: held by whoever looks at `queue` or `free`.
        queue: jobs without a slot.
        free: slots without a job.
        live: jobs with a slot.
        run_s: about how long a job takes.
    """

    def __init__(
        self, session: DecodeSession, chunk: int, observer: Observer, clock: Callable[[], float]
    ) -> None:
        self.changed = threading.Condition()
        self.queue = FairQueue()
        self.free = list(range(session.n_slots))
        self.live: list[ActiveSequence] = []
        self.run_s = 1.0
        self._reading: deque[ActiveSequence] = (
            deque()
        )  # whose windows are not read yet, round robin
        self._session, self._chunk = session, chunk
        self._observer, self._clock = observer, clock

    def step(self) -> None:
        """Advance all jobs by one token; an error inside ends the jobs that it befalls."""
        try:
            self._leave()
            self._join()
            self._prefill()
            self._decode()
        except Exception as error:
            self._observer.failed(error)
            self.end_all(_told(error))

    def _leave(self) -> None:
        """End what was cancelled or is late, with a slot or without."""
        now_s = self._clock()

        def is_over(one: ActiveSequence) -> bool:
            return one.is_cancelled or one.late(now_s)

        with self.changed:
            over = self.queue.take(is_over)
        for one in over + [one for one in self.live if is_over(one)]:
            self._end(one, one.end("cancelled" if one.is_cancelled else "timeout"))

    def _join(self) -> None:
        """Give slots to clients in turn."""
        while True:
            with self.changed:
                client = self._next_client()
                if client is None:
                    return
                one = self.queue.pop(client)
                one.slot = self.free.pop(0)
            self.live.append(one)
            self._reading.append(one)
            if not one.has_started:
                one.has_started = True
                self._observer.started(one.job, self._clock() - one.submitted_s)

    def _next_client(self) -> str | None:
        """Say who gets a slot now, and see that there is one; first those who hold none."""
        clients = self.queue.clients
        held = Counter(one.job.client for one in self.live)
        poor = next((client for client in clients if not held[client]), None)
        if self.free and clients:
            return clients[0] if poor is None else poor
        if poor is None or (most := held.most_common(1)[0])[1] < 2:
            return None
        rich = [one for one in self.live if one.job.client == most[0] and not one.is_echoing]
        if not rich:
            return None
        one = min(rich, key=lambda one: len(one.window))  # the quickest to read again
        self._vacate(one)
        self.queue.put_back(one)
        return poor

    def _prefill(self) -> None:
        """Read the next ids of those who have some to read, one chunk in all.

        A job's chunks are cut alike whoever else reads, because torch rounds by them.
        """
        left = self._chunk
        while self._reading:
            one = self._reading[0]
            n = min(self._chunk, one.n_unread)
            if n > left:
                return
            left -= n
            self._reading.popleft()
            try:
                piece = one.prefill(self._session, n)
            except Exception as error:
                self._fail(one, error)
                continue
            self._observer.read(one.job, n)
            if piece is not None:
                self._give(one, piece)
            if one.n_unread:
                self._reading.append(one)
            elif one.is_complete:  # only the prompt was wanted
                self._end(one, one.end("length"))

    def _decode(self) -> None:
        """Sample a token for each sequence whose window is read, and feed it."""
        ready = sorted((one for one in self.live if not one.n_unread), key=_slot)
        sampled = sample_next(self._session, ready)
        going = [one for one in ready if self._accept(one, sampled[one])]
        if not going:
            return
        try:  # neighbouring slots are the fastest
            self._session.step([_slot(one) for one in going], [one.window[-1] for one in going])
        except Exception as error:
            for one in going:
                self._fail(one, error)
        else:
            for one in going:
                one.n_read += 1

    def _accept(self, one: ActiveSequence, new: int | Exception) -> bool:
        """Take what was sampled for a job; return whether it goes into the next step."""
        if isinstance(new, Exception):
            self._fail(one, new)
            return False
        n_before, now_s = one.n_new, self._clock()
        try:
            wanted = one.job.logprobs is not None
            logits = self._session.logits(_slot(one)) if wanted else None
            piece = one.accept(new, logits, self._session.n_positions)
        except Exception as error:
            self._fail(one, error)
            return False
        if one.n_new > n_before:
            self._observer.wrote(one.job, n_before, now_s - one.last_s)
            one.last_s = now_s
        if piece.finish_reason is not None:
            self._end(one, piece)
            return False
        self._give(one, piece)
        if one.n_read:
            return True
        self._session.free(_slot(one))  # the window was full, and is read anew
        self._reading.append(one)
        return False

    def _give(self, one: ActiveSequence, piece: Piece) -> None:
        """Hand a piece over; who can't take it is not asked again."""
        try:
            one.on_piece(piece)
        except Exception as error:
            one.is_cancelled = True
            one.on_piece = _nowhere
            self._observer.failed(error)

    def _vacate(self, one: ActiveSequence) -> None:
        """Take a job's slot away."""
        slot = _slot(one)
        self.live.remove(one)
        if one in self._reading:
            self._reading.remove(one)
        one.leave()
        with self.changed:
            self.free.append(slot)
        self._session.free(slot)

    def _end(self, one: ActiveSequence, piece: Piece) -> None:
        """Free a job's slot, if it has one, and give its last piece."""
        elapsed_s = self._clock() - one.submitted_s
        try:
            if one.slot is not None:
                self.run_s += 0.1 * (elapsed_s - self.run_s)
                self._vacate(one)
        finally:
            self._give(one, piece)
            self._observer.finished(one.job, piece.finish_reason or "", elapsed_s)

    def _fail(self, one: ActiveSequence, error: Exception) -> None:
        """End one job with what went wrong."""
        self._observer.failed(error)
        self._end(one, one.end("error", message=_told(error)))

    def end_all(self, message: str) -> None:
        """End every job there is."""
        with self.changed:
            left = self.queue.take(lambda _: True)
        for one in self.live + left:
            try:
                self._end(one, one.end("error", message=message))
            except Exception as error:
                self._observer.failed(error)


def _slot(one: ActiveSequence) -> int:
    assert one.slot is not None
    return one.slot


def _told(error: Exception) -> str:
    """Return what a client is told: the words of a refusal, of a fault inside only its kind."""
    if isinstance(error, TinyGPTError):
        return str(error)
    return f"the model failed on this text ({type(error).__name__})"


def _nowhere(_: Piece) -> None:
    """Take a piece that nobody wants."""
