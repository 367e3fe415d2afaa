"""Many clients at once at a daemon with a cache: calls are shared, answers are not mixed up."""

from __future__ import annotations

import json
import random
import threading

import openai
import pytest
from world.client import Client, verdict
from world.load import at_once
from world.pages import samples
from world.requests import cacheable_chat as chat
from world.requests import embed, tenant
from world.scripts import COMPLETION
from world.waiting import PATIENCE_S, eventually

TENANTS = 20
ROUNDS = 6
BATCH = 25
FOLLOWERS = 100


def _event(number):
    return b'data: {"n":%d}\n\n' % number


class Stream:
    """An upstream's stream that continues when a test says so."""

    EVENTS = 5

    def __init__(self):
        self.go_on = threading.Event()
        self.cut = False

    def __call__(self, call):
        call.read_body()
        call.start_stream()
        call.chunk(_event(0))
        assert self.go_on.wait(2 * PATIENCE_S)
        if self.cut:
            call.reset()
            return
        for number in range(1, self.EVENTS):
            call.chunk(_event(number))
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()

    @property
    def whole(self):
        return b"".join(map(_event, range(self.EVENTS))) + b"data: [DONE]\n\n"


@pytest.mark.slow
def test_no_tenant_sees_another_ones_bytes(cached):
    """Twenty tenants ask equal and unequal things, mixed, pipelined: each byte is their own."""

    def ask_much(number):
        key = f"sk-tenant-{number:02d}-same-tail"
        dice = random.Random(number)
        asked, hits = set(), 0
        with Client(cached.port) as client:
            for _ in range(ROUNDS):
                texts = [f"common {dice.randrange(8)}" for _ in range(BATCH)]
                texts[:: BATCH // 2] = [f"{number} {dice.random()}" for _ in texts[:: BATCH // 2]]
                assert client.send(b"".join(embed(text, key) for text in texts))
                for text in texts:
                    response = client.response()
                    document = json.loads(response.body)
                    assert document["for"] == f"Bearer {key}"
                    assert json.loads(document["asked"])["input"] == text
                    asked.add(text)
                    hits += response.header(b"x-cache") == b"hit"
        return len(asked), hits

    questions, hits = zip(*at_once(TENANTS, ask_much, 2 * PATIENCE_S), strict=True)
    assert len(cached.upstream.calls) == sum(questions)
    assert sum(hits) > TENANTS * ROUNDS * BATCH * 0.7


def _follow(cached, streamed, count):
    """Start `count` clients of one stream; return those that have its first event."""
    clients = [Client(cached.port) for _ in range(count)]
    for client in clients:
        client.send(streamed)
    for client in clients:
        client.begun = client.read_until(_event(0) + b"\r\n")
    return clients


def _body(client):
    """Return the whole chunked body of a client that has its first event."""
    raw = client.begun + client.read_until(b"\r\n0\r\n\r\n")
    chunks, body = raw.partition(b"\r\n\r\n")[2], b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        body += chunks[: int(size, 16)]
        chunks = chunks[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("leaving", [0, 1])
def test_a_hundred_clients_share_one_stream(cached, leaving):
    """One call, a hundred whole streams, live from the first event; also when the first client leaves."""
    stream = Stream()
    cached.upstream.begin(stream)
    streamed = chat("x", stream=True)
    clients = _follow(cached, streamed, 1) + _follow(cached, streamed, FOLLOWERS - 1)
    # Everybody has the first event while the upstream still holds back the others: it is passed on live.
    assert not stream.go_on.is_set()
    name = "openai_proxy_client_disconnects_total"
    before = samples(cached.port)[name]
    for client in clients[:leaving]:
        client.reset()
    assert eventually(lambda: samples(cached.port)[name] >= before + leaving)
    stream.go_on.set()
    bodies = [_body(client) for client in clients[leaving:]]
    assert bodies == [stream.whole] * (FOLLOWERS - leaving)
    assert len(cached.upstream.calls) == 1
    for client in clients:
        client.close()
    late = Client(cached.port)
    late.send(streamed)
    response = late.response()
    late.close()
    assert verdict(response) == (200, b"hit")
    assert response.body == stream.whole


def test_nobody_left_means_no_upstream(cached):
    """When the last client of a shared stream leaves, the upstream is stopped: within a second, on a busy machine some."""
    gone = []

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(_event(0))
        gone.append(call.seconds_until_gone())
        call.closed = True

    cached.upstream.begin(script)
    for client in _follow(cached, chat("x", stream=True), 3):
        client.reset()
    assert eventually(lambda: gone)
    assert gone[0] < 10.0


def test_a_truncated_stream_is_broken_for_all_and_not_kept(cached):
    """Who shares a stream that breaks sees it break; the next one asks anew."""
    stream = Stream()
    stream.cut = True
    cached.upstream.begin(stream)
    streamed = chat("x", stream=True)
    clients = _follow(cached, streamed, 3)
    stream.go_on.set()
    for client in clients:
        assert b"[DONE]" not in client.rest()
        assert client.end == "reset"
        client.close()
    stream.cut = False
    with Client(cached.port) as client:
        client.send(streamed)
        response = client.response()
    assert verdict(response) == (200, b"miss")
    assert response.body == stream.whole


def test_a_failed_call_is_only_the_leaders(cached):
    """When the shared call fails, its client gets the error and one of the others asks again, not all."""
    answers = iter([b"503 Service Unavailable"])

    def script(call):
        call.read_body()
        status = next(answers, b"200 OK")
        if status != b"200 OK":  # all of them wait for it
            assert eventually(lambda: samples(cached.port)["openai_proxy_in_flight_requests"] == 12)
        call.reply_json({"n": 1}, status)

    cached.upstream.begin(script)

    def one(_):
        with Client(cached.port) as client:
            client.send(embed("x"))
            return client.response().status

    assert sorted(at_once(12, one)) == [200] * 11 + [503]
    assert len(cached.upstream.calls) == 2


# ---- through the SDK


def _chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _openai(call):
    document = json.loads(call.read_body())
    if call.target.endswith(b"/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        call.reply_json({"object": "list", "data": data, "model": "m", "usage": usage})
    elif document.get("stream"):
        call.start_stream()
        for chunk in (_chunk({"role": "assistant", "content": "hé"}), _chunk({"content": "llo"}, "stop")):
            call.chunk(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()
    else:
        call.reply_json(COMPLETION)


def test_the_sdk_gets_the_same_objects(cached):
    """openai-python sees no difference between a miss and a hit: plain, streamed, parsed, embeddings."""
    cached.upstream.begin(_openai)
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0, "seed": 1}
    url = f"http://127.0.0.1:{cached.port}/v1"
    with openai.OpenAI(api_key=tenant(), base_url=url, max_retries=0) as client:

        def plain():
            return client.chat.completions.create(**asked)

        def streamed():
            return list(client.chat.completions.create(**asked, stream=True))

        def vectors():
            return client.embeddings.create(model="m", input=["x"])

        for ask in (plain, streamed, vectors):
            before = len(cached.upstream.calls)
            miss, hit = ask(), ask()
            assert len(cached.upstream.calls) == before + 1
            assert hit == miss
        raw = client.chat.completions.with_raw_response.create(**asked)
        assert raw.headers["x-cache"] == "hit"
