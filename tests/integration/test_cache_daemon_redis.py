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
    env = {"CACHE__URL": redis.url, "CACHE__TTL_S__MODELS": "0.4"}
    one = start(env=env)
    one.upstream.begin(tell_who_and_what)
    other = start(url=one.upstream.url, env=env)
    assert eventually(lambda: _connected(one.port) and _connected(other.port))
    return one, other


def test_two_daemons_share_forget_and_recover(two, redis):
    """What one asked the other knows; expired, flushed or restarted away, it is asked for again."""
    one, other = two
    calls = one.upstream.calls

    def both(raw):
        return [verdict(ask(pair.port, raw)) for pair in (one, other)]

    first, second = (ask(pair.port, embed("x" * 5000)) for pair in two)
    assert (verdict(first), verdict(second)) == (MISS, HIT)
    assert first.body == second.body
    assert both(embed("x", "sk-b")) == [MISS, HIT]
    assert both(get("models")) == [MISS, HIT]
    time.sleep(0.5)
    assert both(get("models")) == [MISS, HIT]
    assert len(calls) == 4
    with Client(redis.port) as client:
        client.send(b"FLUSHALL\r\n")
        assert client.read_until(b"\r\n") == b"+OK\r\n"
    assert both(embed("x")) == [MISS, HIT]
    redis.kill()
    assert eventually(lambda: not _connected(one.port) and not _connected(other.port))
    assert both(embed("x")) == [MISS, MISS]
    redis.start()
    assert eventually(lambda: _connected(one.port) and _connected(other.port), 5)
    assert both(embed("x")) == [MISS, HIT]


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
