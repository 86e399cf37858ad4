"""The application: its routes, what stands before them, and the page.

`create_app` puts it together from models that are open; server.py runs it. Everything that takes
long happens in threads: text is written by the batchers, tokenized in a pool.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tinygpt.errors import TinyGPTError
from tinygpt.serve.batching.jobs import Refused
from tinygpt.serve.completions import prepare
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.errors import Refusal, answer_http, answer_tinygpt, answer_validation, responses
from tinygpt.serve.limits import Limits
from tinygpt.serve.metrics import CONTENT_TYPE, Metrics
from tinygpt.serve.models import Served, find
from tinygpt.serve.openapi import make_true
from tinygpt.serve.playground.files import add_page
from tinygpt.serve.requests import CompletionRequest, DetokenizeRequest, TokenizeRequest
from tinygpt.serve.responses import Completion, Detokenized, Health, Model, Models, Tokenized
from tinygpt.serve.streams import Gone, Running, events, whole
from tinygpt.version import __version__

__all__ = ["create_app"]

_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "string",
            "description": "A Completion as JSON, an ErrorBody where it fails, [DONE] at the end",
        }
    },
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The whole answer, or with stream: true each piece of it as an event",
        "content": {"text/event-stream": {"itemSchema": _EVENT}},
    }
}

_NO_CHAT = (
    "the models are base models without a chat template: they continue a text. Send the text as "
    "prompt to POST /v1/completions"
)


def create_app(
    models: Sequence[Served], config: ServeConfig, metrics: Metrics | None = None
) -> FastAPI:
    """Return the application that serves some models.

    Args:
        models: open, each with its batcher.
        metrics: what watches the batchers; None shows what can be seen without.
    """
    counted = metrics or Metrics()
    app = FastAPI(
        title="tinygpt",
        version=__version__,
        description="OpenAI's completions protocol for base models, and a little beside it.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        # It would hand what users ask to OpenTelemetry where the environment says so.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.draining = False
    app.add_middleware(Limits, config=config, reject=counted.reject)
    _add_refusals(app, counted)
    by_name = {one.name: one for one in models}
    _add_figures(app, by_name, counted)
    _add_completions(app, by_name, config)
    _add_tokens(app, by_name)
    add_page(app, models, config)
    make_true(app, config)
    return app


def _add_refusals(app: FastAPI, metrics: Metrics) -> None:
    """Answer every kind of error with OpenAI's body."""

    async def counted(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, Refused):
            metrics.reject(type(error).__name__.lower())
        return await answer_tinygpt(request, error)

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody is there to read it

    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, answer_validation)
    app.add_exception_handler(TinyGPTError, counted)
    app.add_exception_handler(Gone, gone)


def _add_figures(app: FastAPI, models: Mapping[str, Served], metrics: Metrics) -> None:
    """Add what tells about the server and its models."""
    created = int(time.time())

    def about(one: Served) -> Model:
        return Model(id=one.name, created=created, max_model_len=one.lm.config.n_positions)

    @app.get("/health", responses=responses(503))
    async def health() -> Health:
        """Say whether the server takes requests. Needs no key."""
        if app.state.draining:
            raise Refusal(503, "the server is about to end", headers={"Retry-After": "5"})
        return Health()

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=responses(),
    )
    async def figures() -> Response:
        """Give the server's figures in Prometheus' text format."""
        return Response(metrics.text(list(models.values())), media_type=CONTENT_TYPE)

    @app.get("/v1/models", responses=responses())
    async def list_models() -> Models:
        """List the models that are served."""
        return Models(data=[about(one) for one in models.values()])

    @app.get("/v1/models/{name:path}", responses=responses(404))
    async def get_model(name: str) -> Model:
        """Describe a model that is served."""
        return about(find(models, name))


def _add_completions(app: FastAPI, models: Mapping[str, Served], config: ServeConfig) -> None:
    """Add the routes that write."""

    @app.post(
        "/v1/completions",
        response_model=Completion,
        responses=_STREAM | responses(400, 403, 404, 408, 413, 415, 429, 500, 503, 504),
    )
    async def completions(request: Request, asked: CompletionRequest) -> Response:
        """Continue a prompt, or score it (echo, logprobs and max_tokens: 0)."""
        served = find(models, asked.model)
        client = request.client.host if request.client else ""
        prepared = await run_in_threadpool(prepare, asked, served, config, client)
        running = Running(prepared, request.receive)
        if asked.stream:
            unbuffered = {"X-Accel-Buffering": "no"}
            return StreamingResponse(
                events(running), media_type="text/event-stream", headers=unbuffered
            )
        answer = await whole(running)
        return Response(answer.model_dump_json(), media_type="application/json")

    @app.post(
        "/v1/chat/completions",
        response_class=JSONResponse,
        status_code=400,
        responses=responses(400, 403, 408, 413, 415),
    )
    async def chat() -> Response:
        """Refuse: a base model has no chat template."""
        raise Refusal(400, _NO_CHAT, code="chat_not_supported")


def _add_tokens(app: FastAPI, models: Mapping[str, Served]) -> None:
    """Add the way from text to ids and back."""
    refused = responses(400, 403, 404, 408, 413, 415)

    @app.post("/tokenize", responses=refused)
    async def tokenize(asked: TokenizeRequest) -> Tokenized:
        """Give the ids of a text."""
        lm = find(models, asked.model).lm
        ids = (await run_in_threadpool(lm.tokenizer.encode, asked.text())).tolist()
        return Tokenized(tokens=ids, count=len(ids), max_model_len=lm.config.n_positions)

    @app.post("/detokenize", responses=refused)
    async def detokenize(asked: DetokenizeRequest) -> Detokenized:
        """Give the text of ids."""
        lm = find(models, asked.model).lm
        text = await run_in_threadpool(lm.tokenizer.decode, asked.tokens)
        return Detokenized(prompt=text, content=text)
