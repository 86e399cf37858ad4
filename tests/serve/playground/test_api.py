"""Tests of serve/playground/api.py: the routes as a whole, with whatever is sent to them."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.playground.api import router

POSTS = ("tokens", "next", "surprise")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
fields = ("model", "models", "text", "k", "temperature", "top_k", "top_p", "min_p")
texts = st.text("ab \n", max_size=40)
bodies = st.dictionaries(st.sampled_from(fields), json_values | texts, max_size=5)
near = st.fixed_dictionaries(
    {"model": st.just("tiny"), "text": texts},
    optional={"k": st.integers(-1, 45), "top_k": st.integers(-1, 60), "top_p": st.floats(-1, 2)},
)


@pytest.fixture
def client(model_folder: Path) -> Any:
    return page_client([tinygpt.load(model_folder, engine="torch")])


def test_no_body_makes_it_fail(client: Any) -> None:
    """What nobody expected would be raised here."""

    @given(st.sampled_from(POSTS), bodies | near | json_values)
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def sent(route: str, body: Any) -> None:
        kind = {"content-type": "application/json"}
        answer = client.post(f"/page/{route}", content=json.dumps(body), headers=kind)
        assert answer.status_code in (200, 400, 404)
        if answer.status_code != 200:
            message = answer.json()["error"]["message"]
            assert "\n" not in message
            assert len(message) < 500

    sent()


def test_no_address_makes_it_fail(client: Any) -> None:
    @given(
        st.sampled_from(("models", "scale", "config", "runs", "runs/a", "report/a", "report/a.md")),
        st.dictionaries(
            st.sampled_from(("model", "models", "n_embd", "after")),
            st.text(max_size=9) | st.integers().map(str) | st.just("tiny"),
        ),
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def sent(route: str, query: dict[str, str]) -> None:
        assert client.get(f"/page/{route}", params=query).status_code in (200, 400, 404)

    sent()


def test_an_unknown_field_gets_the_nearest_name(client: Any) -> None:
    body = {"model": "tiny", "text": "a", "temprature": 1}
    answer = client.post("/page/next", json=body)
    assert 'did you mean "temperature"' in answer.json()["error"]["message"]


def test_the_document_of_the_api_leaves_the_page_out(client: Any) -> None:
    assert client.get("/openapi.json").json()["paths"] == {}


def test_every_route_lies_under_page() -> None:
    served = router([], ServeConfig()).routes
    paths = [route.path for route in served if isinstance(route, APIRoute)]
    assert len(paths) == len(served) == 14
    assert all(path.startswith("/page/") for path in paths)
