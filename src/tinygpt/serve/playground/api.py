"""The JSON behind the playground page: what tinygpt computes anyway, handed out under /page.

It is the page's own, not part of the API: the OpenAPI document leaves it out, and it changes with
the page. What takes long runs in threads (workers.py); nothing here is computed here.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from tinygpt.serve.config import ServeConfig
from tinygpt.serve.errors import Refusal
from tinygpt.serve.models import Served
from tinygpt.serve.playground.config import configs
from tinygpt.serve.playground.curves import Yardsticks, curves, samples
from tinygpt.serve.playground.models import ServedModels, about
from tinygpt.serve.playground.report import Reports, as_file
from tinygpt.serve.playground.requests import (
    MAX_REPORTED,
    Name,
    NextRequest,
    ReportRequest,
    SurpriseRequest,
    TokensRequest,
)
from tinygpt.serve.playground.runs import Runs
from tinygpt.serve.playground.scale import picture, scale
from tinygpt.serve.playground.tokens import next_tokens, tokens_of
from tinygpt.serve.playground.workers import Workers
from tinygpt.version import __version__

__all__ = ["router"]

Width = Annotated[int, Field(ge=1, le=65_536)]
"""n_embd of a model."""

After = Annotated[int, Query(ge=0, le=2**31)]
"""Lines of a log that the page has seen."""


def router(models: Sequence[Served], settings: ServeConfig) -> APIRouter:
    """Return the routes of the page's data.

    Args:
        models: what is served.
        settings: `runs` names the folder whose runs are shown beside those that are served.
    """
    page = APIRouter(prefix="/page", include_in_schema=False)
    shown = ServedModels(models)
    quick, slow = Workers(at_once=2, waiting=32), Workers(at_once=1, waiting=8)
    runs = Runs(shown, Path(settings.runs))
    _add_prompt(page, shown, runs, quick)
    _add_surprise(page, shown, slow)
    _add_architecture(page, shown, quick)
    _add_runs(page, runs, quick, slow)
    _add_report(page, shown, quick)
    return page


def _add_prompt(page: APIRouter, models: ServedModels, runs: Runs, quick: Workers) -> None:
    """Add what the head and the prompt of the page show."""

    def describe() -> dict[str, Any]:
        found = runs.all().values()
        names = {run.served: run.name for run in found}
        return {
            "version": __version__,
            "runs": bool(found),
            "models": [about(models, one, names.get(one.name)) for one in models.served],
        }

    @page.get("/models")
    async def _models(request: Request) -> Response:
        return await quick.run(request, lambda stop: describe())

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


def _add_surprise(page: APIRouter, models: ServedModels, slow: Workers) -> None:
    """Add the lens."""

    @page.post("/surprise")
    async def _surprise(request: Request, asked: SurpriseRequest) -> Response:
        lms = [models.find(name).lm for name in asked.models]

        def work(stop: threading.Event) -> dict[str, Any]:
            from tinygpt.serve.playground.surprise import surprise  # with torch, after the start

            return surprise(lms, asked.text, stop)

        return await slow.run(request, work)


def _add_architecture(page: APIRouter, models: ServedModels, quick: Workers) -> None:
    """Add what the models are made of, and their config files."""

    @page.get("/scale")
    async def _scale(
        request: Request,
        names: Annotated[list[Name], Query(alias="models", min_length=1, max_length=2)],
        n_embd: Annotated[list[Width] | None, Query()] = None,
        width: Annotated[int, Query(ge=200, le=4000)] = 1000,
    ) -> Response:
        wanted = [models.find(name) for name in names]
        widths: Sequence[int | None] = n_embd or [None] * len(names)
        if len(widths) != len(names):
            raise Refusal(400, "give n_embd once for each model, or not at all")

        def work(stop: threading.Event) -> dict[str, Any]:
            found = [
                scale(one.name, one.lm.config, n, models.bytes_per_token(one))
                for one, n in zip(wanted, widths, strict=True)
            ]
            return {"models": found, "picture": picture(found, width)}

        return await quick.run(request, work)

    @page.get("/config")
    async def _config(
        request: Request,
        names: Annotated[list[Name], Query(alias="models", min_length=1, max_length=MAX_REPORTED)],
    ) -> Response:
        lms = [models.find(name).lm for name in names]
        return await quick.run(request, lambda stop: configs(lms))


def _add_runs(page: APIRouter, runs: Runs, quick: Workers, slow: Workers) -> None:
    """Add how runs learned, and go on learning."""
    measured = Yardsticks()

    @page.get("/runs")
    async def _runs(request: Request) -> Response:
        return await quick.run(request, lambda stop: runs.listed())

    @page.get("/runs/{name}")
    async def _run(request: Request, name: str, after: After = 0) -> Response:
        return await quick.run(request, lambda stop: curves(runs.find(name), after))

    @page.get("/runs/{name}/samples")
    async def _samples(request: Request, name: str, after: After = 0) -> Response:
        return await quick.run(request, lambda stop: samples(runs.find(name), after))

    @page.get("/runs/{name}/yardsticks")
    async def _yardsticks(request: Request, name: str) -> Response:
        return await slow.run(request, lambda stop: measured.of(runs.find(name).folder))


def _add_report(page: APIRouter, models: ServedModels, quick: Workers) -> None:
    """Add the comparison."""
    reports = Reports()

    @page.post("/report", status_code=202)
    async def _start(asked: ReportRequest) -> dict[str, Any]:
        lms = [models.find(name).lm for name in asked.models]
        return reports.start(lms, asked.text).to_dict()

    @page.get("/report/{name}.{kind}")
    async def _file(request: Request, name: str, kind: Literal["html", "md", "json"]) -> Response:
        report = reports.find(name)
        return await quick.run(request, lambda stop: as_file(report, kind))

    @page.get("/report/{name}")
    async def _state(name: str) -> dict[str, Any]:
        return reports.find(name).to_dict()

    @page.delete("/report/{name}")
    async def _cancel(name: str) -> dict[str, Any]:
        report = reports.find(name)
        report.cancel()
        return report.to_dict()
