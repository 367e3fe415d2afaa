"""Ten thousand mixed requests: what /metrics counts is what the clients saw."""

import collections
import itertools
import json
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from world.client import Client, ask
from world.requests import chat, request
from world.waiting import PATIENCE_S, eventually

THREADS = 8
REQUESTS = 10_000
JSON = b"Content-Type: application/json\r\n"
PAGE = b"GET /metrics HTTP/1.1\r\nHost: proxy\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
ANSWER = json.dumps({"object": "x", "usage": USAGE}).encode()
STREAM = (
    b'data: {"choices":[]}\n\ndata: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n'
    % json.dumps(USAGE).encode()
)


def body(model, **members):
    return json.dumps({"model": model, "messages": [], **members}).encode()


REUSED = [
    # endpoint, what is sent, status, outcome
    ("chat/completions", chat(), 200, "complete"),
    ("chat/completions", chat(body("streamed", stream=True)), 200, "complete"),
    ("embeddings", request(b"POST", b"/v1/embeddings", b'{"model":"e","input":"x"}', JSON), 200, "complete"),
    ("models", request(), 200, "complete"),
    ("chat/completions", chat(body("error-500")), 500, "complete"),
    ("chat/completions", chat(body("error-429")), 429, "complete"),
    ("chat/completions", chat(b"{no json"), 400, "rejected"),
    ("chat/completions", chat(b'{"model":"m"}'), 400, "rejected"),
    ("other", request(target=b"/nowhere"), 404, "rejected"),
    ("completions", request(target=b"/v1/completions"), 405, "rejected"),
    ("files/{id}/content", request(target=b"/files/file-abc/content"), 200, "complete"),
]
ALONE = [
    ("chat/completions", chat(body("breaks")), 200, "upstream_truncated"),
    ("chat/completions", chat(body("refused-before")), 502, "upstream_error"),
    (
        "models",
        request(target=b"/v1/models", headers=b"X: y\r\n").replace(b"Authorization", b"X-Other"),
        401,
        "rejected",
    ),
    ("chat/completions", None, 0, "client_gone"),
]
"""Each on a connection of its own, one in 25; the last one hangs until its client leaves."""
HANGING = {}
"""The events that tell the clients of those which hang that the upstream has their request."""


def upstream(call):
    sent = call.read_body()
    model = json.loads(sent).get("model", "") if sent else ""
    if model == "streamed":
        call.start_stream()
        call.chunk(STREAM)
        call.end_stream()
    elif model.startswith("error-"):
        call.reply(b'{"error":{}}', status=model[6:].encode() + b" Error")
    elif model == "breaks":
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        call.reset()
    elif model == "refused-before":
        call.finish()
    elif model == "hangs":
        HANGING[json.loads(sent)["user"]].set()
        call.seconds_until_gone(20)
        call.finish()
    else:
        call.reply(ANSWER, [(b"Content-Type", b"application/json")])


class Seen:
    """What the clients of one thread saw."""

    def __init__(self):
        self.requests = collections.Counter()
        self.tokens = collections.Counter()
        self.failures = []

    def run(self, port, numbers):
        try:
            self._run(port, numbers)
        except BaseException as error:
            self.failures.append(error)

    def _run(self, port, numbers):
        client = Client(port)
        for number in numbers:
            if number % 25 == 0:
                self._alone(port, number, ALONE[number // 25 % len(ALONE)])
            else:
                endpoint, data, status, outcome = REUSED[number % len(REUSED)]
                client.send(data)
                response = client.response()
                assert (response.status, response.whole) == (status, True), (number, data, response)
                self._count(endpoint, status, outcome, response.body)
                if response.header(b"connection") == b"close":
                    client.close()
                    client = Client(port)
        client.close()

    def _alone(self, port, number, case):
        endpoint, data, status, outcome = case
        with Client(port) as client:
            if outcome == "client_gone":
                arrived = HANGING[str(number)] = threading.Event()
                client.send(chat(body("hangs", user=str(number))))
                assert arrived.wait(PATIENCE_S)
                client.sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.sock.recv(1)
            else:
                client.send(data)
                response = client.response()
                assert response.status == status, (data, response)
                assert response.whole is (outcome != "upstream_truncated"), response
        self._count(endpoint, status, outcome, b"")

    def _count(self, endpoint, status, outcome, answer):
        self.requests[endpoint, str(status), outcome] += 1
        if b'"usage"' in answer and endpoint in ("chat/completions", "embeddings"):
            self.tokens["input"] += 7
            self.tokens["output"] += 2


def samples(page, parse, name):
    """Return the samples of one name as {labels: value}."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in parse(page.decode())
        for sample in family.samples
        if sample.name == name
    }


def by(found, *labels):
    """Return the sums of samples over all labels but these."""
    sums = collections.Counter()
    for key, value in found.items():
        sums[tuple(dict(key)[label] for label in labels)] += value
    return sums


@pytest.mark.slow
def test_counts_are_what_clients_saw(start):
    """Every exchange is counted once, as what it was; both formats of the page parse."""
    world = start(options=("-o", "none"))
    world.upstream.begin(upstream)
    seen = [Seen() for _ in range(THREADS)]
    threads = [
        threading.Thread(target=each.run, args=(world.port, range(first, REQUESTS, THREADS)))
        for first, each in enumerate(seen)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(itertools.chain.from_iterable(each.failures for each in seen)) == []
    requests = sum((each.requests for each in seen), collections.Counter())
    tokens = sum((each.tokens for each in seen), collections.Counter())
    assert requests.total() == REQUESTS

    def page(accept=b""):
        response = ask(world.port, PAGE + accept + b"\r\n")
        assert response.status == 200
        return response.body

    def counted(text, parse):
        found = samples(text, parse, "openai_proxy_requests_total")
        return by(found, "endpoint", "status", "outcome")

    # the last clients to leave are noticed a moment later
    assert eventually(lambda: counted(page(), plain_text).total() >= REQUESTS)
    for accept, parse in (
        (b"", plain_text),
        (b"Accept: application/openmetrics-text; version=1.0.0\r\n", openmetrics),
    ):
        text = page(accept)
        assert counted(text, parse) == requests
        spent = by(samples(text, parse, "openai_proxy_tokens_total"), "kind")
        assert {kind: spent[kind,] for kind in ("input", "output")} == tokens
        assert samples(text, parse, "openai_proxy_request_duration_seconds_count")[()] == REQUESTS
        gone = sum(count for (_, _, outcome), count in requests.items() if outcome == "client_gone")
        assert samples(text, parse, "openai_proxy_client_disconnects_total")[()] == gone
        assert samples(text, parse, "openai_proxy_in_flight_requests")[()] == 0
