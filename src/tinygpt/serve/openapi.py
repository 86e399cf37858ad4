"""The OpenAPI document, where FastAPI's own would not be true of this server."""

from typing import Any

from fastapi import FastAPI

from tinygpt.serve.config import ServeConfig
from tinygpt.serve.limits import is_open

__all__ = ["make_true"]


def make_true(app: FastAPI, config: ServeConfig) -> None:
    """Let an application's document say how it answers a wrong body, and where it wants a key."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            _drop_422(document)
            if config.key is not None:
                _name_key(document)
        return made()  # which keeps it

    app.openapi = openapi  # type: ignore[method-assign]


def _drop_422(document: dict[str, Any]) -> None:
    """Take out what FastAPI adds by itself: what is wrong with a body is answered 400."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _name_key(document: dict[str, Any]) -> None:
    """Say which routes want the key."""
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if is_open(path) else [{"key": []}]
