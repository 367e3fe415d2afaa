"""Two whole daemons over one real Redis, which forgets, freezes, dies and returns."""

from __future__ import annotations

import json
import time

import pytest
from integration.cache_world import embed, get, tell_who_and_what, verdict
from integration.raw_client import Client, ask
from integration.redis_server import RedisServer
from integration.scripted_upstream import eventually

MISS, HIT = (200, b"miss"), (200, b"hit")
RATE_PER_S = 50
FROZEN_S = 2.0


def _connected(port):
    with Client(port) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: proxy\r\n\r\n")
        return json.loads(client.response().body)["redis_connected"]


@pytest.fixture
def redis():
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def two(start, redis):
    """Two daemons of the same configuration, connected to Redis."""
    env = {"CACHE__URL": redis.url, "CACHE__TTL_S__MODELS": "1"}
    one = start(env=env)
    one.upstream.begin(tell_who_and_what)
    other = start(url=one.upstream.url, env=env)
    assert eventually(lambda: _connected(one.port) and _connected(other.port))
    return one, other


def test_two_daemons_share_forget_and_recover(two, redis):
    """What one asked the other knows; expired, flushed or restarted away, it is asked for again."""
    one, other = two
    calls = one.upstream.calls

    def shared(request, *arguments):
        """Ask one, which does not know; then the other, which may not ask the upstream."""
        missed = ask(one.port, request(*arguments))
        assert verdict(missed) == MISS
        wanting = request(*arguments, None, "Cache-Control: only-if-cached")
        # The answer may be faster than its way into Redis, and a busy machine slower than the deadline.
        answers = []
        assert eventually(lambda: answers.append(ask(other.port, wanting)) or verdict(answers[-1]) == HIT)
        assert answers[-1].body == missed.body

    shared(embed, "x" * 5000)
    shared(embed, "x")
    shared(get, "models")
    time.sleep(1.1)
    shared(get, "models")
    assert len(calls) == 4
    with Client(redis.port) as client:
        client.send(b"FLUSHALL\r\n")
        assert client.read_until(b"\r\n") == b"+OK\r\n"
    shared(embed, "x")
    redis.kill()
    assert eventually(lambda: not _connected(one.port) and not _connected(other.port))
    assert [verdict(ask(pair.port, embed("x"))) for pair in two] == [MISS, MISS]
    redis.start()
    assert eventually(lambda: _connected(one.port) and _connected(other.port), 5)
    shared(embed, "x")


@pytest.mark.slow
def test_a_frozen_redis_harms_nobody(two, redis):
    """Redis stopped under 50 requests a second: no error, a bounded wait, hits again when it goes on."""
    one, _ = two
    raw = embed("x")
    waits = []

    def timed(client):
        started = time.monotonic()
        client.send(raw)
        assert client.response().status == 200
        waits.append(time.monotonic() - started)

    with Client(one.port) as client:
        timed(client)
        redis.freeze()
        try:
            end = time.monotonic() + FROZEN_S
            while time.monotonic() < end:
                timed(client)
                time.sleep(max(0.0, 1 / RATE_PER_S - waits[-1]))
        finally:
            redis.thaw()
    assert len(waits) > FROZEN_S * RATE_PER_S * 0.5
    assert max(waits) < 0.5
    assert sorted(waits)[len(waits) // 2] < 0.05
    assert eventually(lambda: verdict(ask(one.port, raw)) == HIT)
    assert len(one.daemon.defects) == 0
