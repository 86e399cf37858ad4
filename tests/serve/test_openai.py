"""The official openai client against every route, over a socket; and the document's example."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.serve.live import KEY, Live, on_socket, small_model, until

from tinygpt.model.gpt import GPT

DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def live(make_gpt: Callable[..., GPT]) -> Iterator[Live]:
    with on_socket(small_model(make_gpt), slots=4, key=KEY) as one:
        yield one


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=KEY, max_retries=0) as one:
        yield one


def test_a_completion(live: Live, client: openai.OpenAI) -> None:
    found = client.completions.create(model="tiny", prompt="Once", max_tokens=8, temperature=0)
    text = live.served.lm.generate("Once", temperature=0, max_new_tokens=8)
    assert found.choices[0].text == text
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (4, 8)


def test_every_field(live: Live, client: openai.OpenAI) -> None:
    found = client.completions.create(
        model="tiny",
        prompt=["ab", "c"],
        max_tokens=6,
        temperature=0.7,
        top_p=0.9,
        n=2,
        seed=3,
        stop=["never there"],
        logprobs=2,
        echo=True,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        best_of=1,
        user="someone",
        extra_body={"top_k": 40, "min_p": 0.01, "repetition_penalty": 1.1, "truncate_prompt": True},
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert [choice.text[:1] for choice in found.choices] == ["a", "a", "c", "c"]
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.tokens[:2] == ["a", "b"]
    assert logprobs.text_offset == sorted(logprobs.text_offset or [])


def test_ids_as_prompts(client: openai.OpenAI) -> None:
    for prompt in ([97, 98], [[97, 98], [99]]):
        found = client.completions.create(model="tiny", prompt=prompt, max_tokens=0, echo=True)
        assert found.choices[0].text == "ab"


def test_a_stream(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"model": "tiny", "prompt": "Once", "max_tokens": 12, "seed": 4}
    whole = client.completions.create(**settings)
    with client.completions.create(
        **settings, stream=True, stream_options={"include_usage": True}
    ) as stream:
        pieces = list(stream)
    assert "".join(piece.choices[0].text for piece in pieces[:-1]) == whole.choices[0].text
    assert pieces[-2].choices[0].finish_reason == "length"
    assert pieces[-1].choices == []
    assert pieces[-1].usage == whole.usage
    assert all(piece.usage is None for piece in pieces[:-1])


def test_a_stream_that_is_closed_frees_its_slot(live: Live, client: openai.OpenAI) -> None:
    with client.completions.create(
        model="tiny", prompt="a", max_tokens=2000, stream=True
    ) as stream:
        next(iter(stream))
    assert until(lambda: live.served.batcher.slots_in_use == 0, 2)


def test_scoring(live: Live, client: openai.OpenAI) -> None:
    text = "To be, or not to be"
    found = client.completions.create(
        model="tiny", prompt=text, max_tokens=0, echo=True, logprobs=0
    )
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    nats = -sum(logprobs.token_logprobs[1:])
    assert nats == pytest.approx(
        live.served.lm.evaluate(text[1:], prefix=text[0]).total_nats, rel=1e-5
    )


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "tinygpt"
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.models.retrieve("huge")


def test_chat_is_a_clear_400(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="without a chat template"):
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}]
        )


def test_routes_beside_openais(live: Live, client: openai.OpenAI) -> None:
    url = live.url
    found = client.post(f"{url}/tokenize", body={"prompt": "hé"}, cast_to=object)
    assert found == {"tokens": [104, 195, 169], "count": 3, "max_model_len": 64}
    back = client.post(f"{url}/detokenize", body={"tokens": [104, 195, 169]}, cast_to=object)
    assert back == {"prompt": "hé", "content": "hé"}
    assert client.get(f"{url}/health", cast_to=object) == {"status": "ok"}
    figures = client.get(f"{url}/metrics", cast_to=str)
    assert 'tinygpt_model_info{model_name="tiny"' in figures


def test_errors_are_the_clients_own(live: Live, client: openai.OpenAI) -> None:
    create = client.completions.create
    with pytest.raises(openai.BadRequestError) as told:
        create(model="tiny", prompt="a", temperature=9)
    assert (told.value.param, told.value.type) == ("temperature", "invalid_request_error")
    assert "temperature=9" in told.value.message
    with pytest.raises(openai.BadRequestError, match="suffix"):
        create(model="tiny", prompt="a", suffix="z")
    with pytest.raises(openai.BadRequestError, match="n_positions is 64"):
        create(model="tiny", prompt="a" * 99)
    with pytest.raises(openai.NotFoundError):
        create(model="huge", prompt="a")
    stranger = client.with_options(api_key="not the key at all")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_retry_after_is_honoured(make_gpt: Callable[..., GPT]) -> None:
    bounds: dict[str, Any] = {"slots": 1, "max_waiting": 1, "max_waiting_per_client": 1}
    with (
        on_socket(small_model(make_gpt, step_s=0.005), **bounds) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client,
    ):
        create = client.completions.create
        with create(model="tiny", prompt="a", max_tokens=2000, stream=True):
            assert until(lambda: live.served.batcher.running == 1)
            with create(model="tiny", prompt="a", max_tokens=2000, stream=True):
                assert until(lambda: live.served.batcher.waiting == 1)
                with pytest.raises(openai.RateLimitError) as told:
                    create(model="tiny", prompt="a")
                assert int(told.value.response.headers["retry-after"]) >= 1
                with pytest.raises(openai.InternalServerError) as full:
                    create(model="tiny", prompt="a", user="another")
                assert full.value.status_code == 503


def test_a_failing_model_ends_the_stream_with_an_error(make_gpt: Callable[..., GPT]) -> None:
    lm = small_model(make_gpt)
    made = lm.engine.session

    def session(n_slots: int = 1) -> Any:
        failing = made(n_slots)

        def step(slots: Any, ids: Any) -> None:
            raise RuntimeError("/secret/place")

        failing.step = step
        return failing

    lm.engine.session = session  # type: ignore[method-assign]
    with (
        on_socket(lm) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client,
    ):
        with (
            client.completions.create(model="tiny", prompt="a", stream=True) as stream,
            pytest.raises(openai.APIError) as told,
        ):
            list(stream)
        assert "secret" not in str(told.value)
        with pytest.raises(openai.InternalServerError) as whole:
            client.completions.create(model="tiny", prompt="a")
        assert "secret" not in str(whole.value)


def test_the_example_of_the_document_runs(
    make_gpt: Callable[..., GPT],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 1
    lm = small_model(make_gpt)
    with on_socket(lm) as live:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{live.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(compile(blocks[0], str(DOCUMENT), "exec"), {})
    assert "bits per token" in capsys.readouterr().out
