"""The cache over a real Redis, which expires, forgets, freezes, dies and returns."""

import time

import fakes
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from world.services import PATIENT_S
from world.waiting import PATIENCE_S, until

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.net.redis_client import RedisClient
from openai_proxy.net.redis_url import parse_redis_url
from openai_proxy.policies.cache.bodies import replay_body
from openai_proxy.policies.cache.cache import Cache
from openai_proxy.policies.cache.entry import CacheEntry
from openai_proxy.policies.cache.redis import PREFIX, RedisStore
from openai_proxy.policies.cache.rules import CacheRules, TimesToLive, default_rules

SECRETS = (b"sk-upstream-secret", b"sk-client-secret")


class Daemon:
    """The cache of one daemon: its own connection, its own upstream."""

    def __init__(self, url, embeddings_s=60.0, deadline_s=PATIENT_S):
        self.client = RedisClient(reactor, parse_redis_url(url), deadline_s=deadline_s)
        self.store = RedisStore(self.client, reactor, thread_bytes=100_000)
        rules = CacheRules(default_rules(TimesToLive(embeddings=embeddings_s)))
        self.stage = Cache(self.store, rules, b"https://api.example/v1", time.monotonic)
        self.calls = 0
        self.client.start()
        self.store.start()

    async def stop(self):
        self.store.stop()
        await self.client.stop()

    async def ask(self, text, answer=b"answer"):
        """Return (what the cache did, status, body)."""
        exchange = fakes.exchange(
            started=time.monotonic(),
            timestamp=time.time(),
            path="/v1/embeddings",
            endpoint="embeddings",
            credential_id="tenant",
        )
        request = ProxyRequest(
            method=b"POST",
            target=b"/embeddings",
            headers=[(b"Authorization", b"Bearer " + SECRETS[1])],
            body=b'{"input":"%s"}' % text,
            document={"input": text},
            exchange=exchange,
            credential=SECRETS[0],
        )

        async def forward(request):
            self.calls += 1
            headers = [(b"Content-Length", b"%d" % len(answer))]
            return ProxyResponse(200, b"OK", headers, replay_body((answer,), len(answer)))

        response = await self.stage(request, forward)
        return exchange.cache_result, response.status, await read(response)


class Reader:
    def __init__(self):
        self.chunks = []
        self.done = Deferred()

    def makeConnection(self, transport):
        """Nothing to pause."""

    def dataReceived(self, data):
        self.chunks.append(data)

    def connectionLost(self, reason):
        self.done.callback(b"".join(self.chunks))


def read(response):
    reader = Reader()
    response.body.deliverBody(reader)
    return reader.done


@pytest_twisted.async_yield_fixture
async def daemons(redis):
    """Two daemons with the same configuration, connected."""
    daemons = [Daemon(redis.url), Daemon(redis.url)]
    await until(lambda: all(daemon.client.connected for daemon in daemons))
    yield daemons
    for daemon in daemons:
        await daemon.stop()


@pytest_twisted.ensureDeferred
async def test_two_daemons_share_their_entries(daemons):
    """What one daemon asked, the other knows, byte for byte, small and large."""
    one, two = daemons
    large = bytes(range(256)) * 2000
    for text, answer in ((b"small", b"answer"), (b"large", large)):
        assert await one.ask(text, answer) == ("miss", 200, answer)
        # a large value is packed in a thread, after the answer
        end = time.monotonic() + PATIENCE_S
        while await one.client.call("DBSIZE") != (1 if text == b"small" else 2):
            assert time.monotonic() < end
            await deferLater(reactor, 0.01)
        assert await two.ask(text) == ("hit", 200, answer)
    assert (one.calls, two.calls) == (2, 0)


@pytest_twisted.ensureDeferred
async def test_redis_holds_no_credential(daemons):
    """Neither the names nor the values in Redis contain a key, and every entry has its time to live."""
    one, _ = daemons
    await one.ask(b"x", b"0" * 5000)
    (name,) = await one.client.call("KEYS", "*")
    value = await one.client.call("GET", name)
    assert name.startswith(PREFIX)
    assert not [secret for secret in SECRETS if secret in name + value]
    assert 0 < await one.client.call("PTTL", name) <= 60_000


@pytest_twisted.ensureDeferred
async def test_a_family_is_forgotten_by_all_daemons(daemons):
    """What one daemon keeps of a caller's models another one drops; the list of it does not outlive them."""
    one, two = daemons
    family, keys = b"f" * 32, [b"%032d" % number for number in range(3)]
    for key in keys[:2]:
        await one.store.put(key, CacheEntry(b"OK", [], (b"x",), time.time()), 60.0, family)
    await two.store.put(keys[2], CacheEntry(b"OK", [], (b"x",), time.time()), 60.0)
    assert 0 < await one.client.call("PTTL", PREFIX + family.hex().encode()) <= 60_000
    await two.store.forget(family)
    assert [await one.store.get(key) is None for key in keys] == [True, True, False]
    assert (one.store.failed, two.store.failed) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_entries_expire_and_are_flushed(redis):
    """An expired or a flushed entry is a miss, and is stored again."""
    daemon = Daemon(redis.url, embeddings_s=5.0)
    await until(lambda: daemon.client.connected)
    results = [(await daemon.ask(b"x"))[0] for _ in range(2)]
    await deferLater(reactor, 5.1)
    results += [(await daemon.ask(b"x"))[0] for _ in range(2)]
    await daemon.client.call("FLUSHALL")
    results += [(await daemon.ask(b"x"))[0]]
    await daemon.stop()
    assert results == ["miss", "hit", "miss", "hit", "miss"]


@pytest_twisted.ensureDeferred
async def test_a_spoilt_value_is_a_miss(daemons):
    """A value that somebody changed, or that belongs to another name, is asked for again."""
    one, _ = daemons
    await one.ask(b"x", b"mine")
    (name,) = await one.client.call("KEYS", "*")
    await one.ask(b"y", b"other")
    (other,) = set(await one.client.call("KEYS", "*")) - {name}
    await one.client.call("SET", name, await one.client.call("GET", other))
    assert await one.ask(b"x", b"mine") == ("miss", 200, b"mine")
    await one.client.call("APPEND", name, b"x")
    assert await one.ask(b"x", b"mine") == ("miss", 200, b"mine")
    await one.client.call("DEL", name)
    await one.client.call("LPUSH", name, b"x")
    assert await one.ask(b"x", b"mine") == ("miss", 200, b"mine")
    assert (await one.ask(b"x"))[0] == "hit"


@pytest_twisted.ensureDeferred
async def test_a_restart_is_survived(daemons, redis):
    """Redis dead: requests go on as misses; Redis back: hits again, without a restart of ours."""
    one, _ = daemons
    await one.ask(b"x")
    redis.kill()
    await until(lambda: not one.client.connected)
    started = time.monotonic()
    assert [(await one.ask(b"x"))[0] for _ in range(20)] == ["miss"] * 20
    assert time.monotonic() - started < 15
    redis.start()
    await until(lambda: one.client.connected)
    assert [(await one.ask(b"x"))[0] for _ in range(2)] == ["miss", "hit"]


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_frozen_redis_costs_little(redis):
    """Redis frozen under load: no error, little added time, hits again when it thaws."""
    one = Daemon(redis.url, deadline_s=0.05)
    await until(lambda: one.client.connected)
    await one.ask(b"x")
    redis.freeze()
    frozen_at = time.monotonic()
    times = []

    async def timed():
        started = time.monotonic()
        _, status, body = await one.ask(b"x")
        assert (status, body) == (200, b"answer")
        times.append(time.monotonic() - started)

    running = []
    for _ in range(150):
        running.append(Deferred.fromCoroutine(timed()))
        await deferLater(reactor, 0.02)
    await gatherResults(running)
    frozen_s = time.monotonic() - frozen_at
    redis.thaw()
    await until(lambda: one.client.connected)
    end = time.monotonic() + PATIENCE_S
    while (await one.ask(b"x"))[0] != "hit":
        assert time.monotonic() < end
        await deferLater(reactor, 0.01)
    await one.stop()
    assert len(times) == 150
    assert max(times) < frozen_s
    assert sorted(times)[75] < 0.5
