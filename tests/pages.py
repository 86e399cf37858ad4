"""The routes behind the page alone, for tests: without a batcher, a port, or the server's walls."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from tinygpt.errors import TinyGPTError
from tinygpt.language_model import LanguageModel
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.page_api import router
from tinygpt.serve.served import Served

N_SLOTS = 3


def page_client(models: Sequence[LanguageModel], runs: Path | str = "no-such-folder") -> TestClient:
    """Return a client; a TinyGPTError is answered 400, any other error is raised."""
    app = FastAPI()
    batcher: Any = SimpleNamespace(n_slots=N_SLOTS)
    served = [Served(name=lm.name, lm=lm, batcher=batcher) for lm in models]
    app.include_router(router(served, ServeConfig(runs=str(runs))))

    @app.exception_handler(TinyGPTError)
    def _refused(request: Request, error: TinyGPTError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": error.errors()[0]["msg"]}, 422)

    return TestClient(app)
