"""The JSON behind the playground page: what tinygpt computes anyway, handed out under /page.

It is the page's own, not part of the API: the OpenAPI document leaves it out, and it changes with
the page. What takes long runs in threads (page_work.py); nothing here is computed here.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

import tinygpt
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.page_config import configs
from tinygpt.serve.page_models import Models, about
from tinygpt.serve.page_requests import (
    MAX_REPORTED,
    Name,
    NextRequest,
    SurpriseRequest,
    TokensRequest,
)
from tinygpt.serve.page_scale import scale
from tinygpt.serve.page_surprise import surprise
from tinygpt.serve.page_tokens import next_tokens, tokens_of
from tinygpt.serve.page_work import Workers
from tinygpt.serve.served import Served

__all__ = ["router"]

MAX_WIDTH = 65_536


def router(models: Sequence[Served], settings: ServeConfig) -> APIRouter:
    """Return the routes of the page's data.

    Args:
        models: what is served.
        settings: `runs` names the folder whose runs are shown beside those that are served.
    """
    page = APIRouter(prefix="/page", include_in_schema=False)
    shown = Models(models)
    quick, slow = Workers(at_once=2, waiting=32), Workers(at_once=1, waiting=8)
    _add_prompt(page, shown, quick)
    _add_surprise(page, shown, slow)
    _add_architecture(page, shown, quick)
    return page


def _add_prompt(page: APIRouter, models: Models, quick: Workers) -> None:
    """Add what the head and the prompt of the page show."""

    @page.get("/models")
    async def _models(request: Request) -> Response:
        return await quick.run(
            request,
            lambda stop: {
                "version": tinygpt.__version__,
                "models": [about(models, one, None) for one in models.served],
            },
        )

    @page.post("/tokens")
    async def _tokens(request: Request, asked: TokensRequest) -> Response:
        lm = models.find(asked.model).lm
        return await quick.run(request, lambda stop: tokens_of(lm, asked.text))

    @page.post("/next")
    async def _next(request: Request, asked: NextRequest) -> Response:
        lm = models.find(asked.model).lm
        chosen = asked.model_dump(exclude={"model", "text", "k"}, exclude_none=True)
        if chosen.get("top_k") == 0:
            chosen["top_k"] = None
        return await quick.run(request, lambda stop: next_tokens(lm, asked.text, asked.k, chosen))


def _add_surprise(page: APIRouter, models: Models, slow: Workers) -> None:
    """Add the lens."""

    @page.post("/surprise")
    async def _surprise(request: Request, asked: SurpriseRequest) -> Response:
        lms = [models.find(name).lm for name in asked.models]
        return await slow.run(request, lambda stop: surprise(lms, asked.text, stop))


def _add_architecture(page: APIRouter, models: Models, quick: Workers) -> None:
    """Add what the models are made of, and their config files."""

    @page.get("/scale")
    async def _scale(
        request: Request,
        model: Name,
        n_embd: Annotated[int | None, Query(ge=1, le=MAX_WIDTH)] = None,
    ) -> Response:
        one = models.find(model)
        return await quick.run(
            request,
            lambda stop: scale(one.name, one.lm.config, n_embd, models.bytes_per_token(one)),
        )

    @page.get("/config")
    async def _config(
        request: Request,
        names: Annotated[list[Name], Query(alias="models", min_length=1, max_length=MAX_REPORTED)],
    ) -> Response:
        lms = [models.find(name).lm for name in names]
        return await quick.run(request, lambda stop: configs(lms))
