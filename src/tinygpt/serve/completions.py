"""From a request to jobs for the batcher: prompts as ids, settings, and what is too much.

A setting that is not given comes from the model's generation_config.json, as everywhere in tinygpt.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from tinygpt.config.generation_config import changed
from tinygpt.errors import ContextError
from tinygpt.inference.generate import prompt_ids
from tinygpt.serve.batching.jobs import Job
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.errors import Refusal
from tinygpt.serve.models import Served
from tinygpt.serve.requests import CompletionRequest
from tinygpt.tokenizers.char_byte import checked_ids

__all__ = ["DEFAULT_MAX_TOKENS", "Prepared", "prepare"]

DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request made ready: one job for each text that it asks for."""

    request: CompletionRequest
    served: Served
    jobs: tuple[Job, ...]
    """Those of the first prompt, then those of the second ..."""
    n_prompt_tokens: int
    """Each prompt counts once."""


def prepare(
    request: CompletionRequest, served: Served, config: ServeConfig, client: str
) -> Prepared:
    """Make the jobs of a request. It tokenizes, so it belongs into a thread.

    Args:
        client: whose turn it is when the jobs wait.

    Raises:
        Refusal: more texts or tokens than the server allows.
        TinyGPTError: a prompt that the model can't take.
    """
    n = request.n or 1
    _refuse_too_much(len(request.prompts()) * n, request.max_tokens, config)
    rows = [_ids(served, prompt, request.truncate_prompt) for prompt in request.prompts()]
    generation = changed(served.lm.generation_config, _settings(request))
    seed = secrets.randbits(63) if request.seed is None else request.seed
    jobs = [
        Job(
            ids=ids,
            generation=generation,
            seed=seed,
            sample_index=i * n + k,
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            logprobs=request.logprobs,
            echo=bool(request.echo),
            client=f"{client} {request.user}" if request.user else client,
            timeout_s=config.timeout_s,
        )
        for i, ids in enumerate(rows)
        for k in range(n)
    ]
    n_prompt_tokens = sum(len(ids) for ids in rows)
    return Prepared(
        request=request, served=served, jobs=tuple(jobs), n_prompt_tokens=n_prompt_tokens
    )


def _settings(request: CompletionRequest) -> dict[str, Any]:
    """Return the settings that the request gives, with GenerationConfig's names."""
    given = {name: getattr(request, name) for name in _SAMPLING}
    settings = {name: value for name, value in given.items() if value is not None}
    if settings.get("top_k") == 0:
        settings["top_k"] = None
    if request.stop is not None:
        settings["stop_strings"] = request.stops()
    n = request.max_tokens
    return settings | {"max_new_tokens": DEFAULT_MAX_TOKENS if n is None else n}


def _refuse_too_much(n_texts: int, max_tokens: int | None, config: ServeConfig) -> None:
    if max_tokens is not None and max_tokens > config.max_tokens:
        raise Refusal(
            400,
            f"max_tokens={max_tokens} is not allowed: at most {config.max_tokens} on this server",
            param="max_tokens",
        )
    most = min(config.max_waiting, config.max_waiting_per_client)
    if n_texts > most:
        raise Refusal(
            400,
            f"{n_texts} texts (prompts times n) are too many for one request: at most {most} on "
            "this server; send several requests",
            param="n",
        )


def _ids(served: Served, prompt: str | list[int], truncate: bool) -> tuple[int, ...]:
    """Return a prompt's ids, at most n_positions of them."""
    tokenizer, n_positions = served.lm.tokenizer, served.lm.config.n_positions
    if isinstance(prompt, str):
        # What can't fit however it is cut is refused before it is cut.
        least = len(prompt.encode()) // max(map(len, tokenizer.token_bytes))
        if least > n_positions and not truncate:
            raise _too_long(f"at least {least:,}", n_positions)
        ids = prompt_ids(tokenizer, prompt, n_positions, truncate=truncate)
        return tuple(ids)
    found = checked_ids(prompt, tokenizer.vocab_size).tolist()
    if len(found) > n_positions and not truncate:
        raise _too_long(f"{len(found):,}", n_positions)
    return tuple(found[-n_positions:])


def _too_long(n_tokens: str, n_positions: int) -> ContextError:
    return ContextError(
        f"the prompt has {n_tokens} tokens, the model's n_positions is {n_positions:,}; shorten "
        "it, or keep its tail with truncate_prompt: true"
    )
