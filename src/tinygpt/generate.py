"""The generation loop: prompt in, pieces of text out, over any DecodeSession.

Past the window (product rule, the same in every engine): positions are absolute, so a full cache
can't slide. From n_positions tokens one more is drawn; then the last n_positions // 2 tokens, that
one among them (at least it), are prefilled anew from position 0 and generation goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tinygpt.errors import ContextError, TokenizerError
from tinygpt.run_config import GenerationConfig
from tinygpt.sampling import generator, next_id
from tinygpt.session import DecodeSession
from tinygpt.tokenizer import TextStream, Tokenizer

__all__ = ["generate_ids", "prompt_ids", "stream_text"]


def prompt_ids(
    tokenizer: Tokenizer, prompt: str, n_positions: int, *, truncate: bool = False
) -> list[int]:
    """Encode a prompt; an empty one becomes <|endoftext|>, or a newline in a character model.

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
    rng = generator(seed, sample_index)
    sequence = list(ids)
    try:
        session.prefill(slot, sequence)
        held = len(sequence)
        for n_new in range(1, settings.max_new_tokens + 1):
            greedy = settings.temperature == 0
            new = (
                session.argmax([slot])[0]
                if greedy
                else next_id(session.logits(slot), settings, rng)
            )
            if new == settings.eos_token_id:
                return
            yield new
            if n_new == settings.max_new_tokens:
                return
            sequence.append(new)
            if held < session.n_positions:
                session.step([slot], [new])
                held += 1
            else:
                sequence = sequence[-max(1, session.n_positions // 2) :]
                session.free(slot)
                session.prefill(slot, sequence)
                held = len(sequence)
    finally:
        session.free(slot)


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
    """Yield pieces of text as they become certain; arguments as `generate_ids`.

    Held back are bytes of an unfinished character and a tail that may be the start of a stop
    string; the stop string itself is never yielded.
    """
    text, stops = TextStream(tokenizer), _StopStrings(settings.stop_strings)
    for new in generate_ids(
        session, ids, settings, seed=seed, sample_index=sample_index, slot=slot
    ):
        piece = stops.push(text.push(new))
        if piece:
            yield piece
        if stops.found:
            return
    if rest := stops.push(text.finish()):
        yield rest
    if not stops.found and stops.held:
        yield stops.held


@dataclass(slots=True)
class _StopStrings:
    """Lets text through up to the stop string that ends first, however the text is cut."""

    stops: tuple[str, ...]
    held: str = ""
    found: bool = False

    def push(self, piece: str) -> str:
        """Take a piece; return what can't be part of a stop string any more."""
        self.held += piece
        ends = [(i + len(stop), i) for stop in self.stops if (i := self.held.find(stop)) >= 0]
        if ends:
            self.found = True
            certain, self.held = self.held[: min(ends)[1]], ""
            return certain
        keep = max(
            (
                n
                for stop in self.stops
                for n in range(1, min(len(stop), len(self.held) + 1))
                if self.held.endswith(stop[:n])
            ),
            default=0,
        )
        certain = self.held[: len(self.held) - keep]
        self.held = self.held[len(self.held) - keep :]
        return certain
