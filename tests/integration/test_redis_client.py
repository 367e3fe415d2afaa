"""The Redis connection against a real server that freezes, dies and returns."""

import importlib.util
import pathlib
import time

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from openai_proxy.core.redis_url import parse_redis_url
from openai_proxy.redis_client import RedisAway, RedisClient

_spec = importlib.util.spec_from_file_location(
    "redis_server", pathlib.Path(__file__).with_name("redis_server.py")
)
redis_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(redis_server)


@pytest.fixture
def server():
    server = redis_server.RedisServer("--requirepass", "p@ss")
    server.start()
    yield server
    server.kill()


@pytest_twisted.async_yield_fixture
async def client(server):
    url = f"redis://:p%40ss@127.0.0.1:{server.port}/1"
    client = RedisClient(reactor, parse_redis_url(url))
    client.start()
    yield client
    await client.stop()


async def until(condition, limit_s=5.0):
    """Wait until `condition()`; fail after `limit_s` seconds."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_replies_are_bytes_and_in_order(client):
    """What was stored comes back as it was, also where it reads as a number."""
    await until(lambda: client.connected)
    await client.call("SET", "k", b"12345")
    replies = await gatherResults(
        [client.call("GET", "k"), client.call("INCR", "n"), client.call("GET", "none")]
    )
    assert replies == [b"12345", 1, None]
    with pytest.raises(Exception, match="wrong number") as refused:
        await client.call("GET")
    assert refused.type.__name__ == "ResponseError"


@pytest_twisted.ensureDeferred
async def test_a_dropped_reply_shifts_no_other(client):
    """A caller that left does not make the next one read its answer."""
    await until(lambda: client.connected)
    left = client.call("ECHO", b"one")
    left.addErrback(lambda _: None)
    kept = client.call("ECHO", b"two")
    left.cancel()
    assert await kept == b"two"


@pytest_twisted.ensureDeferred
async def test_a_frozen_server_costs_one_deadline(client, server):
    """A frozen Redis delays the calls in flight by 50 ms, later ones not at all, and comes back."""
    await until(lambda: client.connected)
    server.freeze()
    started = time.monotonic()
    with pytest.raises(RedisAway):
        await client.call("PING")
    assert time.monotonic() - started < 0.2
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(RedisAway):
            await client.call("PING")
    assert time.monotonic() - started < 0.2
    await deferLater(reactor, 1.2)
    assert not client.connected
    server.thaw()
    await until(lambda: client.connected)
    assert await client.call("ECHO", b"x") == b"x"


@pytest_twisted.ensureDeferred
async def test_a_restarted_server_is_found_again(client, server):
    """A killed Redis fails calls at once; a new one is used without a restart of ours."""
    await until(lambda: client.connected)
    server.kill()
    await until(lambda: not client.connected)
    with pytest.raises(RedisAway):
        await client.call("PING")
    server.start()
    await until(lambda: client.connected)
    assert await client.call("ECHO", b"x") == b"x"
