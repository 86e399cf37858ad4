"""The OpenAPI document against the application: whatever is sent, the answer is what it says."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.serve.live import KEY, App, in_process, small_model

from tinygpt.model.gpt import GPT

ROUTES = [
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
]

# A document can't say that a prompt fits the context, or that an id is in the vocabulary.
UNSAID = [positive_data_acceptance]


@pytest.fixture(scope="module")
def locked(make_gpt: Callable[..., GPT]) -> Iterator[App]:
    bounds = {"max_tokens": 40, "allow_host": ("testserver",)}
    with in_process(small_model(make_gpt), key=KEY, **bounds) as app:
        yield app


@pytest.fixture(scope="module")
def schema(locked: App) -> Any:
    headers = {"Authorization": f"Bearer {KEY}"}
    return schemathesis.openapi.from_asgi("/openapi.json", locked.app, headers=headers)


def test_the_routes_are_all_that_is_documented(schema: Any) -> None:
    found = {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()}
    assert found == set(ROUTES)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [*schemathesis.GenerationMode], ids=lambda mode: mode.name)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_is_as_documented(
    schema: Any, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    """Right fields and wrong ones: no 5xx, and status, headers and body as the document says."""
    operation = schema[path][method]
    if mode is schemathesis.GenerationMode.NEGATIVE and not (
        operation.body or operation.path_parameters
    ):
        pytest.skip("the route takes nothing that could be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=60 if operation.body else 15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=UNSAID)

    ask()
