"""The routes, asked in this process: what they answer, and what they refuse."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serve.live import App, in_process, small_model

from tinygpt.model.gpt import GPT
from tinygpt.serve import ServeConfig
from tinygpt.serve.app import create_app
from tinygpt.serve.models import serve_model


@pytest.fixture(scope="module")
def small(make_gpt: Callable[..., GPT]) -> Iterator[App]:
    with in_process(small_model(make_gpt), slots=4) as app:
        yield app


def test_starting_waits_for_no_torch_and_nothing_that_draws() -> None:
    heavy = {"torch", "rich", "jinja2", "xml.etree.ElementTree"}
    code = f"import tinygpt.serve.app, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def complete(small: App, **fields: Any) -> dict[str, Any]:
    answer = small.client.post("/v1/completions", json={"temperature": 0, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(small: App, path: str = "/v1/completions", **fields: Any) -> tuple[int, dict[str, Any]]:
    answer = small.client.post(path, json=fields)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return answer.status_code, error


def events(text: str) -> list[Any]:
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_a_completion_is_what_sample_writes(small: App) -> None:
    body = complete(small, prompt="Once", max_tokens=9)
    assert body["object"] == "text_completion"
    assert body["model"] == "tiny"
    assert body["id"].startswith("cmpl-")
    text = small.lm.generate("Once", temperature=0, max_new_tokens=9)
    assert body["choices"] == [
        {"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}
    ]
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}


def test_a_seed_and_n_give_the_samples_of_sample(small: App) -> None:
    settings = {"temperature": 0.9, "top_k": 50, "top_p": 0.9, "min_p": 0.01}
    body = complete(small, prompt="Once", max_tokens=6, n=3, seed=7, **settings)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    for i, choice in enumerate(body["choices"]):
        text = small.lm.generate("Once", seed=7, sample_index=i, max_new_tokens=6, **settings)
        assert choice["text"] == text
    assert body["usage"]["prompt_tokens"] == 4  # each prompt counts once


def test_without_a_seed_texts_differ(small: App) -> None:
    texts = {complete(small, temperature=2, max_tokens=30)["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 3


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("ab", ["ab"]),
        (["ab", "c"], ["ab", "c"]),
        ([97, 98], ["ab"]),
        ([[97, 98], [99]], ["ab", "c"]),
    ],
)
def test_four_kinds_of_prompt(small: App, prompt: Any, texts: list[str]) -> None:
    body = complete(small, prompt=prompt, max_tokens=5, echo=True)
    expected = [text + small.lm.generate(text, temperature=0, max_new_tokens=5) for text in texts]
    assert [choice["text"] for choice in body["choices"]] == expected


def test_an_empty_prompt_starts_a_new_text(small: App) -> None:
    text = small.lm.generate("", temperature=0, max_new_tokens=5)
    assert complete(small, max_tokens=5)["choices"][0]["text"] == text
    assert complete(small, prompt="", max_tokens=5)["choices"][0]["text"] == text


def test_null_is_as_good_as_left_out(small: App) -> None:
    names = "max_tokens n stop seed logprobs echo user suffix best_of logit_bias top_p top_k"
    body = complete(small, prompt="a", **dict.fromkeys(names.split()))
    assert body["usage"]["completion_tokens"] == 16  # OpenAI's max_tokens


def test_stop_is_no_part_of_the_text(small: App) -> None:
    whole = complete(small, prompt="Once", max_tokens=20, temperature=1, seed=3)
    text = whole["choices"][0]["text"]
    for stop in (text[4:6], [text[4:6], "never there"]):
        body = complete(small, prompt="Once", max_tokens=20, temperature=1, seed=3, stop=stop)
        assert body["choices"][0]["text"] == text[: text.index(text[4:6])]
        assert body["choices"][0]["finish_reason"] == "stop"


def test_penalties_change_the_text(small: App) -> None:
    plain = complete(small, prompt="ab", max_tokens=30)["choices"][0]["text"]
    for name, value in (
        ("presence_penalty", 2),
        ("frequency_penalty", 2),
        ("repetition_penalty", 5),
    ):
        changed = complete(small, prompt="ab", max_tokens=30, **{name: value})
        assert changed["choices"][0]["text"] != plain, name


def test_logprobs_have_the_legacy_shape(small: App) -> None:
    choice = complete(small, prompt="é!", max_tokens=4, logprobs=2, echo=True)["choices"][0]
    found = choice["logprobs"]
    assert {len(values) for values in found.values()} == {3 + 4}
    assert found["tokens"][:3] == ["\\xc3", "\\xa9", "!"]
    assert found["text_offset"][:4] == [0, 0, 1, 2]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    for token, logprob, top in list(
        zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True)
    )[1:]:
        assert top[token] == logprob
        assert 2 <= len(top) <= 3
        assert max(top.values()) == next(iter(top.values()))
    assert found["token_logprobs"][3:] == [max(top.values()) for top in found["top_logprobs"][3:]]
    alone = complete(small, prompt="é!", max_tokens=4, logprobs=0)["choices"][0]["logprobs"]
    assert alone["token_logprobs"] == pytest.approx(found["token_logprobs"][3:], abs=1e-6)
    assert [list(top) for top in alone["top_logprobs"]] == [[t] for t in alone["tokens"]]


def test_scoring_equals_evaluate(small: App) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    choice = complete(small, prompt=text, max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == text
    assert choice["finish_reason"] == "length"
    nats = -math.fsum(choice["logprobs"]["token_logprobs"][1:])
    # The same window: the first token is context, all others are scored.
    expected = small.lm.evaluate(text[1:], prefix=text[0]).total_nats
    assert nats == pytest.approx(expected, rel=1e-5)


def test_a_stream_is_the_whole_in_pieces(small: App) -> None:
    fields = {"prompt": ["Once", "é"], "max_tokens": 12, "n": 2, "seed": 5, "temperature": 1.0}
    fields |= {"logprobs": 1, "echo": True}
    whole = complete(small, **fields)
    answer = small.client.post("/v1/completions", json={**fields, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = events(answer.text)
    assert len({event["id"] for event in found}) == 1
    assert all(event["usage"] is None for event in found)
    for choice in whole["choices"]:
        mine = [e["choices"][0] for e in found if e["choices"][0]["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in mine) == choice["text"]
        assert [piece["finish_reason"] for piece in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        tokens = [t for piece in mine for t in piece["logprobs"]["tokens"]]
        assert tokens == choice["logprobs"]["tokens"]
        offsets = [t for piece in mine for t in piece["logprobs"]["text_offset"]]
        assert offsets == choice["logprobs"]["text_offset"]


def test_an_event_is_one_line_for_every_client(small: App) -> None:
    prompt = "a\u2028b\u2029c\x85d\ne\rf\x1cg\x0b"
    fields = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 0, "stream": True}
    answer = small.client.post("/v1/completions", json=fields)
    assert all(line.startswith("data: ") for line in answer.text.splitlines() if line)
    found = events(answer.text)
    assert "".join(event["choices"][0]["text"] for event in found) == prompt


def test_a_stream_ends_with_its_usage_where_asked(small: App) -> None:
    fields = {"prompt": "ab", "max_tokens": 3, "stream": True}
    answer = small.client.post(
        "/v1/completions", json={**fields, "stream_options": {"include_usage": True}}
    )
    last = events(answer.text)[-1]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_a_prompt_past_the_context_is_refused_or_cut_visibly(small: App) -> None:
    for prompt in ("a" * 65, [97] * 65):
        status, error = refused(small, prompt=prompt)
        assert status == 400
        assert error["code"] == "context_length_exceeded"
        assert "65" in error["message"]
        body = complete(small, prompt=prompt, truncate_prompt=True, max_tokens=1)
        assert body["usage"]["prompt_tokens"] == 64


def test_a_text_goes_on_past_the_window(small: App) -> None:
    body = complete(small, prompt="abc", max_tokens=150)
    assert body["usage"]["completion_tokens"] == 150
    expected = small.lm.generate("abc", temperature=0, max_new_tokens=150)
    assert body["choices"][0]["text"] == expected


def test_the_models_own_settings_are_the_default(small: App) -> None:
    expected = small.lm.generate("Once", seed=3, max_new_tokens=8)  # temperature 0.8
    answer = small.client.post("/v1/completions", json={"prompt": "Once", "seed": 3, "n": 1})
    assert answer.json()["choices"][0]["text"].startswith(expected)


def test_an_unknown_field_names_the_nearest(small: App) -> None:
    status, error = refused(small, prompt="a", max_token=3)
    assert (status, error["param"]) == (400, "max_token")
    assert 'did you mean "max_tokens"?' in error["message"]


@pytest.mark.parametrize(
    ("name", "value"), [("suffix", "x"), ("best_of", 2), ("logit_bias", {"5": 1})]
)
def test_what_is_not_offered_is_refused_by_name(small: App, name: str, value: Any) -> None:
    status, error = refused(small, prompt="a", **{name: value})
    assert (status, error["param"]) == (400, name)
    assert "does not offer" in error["message"]
    complete(small, prompt="a", best_of=1)


def test_ids_outside_the_vocabulary_are_refused(small: App) -> None:
    status, error = refused(small, prompt=[1, 256])
    assert status == 400
    assert "256" in error["message"]


def test_more_texts_than_may_wait_are_refused_for_good(make_gpt: Callable[..., GPT]) -> None:
    with in_process(small_model(make_gpt), max_waiting_per_client=7) as app:
        status, error = refused(app, prompt=["a", "b"], n=4)
        assert status == 400
        assert "8 texts" in error["message"]


def test_the_servers_own_bound_of_max_tokens(make_gpt: Callable[..., GPT]) -> None:
    with in_process(small_model(make_gpt), max_tokens=5) as app:
        status, error = refused(app, prompt="a", max_tokens=6)
        assert (status, error["param"]) == (400, "max_tokens")


def test_a_model_may_be_named(small: App) -> None:
    complete(small, prompt="a", model="tiny")
    status, error = refused(small, prompt="a", model="huge")
    assert (status, error["code"]) == (404, "model_not_found")
    assert "tiny" in error["message"]


def test_of_several_models_one_must_be_named(make_gpt: Callable[..., GPT]) -> None:
    config = ServeConfig()
    lms = [replace(small_model(make_gpt), name=name) for name in ("one", "two/b")]
    models = [serve_model(lm, config) for lm in lms]
    client = TestClient(create_app(models, config), base_url="http://127.0.0.1")
    for path in ("/v1/completions", "/tokenize"):
        answer = client.post(path, json={"prompt": "a"})
        assert answer.status_code == 400
        assert "one of one, two/b" in answer.json()["error"]["message"]
        for name in ("one", "two/b"):
            assert client.post(path, json={"prompt": "a", "model": name}).status_code == 200
    assert client.get("/v1/models/two/b").json()["id"] == "two/b"
    for one in models:
        one.batcher.close(1)


def test_models_are_listed(small: App) -> None:
    (model,) = small.client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["max_model_len"]) == ("tiny", "model", 64)
    assert small.client.get("/v1/models/tiny").json() == model
    assert small.client.get("/v1/models/a/b").status_code == 404


def test_tokens_and_back(small: App) -> None:
    for name in ("prompt", "content"):
        body = small.client.post("/tokenize", json={name: "hé"}).json()
        assert body == {"tokens": [104, 195, 169], "count": 3, "max_model_len": 64}
    body = small.client.post("/detokenize", json={"tokens": [104, 195, 169]}).json()
    assert body == {"prompt": "hé", "content": "hé"}
    assert refused(small, "/tokenize")[0] == 400
    assert refused(small, "/tokenize", prompt="a", content="b")[0] == 400
    assert refused(small, "/detokenize", tokens=[256])[0] == 400


def test_chat_is_refused_clearly(small: App) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    status, error = refused(small, "/v1/chat/completions", model="tiny", messages=messages)
    assert (status, error["code"]) == (400, "chat_not_supported")
    assert "/v1/completions" in error["message"]


def test_health_and_its_end(make_gpt: Callable[..., GPT]) -> None:
    with in_process(small_model(make_gpt)) as app:
        assert app.client.get("/health").json() == {"status": "ok"}
        app.app.state.draining = True
        answer = app.client.get("/health")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"


def test_the_page_and_its_files(small: App) -> None:
    index = small.client.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert "<html" in index.text
    assert small.client.get("/static/page.css").headers["content-type"].startswith("text/css")
    assert small.client.get("/page/models").json()["models"][0]["name"] == "tiny"


def test_the_document_lists_what_is_answered(small: App) -> None:
    document = small.client.get("/openapi.json").json()
    assert {path for path in document["paths"] if path.startswith("/page")} == set()
    answers = document["paths"]["/v1/completions"]["post"]["responses"]
    assert set(answers) == {
        *("200", "400", "401", "403", "404", "408", "413"),
        *("415", "421", "429", "431", "500", "503", "504"),
    }
    for status, answer in answers.items():
        if status != "200":
            schema = answer["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorBody"}
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
    fields = document["components"]["schemas"]["CompletionRequest"]
    assert fields["additionalProperties"] is False
    assert all("description" in field for field in fields["properties"].values())
    assert "422" not in json.dumps(document)
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert next(iter(chat["responses"])) == "400"
