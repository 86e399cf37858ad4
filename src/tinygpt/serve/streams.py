"""From the batcher's pieces to OpenAI's answer: whole, or as server-sent events, framed here.

The batcher's thread hands its pieces over to the event loop. Whoever leaves is noticed at once,
stream or not, and takes its jobs along.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Iterable
from functools import partial

from starlette.types import Receive

from tinygpt.serve.batching.jobs import Piece, SampledToken
from tinygpt.serve.completions import Prepared
from tinygpt.serve.errors import Refusal, log_failure
from tinygpt.serve.responses import Choice, Completion, FinishReason, Logprobs, Usage
from tinygpt.tokenizers.char_byte import TextStream, Tokenizer

__all__ = ["Gone", "Running", "events", "whole"]

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "timeout": "timeout"}

_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Where some clients end a line, and with it an event, though JSON does not mind them."""


class Gone(Exception):  # noqa: N818  # no error: nobody is there to be told
    """The client has left."""


class Running:
    """The jobs of a request, taken by the batcher."""

    def __init__(self, prepared: Prepared, receive: Receive) -> None:
        """Submit all jobs or none; Refused if the batcher takes no more.

        Args:
            receive: of the request, whose body is read.
        """
        self.prepared = prepared
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, Piece] | None] = asyncio.Queue()
        self._tickets = []
        try:
            for i, job in enumerate(prepared.jobs):
                ticket = prepared.served.batcher.submit(job, partial(self._hand_over, i))
                self._tickets.append(ticket)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End all jobs; those that have ended do not mind."""
        for ticket in self._tickets:
            ticket.cancel()

    async def pieces(self) -> AsyncGenerator[tuple[int, Piece]]:
        """Yield (number of the job, piece) until each has ended; then or before, end them all.

        Raises:
            Gone: the client has left.
        """
        gone = asyncio.create_task(self._left())
        gone.add_done_callback(lambda _: self._queue.put_nowait(None))
        left = len(self._tickets)
        try:
            while left:
                item = await self._queue.get()
                if item is None:
                    raise Gone
                left -= item[1].finish_reason is not None
                yield item
        finally:
            gone.cancel()
            self.cancel()

    async def _left(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _hand_over(self, index: int, piece: Piece) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and all who listened
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (index, piece))


class _Answer:
    """What the answers of one request have in common."""

    def __init__(self, prepared: Prepared) -> None:
        self._id, self._created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
        self._prepared = prepared
        tokenizer = prepared.served.lm.tokenizer
        wanted = prepared.request.logprobs is not None
        self._offsets = [_Offsets(tokenizer) if wanted else None for _ in prepared.jobs]
        self.n_written = 0

    def choice(self, index: int, piece: Piece) -> Choice:
        """Return a piece as a choice of a stream."""
        self.n_written += 0 if piece.prompt else len(piece.tokens)
        offsets = self._offsets[index]
        return Choice(
            index=index,
            text=piece.text,
            logprobs=offsets.logprobs(piece) if offsets else None,
            finish_reason=_reason(piece),
        )

    def body(self, choices: Iterable[Choice], *, usage: bool) -> Completion:
        """Return a whole answer, or an event."""
        n_read = self._prepared.n_prompt_tokens
        counted = Usage(
            prompt_tokens=n_read,
            completion_tokens=self.n_written,
            total_tokens=n_read + self.n_written,
        )
        return Completion(
            id=self._id,
            created=self._created,
            model=self._prepared.served.name,
            choices=list(choices),
            usage=counted if usage else None,
        )


class _Offsets:
    """Log probabilities of a choice, with the place of each token in its text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._text, self._n_characters = TextStream(tokenizer), 0

    def logprobs(self, piece: Piece) -> Logprobs:
        """Return those of a piece."""
        found = Logprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token in piece.tokens:
            found.tokens.append(token.text)
            found.token_logprobs.append(token.logprob)
            found.top_logprobs.append(_alternatives(token))
            found.text_offset.append(self._n_characters)
            self._n_characters += len(self._text.push(token.id))
        return found


def _alternatives(token: SampledToken) -> dict[str, float] | None:
    """Return the likeliest tokens, best first, and the one that was taken."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for text, logprob in (*token.top, (token.text, token.logprob)):
        found.setdefault(text, logprob)  # of two tokens that look alike, the likelier
    return found


async def whole(running: Running) -> Completion:
    """Return the answer when all texts are written.

    Raises:
        Gone: the client has left.
        Refusal: the server failed, or the time was up before anything was written.
    """
    answer, n = _Answer(running.prepared), len(running.prepared.jobs)
    parts: list[list[Choice]] = [[] for _ in range(n)]
    async with contextlib.aclosing(running.pieces()) as pieces:
        async for index, piece in pieces:
            parts[index].append(answer.choice(index, piece))
    choices = [_joined(written) for written in parts]
    if answer.n_written == 0 and all(choice.finish_reason == "timeout" for choice in choices):
        raise Refusal(504, "the time was up before the first token; try again", code="timeout")
    return answer.body(choices, usage=True)


async def events(running: Running) -> AsyncGenerator[bytes]:
    """Yield the answer as server-sent events, one for each piece that says something."""
    request = running.prepared.request
    answer = _Answer(running.prepared)
    try:
        async with contextlib.aclosing(running.pieces()) as pieces:
            async for index, piece in pieces:
                choice = answer.choice(index, piece)
                if choice.text or choice.finish_reason or (choice.logprobs and piece.tokens):
                    yield _event(answer.body([choice], usage=False).model_dump_json())
    except Gone:
        return
    except Refusal as refusal:  # the status is sent: what is left is an event
        yield _event(refusal.json())
        return
    except Exception as error:
        log_failure(error)
        yield _event(Refusal(500, "the server failed; its log says why").json())
        return
    if request.stream_options is not None and request.stream_options.include_usage:
        yield _event(answer.body([], usage=True).model_dump_json())
    yield _event("[DONE]")


def _event(data: str) -> bytes:
    return f"data: {data.translate(_LINE_ENDS)}\n\n".encode()


def _joined(parts: list[Choice]) -> Choice:
    """Return the whole choice of its pieces."""
    last = parts[-1]
    logprobs = [part.logprobs for part in parts if part.logprobs is not None]
    return Choice(
        index=last.index,
        text="".join(part.text for part in parts),
        logprobs=Logprobs(
            tokens=[x for one in logprobs for x in one.tokens],
            token_logprobs=[x for one in logprobs for x in one.token_logprobs],
            top_logprobs=[x for one in logprobs for x in one.top_logprobs],
            text_offset=[x for one in logprobs for x in one.text_offset],
        )
        if logprobs
        else None,
        finish_reason=last.finish_reason,
    )


def _reason(piece: Piece) -> FinishReason | None:
    """Return a piece's finish_reason; a Refusal for one that is no answer."""
    if piece.finish_reason == "error":
        raise Refusal(500, piece.message, code="generation_failed")
    if piece.finish_reason == "cancelled":
        raise Gone
    return None if piece.finish_reason is None else _REASONS[piece.finish_reason]
