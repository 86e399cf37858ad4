"""The generation loop: prompts in, pieces of text out, over any DecodeSession.

A session that samples inside is asked for several ids at a time, which gives the same text.

Past the window (product rule, the same in every engine): when a sequence holds n_positions ids, one
more is drawn from that full window. Then the last n_positions // 2 ids, the new one among them (at
least the new one), are prefilled anew from position 0, and generation goes on.
"""

from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.errors import ContextError, TokenizerError
from tinygpt.inference.sampling import generator, next_id
from tinygpt.inference.stop_strings import Continuation
from tinygpt.model.session import DecodeSession, SamplingSession
from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = [
    "generate_batch",
    "generate_ids",
    "kept_ids",
    "prompt_ids",
    "stream_batch",
    "stream_text",
]


def prompt_ids(
    tokenizer: Tokenizer, prompt: str, n_positions: int, *, truncate: bool = False
) -> list[int]:
    """Encode a prompt; an empty one becomes <|endoftext|>, or a newline where there is none.

    Raises:
        TokenizerError: a character that the tokenizer lacks.
        ContextError: more than n_positions tokens, and `truncate` is not set.
    """
    if prompt:
        ids = [int(i) for i in tokenizer.encode(prompt)]
    elif tokenizer.eot_id is not None:
        ids = [tokenizer.eot_id]
    else:
        try:
            ids = [int(i) for i in tokenizer.encode("\n")]
        except TokenizerError:
            raise TokenizerError(
                "an empty prompt starts with a newline, which this model never saw; give a prompt"
            ) from None
    if len(ids) > n_positions and not truncate:
        raise ContextError(
            f"the prompt has {len(ids)} tokens, the model's n_positions is {n_positions}; shorten "
            "it, or keep its tail with --truncate-prompt (truncate_prompt=True)"
        )
    return ids[-n_positions:]


def kept_ids(window: list[int], n_positions: int) -> list[int]:
    """Return what is prefilled anew when a window has one id too many."""
    return window[-max(1, n_positions // 2) :]


def generate_ids(
    session: DecodeSession,
    ids: list[int],
    settings: GenerationConfig,
    *,
    seed: int = 0,
    sample_index: int = 0,
    slot: int = 0,
) -> Iterator[int]:
    """Yield at most max_new_tokens ids; ends before eos_token_id, which is not yielded.

    Args:
        ids: the prompt, 1 to n_positions ids; the slot must be empty, and is freed at the end.
        seed, sample_index: key of the random stream (see sampling.py).
    """
    batch = generate_batch(
        session, [ids], settings, seed=seed, sample_index=sample_index, slots=[slot]
    )
    yield from (new for _, new in batch if new is not None)


def generate_batch(
    session: DecodeSession,
    prompts: Sequence[list[int]],
    settings: GenerationConfig,
    *,
    seed: int = 0,
    sample_index: int = 0,
    slots: Sequence[int] | None = None,
    ended: Container[int] = (),
) -> Iterator[tuple[int, int | None]]:
    """Continue several prompts at once; a slot whose sequence ends takes the next prompt.

    Args:
        prompts: each as `generate_ids` takes one; prompt i draws from the random stream of
            sample_index + i, so that it gets the ids that it would get alone.
        slots: empty ones to work in; None takes all.
        ended: indices of prompts of which no more is wanted; looked at after each id.

    Yields:
        (index of the prompt, its next id), and (index, None) once when it ends.
    """
    free = deque(range(session.n_slots) if slots is None else slots)
    waiting, running = deque(enumerate(prompts)), list[_Sequence]()
    if settings.max_new_tokens == 0:
        yield from ((index, None) for index, _ in waiting)
        return
    try:
        while waiting or running:
            while waiting and free:
                index, ids = waiting.popleft()
                rng = generator(seed, sample_index + index)
                running.append(_Sequence(index, free.popleft(), list(ids), rng, set(ids)))
                session.prefill(running[-1].slot, ids)
            running.sort(key=lambda one: one.slot)  # neighbouring slots are the fastest
            drawn = _draw(session, running, settings, seed, sample_index)
            for one, ids in zip(list(running), drawn, strict=True):
                for new in ids:
                    if new == settings.eos_token_id:
                        break
                    yield one.index, new
                    one.append(new)
                    if one.index in ended or one.n_new == settings.max_new_tokens:
                        break
                else:
                    continue
                running.remove(one)
                session.free(one.slot)
                free.append(one.slot)
                yield one.index, None
            _feed(session, running)
    finally:
        for one in running:
            session.free(one.slot)


def stream_text(
    session: DecodeSession,
    tokenizer: Tokenizer,
    ids: list[int],
    settings: GenerationConfig,
    *,
    seed: int = 0,
    sample_index: int = 0,
    slot: int = 0,
) -> Iterator[str]:
    """Yield pieces of text as they become certain (Continuation); arguments as `generate_ids`."""
    batch = stream_batch(
        session, tokenizer, [ids], settings, seed=seed, sample_index=sample_index, slots=[slot]
    )
    yield from (piece for _, piece in batch if piece is not None)


def stream_batch(
    session: DecodeSession,
    tokenizer: Tokenizer,
    prompts: Sequence[list[int]],
    settings: GenerationConfig,
    *,
    seed: int = 0,
    sample_index: int = 0,
    slots: Sequence[int] | None = None,
) -> Iterator[tuple[int, str | None]]:
    """Yield (index of the prompt, piece of its text), and (index, None) once when it ends.

    Arguments as `generate_batch`, pieces as `stream_text`.
    """
    texts = [Continuation(tokenizer, settings.stop_strings) for _ in prompts]
    ended: set[int] = set()
    for index, new in generate_batch(
        session,
        prompts,
        settings,
        seed=seed,
        sample_index=sample_index,
        slots=slots,
        ended=ended,
    ):
        text = texts[index]
        if new is None:
            if rest := text.finish():
                yield index, rest
            yield index, None
            continue
        piece = text.push(new)
        if text.stopped:
            ended.add(index)
        if piece:
            yield index, piece


@dataclass(slots=True, eq=False)
class _Sequence:
    """A prompt on its way through a slot."""

    index: int
    slot: int
    window: list[int]
    """What the slot holds, and at its end what it is to be fed."""
    rng: np.random.Generator
    seen: set[int]
    """Every id of the prompt and of the text so far, also those that have left the window."""
    n_new: int = 0

    def append(self, new: int) -> None:
        self.n_new += 1
        self.window.append(new)
        self.seen.add(new)


def _draw(
    session: DecodeSession,
    sequences: list[_Sequence],
    settings: GenerationConfig,
    seed: int,
    sample_index: int,
) -> list[list[int]]:
    """Choose the next id or ids of each sequence; in the engine, where that gives the same."""
    slots = [one.slot for one in sequences]
    if isinstance(session, SamplingSession):
        return session.decode(
            slots,
            min(_room(one, session, settings) for one in sequences),
            settings,
            seed=seed,
            sample_indices=[sample_index + one.index for one in sequences],
            drawn=[one.n_new for one in sequences],
            seen=[one.seen for one in sequences],
            stop_ids=[] if settings.eos_token_id is None else [settings.eos_token_id],
        )
    if settings.temperature == 0 and settings.repetition_penalty == 1:
        return [[new] for new in session.argmax(slots)]
    return [[next_id(session.logits(one.slot), settings, one.rng, one.seen)] for one in sequences]


def _room(one: _Sequence, session: SamplingSession, settings: GenerationConfig) -> int:
    """Return how many ids to ask for: 1, 2, 4 and so on, so that a text begins at once.

    All but the last must fit into the window.
    """
    left = min(settings.max_new_tokens - one.n_new, session.n_positions - len(one.window) + 1)
    return min(session.n_at_once, one.n_new + 1, left)


def _feed(session: DecodeSession, sequences: list[_Sequence]) -> None:
    """Append the last id of each sequence to its slot: one step for all whose window has room."""
    room = [one for one in sequences if len(one.window) <= session.n_positions]
    if room:
        session.step([one.slot for one in room], [one.window[-1] for one in room])
    for one in sequences:
        if len(one.window) > session.n_positions:
            one.window = kept_ids(one.window, session.n_positions)
            session.free(one.slot)
            session.prefill(one.slot, one.window)
