"""How well a model predicts a text: two figures, never mixed (docs/measuring.md).

`val_loss`: nats per token on disjoint windows; quick, and only comparable with the same tokenizer.
`evaluate`: bits per byte of the original text, every target scored once, with a stated context,
stride and unscored prefix; comparable between any two models. Sums are float64.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinygpt.errors import ConfigError, DataError
from tinygpt.model import GPT
from tinygpt.tokenizer import CharTokenizer, Tokenizer

__all__ = ["Evaluation", "WindowLoss", "evaluate", "n_windows", "token_nats", "val_loss"]

MAX_LOGITS = 2**27
"""Logits held at once: half a GiB in float32."""

Ids = np.ndarray[Any, np.dtype[np.int32]]
Nats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class WindowLoss:
    """Mean loss over disjoint windows."""

    loss: float
    """Nats per token."""
    n_tokens: int
    """Targets scored."""
    n_total: int
    """Targets that all windows hold together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A text scored by a model. The figures hold for this context, stride and prefix only."""

    bits_per_byte: float
    """Total bits / bytes of the original text."""
    loss: float
    """Nats per scored token (only comparable with the same tokenizer)."""
    perplexity: float
    """exp(loss) (only comparable with the same tokenizer)."""
    total_nats: float
    """Everything that the text cost, unknown characters included."""
    n_bytes: int
    """UTF-8 bytes of the scored text."""
    n_characters: int
    """Characters of the scored text."""
    n_tokens: int
    """Tokens scored."""
    n_unknown: int
    """Characters that the tokenizer lacks, paid for by the escape code."""
    unknown_nats: float
    """What the unknown characters cost, part of total_nats."""
    context: int
    """Longest context in tokens, the scored token's own position included."""
    stride: int
    """Tokens by which the window moves on: each target sees at least context - stride tokens."""
    prefix_bytes: int
    """Bytes of unscored text that were shown before it."""
    start: str
    """What stood before the first token where there was no prefix; empty otherwise."""
    sha256: str
    """SHA-256 of the scored bytes."""
    loss_by_position: tuple[float | None, ...]
    """Mean nats per token by the tokens of context, in eight equal ranges (null: none there)."""


def n_windows(n_ids: int, block_size: int) -> int:
    """Return how many disjoint windows hold the n_ids - 1 targets of a text."""
    return max(0, math.ceil((n_ids - 1) / block_size))


@torch.inference_mode()
def val_loss(
    model: GPT,
    ids: Ids,
    block_size: int,
    *,
    windows: Sequence[int] | None = None,
    batch_size: int = 32,
    deadline: Callable[[], bool] | None = None,
) -> WindowLoss:
    """Score disjoint windows: window i predicts ids[i*T + 1 : i*T + T + 1] from ids[i*T : i*T + T].

    Args:
        ids: (n,) the held-out text.
        windows: which ones, in which order; None takes all.
        deadline: asked between batches; once it says True, what has been scored is returned.

    Raises:
        DataError: not even one target.
    """
    total = n_windows(len(ids), block_size)
    if total == 0:
        raise DataError(f"{len(ids)} token(s) hold no target; give at least 2")
    was_training = model.training
    model.eval()
    order = list(range(total)) if windows is None else list(windows)
    last = [i for i in order if (i + 1) * block_size + 1 > len(ids)]  # shorter: scored on its own
    full = [i for i in order if (i + 1) * block_size + 1 <= len(ids)]
    nats, n_tokens = 0.0, 0
    for batch in [full[i : i + batch_size] for i in range(0, len(full), batch_size)] + [last]:
        if not batch:
            continue
        rows = np.stack([ids[i * block_size : (i + 1) * block_size + 1] for i in batch])
        nats += float(_target_nats(model, rows, rows.shape[1] - 1).sum())
        n_tokens += rows[:, 1:].size
        if deadline is not None and deadline():
            break
    model.train(was_training)
    n_total = sum(min(block_size, len(ids) - 1 - i * block_size) for i in order)
    return WindowLoss(nats / n_tokens, n_tokens, n_total)


def evaluate(
    model: GPT,
    tokenizer: Tokenizer,
    text: str,
    *,
    prefix: str = "",
    context: int | None = None,
    stride: int | None = None,
    escape: float | None = None,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Score a text in bits per byte, every target once, through a sliding window.

    Args:
        prefix: unscored text right before it, shown as context (as much as fits).
        context: longest context in tokens; None takes n_positions.
        stride: tokens the window moves on; None takes half the context.
        escape: probability of the escape code for characters outside a character model: an unknown
            one costs -ln(escape) + 8 ln 2 per UTF-8 byte, a known one -ln(1 - escape) more than the
            model says, and the model does not see the unknown ones. None refuses them.
        progress: called with the share done, 0 to 1.

    Raises:
        TokenizerError: an unknown character, and `escape` is None.
        DataError: an empty text.
        ConfigError: an impossible context or stride.
    """
    context = model.config.n_positions if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= context <= model.config.n_positions:
        raise ConfigError(f"context={context} is not allowed: 1 to {model.config.n_positions}")
    if not 1 <= stride <= context:
        raise ConfigError(f"stride={stride} is not allowed: 1 to the context ({context})")
    if not text:
        raise DataError("the text to score is empty")
    n_bytes, n_unknown, unknown_nats, known_nats = len(text.encode()), 0, 0.0, 0.0
    scored, before = text, prefix
    if isinstance(tokenizer, CharTokenizer) and escape is not None:
        mask = tokenizer.known_mask(text)
        unknown = "".join(c for c, known in zip(text, mask, strict=True) if not known)
        n_unknown = len(unknown)
        unknown_nats = -math.log(escape) * n_unknown + 8 * math.log(2) * len(unknown.encode())
        known_nats = -math.log1p(-escape) * (len(text) - n_unknown)
        scored = "".join(c for c, known in zip(text, mask, strict=True) if known)
        before = "".join(
            c for c, known in zip(prefix, tokenizer.known_mask(prefix), strict=True) if known
        )
    prefix_ids, ids = _encode(tokenizer, before, scored)
    start = ""
    if not len(prefix_ids):
        prefix_ids, start = _start(tokenizer)
    prefix_ids = prefix_ids[-max(1, context - 1) :]
    nats = token_nats(
        model, prefix_ids, ids, context, stride, batch_size=batch_size, progress=progress
    )
    by_position = _by_position(nats, len(prefix_ids), context, stride)
    if not len(prefix_ids) and len(ids):  # nothing can stand before: the first token is uniform
        nats = np.concatenate([[math.log(model.config.vocab_size)], nats])
    model_nats = math.fsum(nats.tolist())
    total = model_nats + unknown_nats + known_nats
    loss = model_nats / max(1, len(ids))
    return Evaluation(
        bits_per_byte=total / math.log(2) / n_bytes,
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),
        total_nats=total,
        n_bytes=n_bytes,
        n_characters=len(text),
        n_tokens=len(ids),
        n_unknown=n_unknown,
        unknown_nats=unknown_nats,
        context=context,
        stride=stride,
        prefix_bytes=_byte_length(tokenizer, prefix_ids) if not start else 0,
        start=start,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        loss_by_position=by_position,
    )


@torch.inference_mode()
def token_nats(
    model: GPT,
    prefix_ids: Ids,
    ids: Ids,
    context: int,
    stride: int,
    *,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
) -> Nats:
    """Return the nats of each id given what stands before it, each scored exactly once.

    The window holds at most `context` input tokens and moves on by `stride`; a target is scored
    by the first window that holds its predecessor, so all but the first ones see at least
    context - stride tokens.

    Args:
        prefix_ids: (m,) unscored; without any, the first id has no predecessor and is left out.
        ids: (n,) the targets.

    Returns:
        (n,) float64, or (n - 1,) without a prefix.
    """
    was_training = model.training
    model.eval()
    sequence = np.concatenate([prefix_ids, ids]).astype(np.int64)
    plan = _windows(len(sequence), max(1, len(prefix_ids)), context, stride)
    batch_size = max(1, min(batch_size, MAX_LOGITS // (context * model.config.vocab_size)))
    out: list[Nats] = []
    for shape, same in itertools.groupby(plan, key=lambda w: (w[1] - w[0], w[1] - w[2])):
        windows = list(same)  # all alike but the first and the last
        for i in range(0, len(windows), batch_size):
            batch = windows[i : i + batch_size]
            rows = np.stack([sequence[begin : end + 1] for begin, end, _ in batch])
            out.extend(_target_nats(model, rows, shape[1] + 1))
            if progress is not None:
                progress(min(1.0, sum(len(nats) for nats in out) / len(ids)))
    model.train(was_training)
    return np.concatenate(out) if out else np.empty(0)


def _windows(n: int, first: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """Return (begin, end, first target): inputs are begin..end-1, targets up to index `end`."""
    plan: list[tuple[int, int, int]] = []
    while first < n:
        # The first window scores all that fits behind the prefix, the later ones `stride` targets.
        end = min(n - 1, max(first, context) if not plan else first + stride - 1)
        plan.append((max(0, end - context), end, first))
        first = end + 1
    return plan


def _target_nats(model: GPT, rows: np.ndarray[Any, Any], n_scored: int) -> Nats:
    """Return (B, n_scored) float64 nats of the last ids of each row, rows (B, T + 1)."""
    idx = torch.from_numpy(rows.astype(np.int64)).to(model.lm_head.weight.device)
    hidden = model.hidden(idx[:, :-1])[:, -n_scored:]  # (B, n_scored, C)
    logits = model.lm_head(hidden).float().flatten(0, 1)  # (B * n_scored, V)
    targets = idx[:, -n_scored:].flatten()
    nats = F.cross_entropy(logits, targets, reduction="none").double()
    return nats.view(len(rows), n_scored).cpu().numpy()


def _encode(tokenizer: Tokenizer, prefix: str, text: str) -> tuple[Ids, Ids]:
    """Encode both as one text where a token starts at the border, else each for itself."""
    joint = tokenizer.encode(prefix + text)
    lengths = _lengths(tokenizer)[joint].cumsum()
    border = len(prefix.encode())
    at = int(np.searchsorted(lengths, border)) + 1 if border else 0
    if border and (at > len(lengths) or lengths[at - 1] != border):
        return tokenizer.encode(prefix), tokenizer.encode(text)
    return joint[:at], joint[at:]


def _start(tokenizer: Tokenizer) -> tuple[Ids, str]:
    """Return what stands before a text that has no prefix, and its name for the report."""
    if tokenizer.eot_id is not None:
        return np.array([tokenizer.eot_id], np.int32), "<|endoftext|>"
    if isinstance(tokenizer, CharTokenizer) and not tokenizer.unknown("\n"):
        return tokenizer.encode("\n"), "a newline"
    return np.empty(0, np.int32), "nothing: the first token costs ln(vocab_size)"


def _by_position(nats: Nats, n_prefix: int, context: int, stride: int) -> tuple[float | None, ...]:
    """Mean nats in eight equal ranges of the number of tokens that each target could see."""
    first = max(1, n_prefix)
    seen = [
        np.arange(start, end + 1) - begin
        for begin, end, start in _windows(first + len(nats), first, context, stride)
    ]
    ranges = (np.concatenate(seen) - 1) * 8 // context if seen else np.empty(0, np.int64)
    sums, counts = np.bincount(ranges, nats, minlength=8), np.bincount(ranges, minlength=8)
    return tuple(float(s / n) if n else None for s, n in zip(sums, counts, strict=True))


def _byte_length(tokenizer: Tokenizer, ids: Ids) -> int:
    return int(_lengths(tokenizer)[ids].sum())


def _lengths(tokenizer: Tokenizer) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([len(b) for b in tokenizer.token_bytes], dtype=np.int64)
