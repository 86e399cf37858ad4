"""The routes behind the page alone, for tests: without a batcher, a port, or the server's walls."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException

from tinygpt.errors import TinyGPTError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.errors import answer_http, answer_tinygpt, answer_validation
from tinygpt.serve.models import Served
from tinygpt.serve.playground.api import router

N_SLOTS = 3


def page_client(models: Sequence[LanguageModel], runs: Path | str = "no-such-folder") -> TestClient:
    """Return a client that gets refusals as the server gives them; other errors are raised."""
    app = FastAPI()
    batcher: Any = SimpleNamespace(n_slots=N_SLOTS)
    served = [Served(name=Path(lm.name).name, lm=lm, batcher=batcher) for lm in models]
    app.include_router(router(served, ServeConfig(runs=str(runs))))

    for kind, handler in (
        (HTTPException, answer_http),
        (TinyGPTError, answer_tinygpt),
        (RequestValidationError, answer_validation),
    ):
        app.add_exception_handler(kind, handler)
    return TestClient(app)
