"""The figures as Prometheus reads them."""

import re
from collections.abc import Callable

from tests.serve.live import in_process, small_model
from tests.serve.serving import job_of

from tinygpt.model.gpt import GPT
from tinygpt.serve.metrics import CONTENT_TYPE, Metrics

NAMES = {
    *("num_requests_running", "num_requests_waiting", "slots_in_use", "model_info"),
    *("time_to_first_token_seconds", "inter_token_latency_seconds"),
    *("e2e_request_latency_seconds", "request_queue_time_seconds"),
    *("prompt_tokens_total", "generation_tokens_total", "request_success_total"),
    *("requests_rejected_total", "requests_cancelled_total", "requests_failed_total"),
}
LINE = re.compile(r'tinygpt_([a-z0-9_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')


def test_every_figure_is_there_and_counts(make_gpt: Callable[..., GPT]) -> None:
    with in_process(small_model(make_gpt)) as app:
        app.client.post("/v1/completions", json={"prompt": "abc", "max_tokens": 5, "n": 2})
        app.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 0})
        answer = app.client.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    lines = answer.text.splitlines()
    assert {line.split()[2].removeprefix("tinygpt_") for line in lines if "# TYPE" in line} == NAMES
    figures = {}
    for line in lines:
        if not line.startswith("#"):
            found = LINE.fullmatch(line)
            assert found, line
            figures[found[1], found[2]] = float(found[3])
    tiny = 'model_name="tiny"'
    assert figures["generation_tokens_total", tiny] == 10
    assert figures["prompt_tokens_total", tiny] == 2 * 3 + 1
    assert figures["request_success_total", f'{tiny},finished_reason="length"'] == 3
    assert figures["time_to_first_token_seconds_count", tiny] == 2
    assert figures["inter_token_latency_seconds_count", tiny] == 8
    assert figures["request_queue_time_seconds_count", tiny] == 3
    assert figures["e2e_request_latency_seconds_count", tiny] == 3
    assert figures["e2e_request_latency_seconds_sum", tiny] > 0
    assert figures["e2e_request_latency_seconds_bucket", f'{tiny},le="+Inf"'] == 3
    assert figures["num_requests_running", tiny] == 0
    (info,) = [labels for name, labels in figures if name == "model_info"]
    assert 'engine="torch"' in info
    assert 'device="cpu"' in info


def test_buckets_are_cumulative_and_names_are_escaped(make_gpt: Callable[..., GPT]) -> None:
    metrics = Metrics()
    with in_process(small_model(make_gpt)) as app:
        object.__setattr__(app.served, "name", 'a"b\\c\nd')
        seen = metrics.observer(app.served.name)
        for elapsed_s in (0.0005, 0.001, 0.02, 1000.0):
            seen.wrote(job_of([1]), 1, elapsed_s)
        text = metrics.text([app.served])
    counts = re.findall(r'inter_token_latency_seconds_bucket\{.*le="([^"]+)"\} (\d+)', text)
    assert counts[0] == ("0.001", "2")
    assert dict(counts)["0.025"] == "3"
    assert counts[-1] == ("+Inf", "4")
    assert 'model_name="a\\"b\\\\c\\nd"' in text
    assert all(LINE.fullmatch(line) for line in text.splitlines() if line[0] != "#")
