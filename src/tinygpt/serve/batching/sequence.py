"""A job on its way: what it has read and written, and the pieces that come of it.

It knows nothing of threads and of other jobs. Past the window it follows inference/generate.py.
"""

from collections import Counter
from collections.abc import Callable

from tinygpt.errors import ContextError
from tinygpt.inference.generate import kept_ids
from tinygpt.inference.sampling import Logits, generator, lowered, next_id
from tinygpt.inference.stop_strings import Continuation
from tinygpt.model.session import DecodeSession
from tinygpt.serve.batching.jobs import Job, Piece, SampledToken
from tinygpt.serve.batching.logprobs import spelled
from tinygpt.tokenizers.char_byte import TextStream, Tokenizer

__all__ = ["ActiveSequence"]


class ActiveSequence:
    """A job that was taken and has not ended, with or without a slot.

    Attributes:
        slot: where its sequence is; None while it waits.
        window: what the slot is to hold.
        n_read: how much of the window the slot holds; the rest is still to be fed.
        n_new: tokens written.
        is_cancelled: set from any thread; looked at before each step.
        last_s: when it was submitted, and later when its last token was written.
    """

    def __init__(
        self, job: Job, on_piece: Callable[[Piece], None], tokenizer: Tokenizer, now_s: float
    ) -> None:
        self.job, self.on_piece, self.submitted_s, self.last_s = job, on_piece, now_s, now_s
        self.slot: int | None = None
        self.window, self.n_read, self.n_new = list(job.ids), 0, 0
        self.is_cancelled = self.has_started = False
        self._tokenizer = tokenizer
        self._rng = generator(job.seed, job.sample_index)
        self.seen = set(job.ids)
        self._written = Counter[int]()
        self._text = Continuation(tokenizer, job.generation.stop_strings)
        self._prompt_text = TextStream(tokenizer)
        self._n_echoed = 0 if job.echo else len(job.ids)
        self._before: Logits | None = None  # what predicted the next id of the prompt

    @property
    def is_echoing(self) -> bool:
        """Whether some of its prompt is still to be given."""
        return self._n_echoed < len(self.job.ids)

    @property
    def is_plain(self) -> bool:
        """Whether the engine may sample for it."""
        job = self.job
        return job.logprobs is None and not job.presence_penalty and not job.frequency_penalty

    @property
    def n_unread(self) -> int:
        """Ids of the window that the slot is still to be fed."""
        return len(self.window) - self.n_read

    @property
    def is_complete(self) -> bool:
        """Whether as much is written as was wanted."""
        return self.n_new == self.job.generation.max_new_tokens

    def late(self, now_s: float) -> bool:
        """Tell whether its time is over."""
        return now_s >= self.submitted_s + self.job.timeout_s

    def leave(self) -> None:
        """Give the slot up; whatever it held is to be read again."""
        self.slot, self.n_read = None, 0

    def prefill(self, session: DecodeSession, n: int) -> Piece | None:
        """Feed the next n ids of the window; return what is to be given of them.

        Raises:
            ContextError: the prompt is longer than a window.
        """
        assert self.slot is not None
        if len(self.window) > session.n_positions:
            raise ContextError(
                f"the prompt has {len(self.window)} tokens, the model's n_positions is "
                f"{session.n_positions}; shorten it"
            )
        ids = self.window[self.n_read : self.n_read + n]
        if not self.is_echoing:
            session.prefill(self.slot, ids)
            self.n_read += len(ids)
            return None
        rows: list[Logits | None] = [None] * len(ids)
        if self.job.logprobs is None:
            session.prefill(self.slot, ids)
        else:
            after = session.verify(self.slot, ids)
            rows, self._before = [self._before, *after[:-1]], after[-1].copy()
        self.n_read += len(ids)
        self._n_echoed += len(ids)
        text = "".join(self._prompt_text.push(i) for i in ids)
        if self._n_echoed == len(self.job.ids):
            text, self._before = text + self._prompt_text.finish(), None
        tokens = tuple(self._spelled(i, row) for i, row in zip(ids, rows, strict=True))
        return Piece(text=text, tokens=tokens, prompt=True)

    def sample(self, logits: Logits) -> int:
        """Choose the next id; CheckpointError where the logits are no numbers."""
        job = self.job
        if job.presence_penalty or job.frequency_penalty:
            logits = lowered(
                logits,
                self._written,
                presence=job.presence_penalty,
                frequency=job.frequency_penalty,
            )
        return next_id(logits, job.generation, self._rng, self.seen)

    def skip_sample(self) -> None:
        """Advance past a number that an engine took from the same random stream."""
        if self.job.generation.temperature > 0:
            self._rng.random()

    def accept(self, new: int, logits: Logits | None, n_positions: int) -> Piece:
        """Take the id that was sampled; return what is to be given, the last piece at the end.

        Where a full window grew, it is cut, and n_read is 0: the slot is to be freed.

        Args:
            logits: what the id was sampled from; None if nothing of them is asked for.
        """
        generation = self.job.generation
        if new == generation.eos_token_id:
            return self.end("stop")
        self.n_new += 1
        self.seen.add(new)
        self._written[new] += 1
        self.window.append(new)
        if len(self.window) > n_positions:
            self.window, self.n_read = kept_ids(self.window, n_positions), 0
        text, tokens = self._text.push(new), (self._spelled(new, logits),)
        if self._text.stopped:
            return self.end("stop", text, tokens)
        if self.is_complete:
            return self.end("length", text, tokens)
        return Piece(text=text, tokens=tokens)

    def end(
        self, reason: str, text: str = "", tokens: tuple[SampledToken, ...] = (), message: str = ""
    ) -> Piece:
        """Return the last piece, with the text that was held back."""
        rest = self._text.finish()
        if reason == "length" and self._text.stopped:  # found in what was held back
            reason = "stop"
        return Piece(text=text + rest, tokens=tokens, finish_reason=reason, message=message)

    def _spelled(self, token_id: int, logits: Logits | None) -> SampledToken:
        return spelled(self._tokenizer.token_bytes, token_id, logits, self.job.logprobs or 0)
