"""The page: its files from the package, given as they are, and the data behind it."""

import importlib.resources
from collections.abc import Sequence

from fastapi import FastAPI, HTTPException, Response

from tinygpt.serve.config import ServeConfig
from tinygpt.serve.limits import HEADERS
from tinygpt.serve.models import Served
from tinygpt.serve.playground.api import router
from tinygpt.serve.playground.report import with_report

__all__ = ["add_page"]

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""Media types; other files are not given."""

_POLICY = "Content-Security-Policy"


def add_page(app: FastAPI, models: Sequence[Served], config: ServeConfig) -> None:
    """Add the page and its routes. Its files are read once: no path is ever looked up."""
    folder = importlib.resources.files("tinygpt.serve.playground") / "static"
    files = {
        file.name: (file.read_bytes(), _KINDS[suffix])
        for file in folder.iterdir()
        for suffix in [f".{file.name.rpartition('.')[2]}"]
        if suffix in _KINDS
    }
    policy = with_report(HEADERS[_POLICY])  # which the page shows in a frame of its own

    def given(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        data, kind = files[name]
        return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        page = given("index.html")
        page.headers[_POLICY] = policy
        return page

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(name: str) -> Response:
        return given(name)

    app.include_router(router(models, config))
