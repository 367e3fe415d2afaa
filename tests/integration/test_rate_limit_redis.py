"""Limits shared through a real Redis, which freezes, dies and returns."""

import time

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from world.services import PATIENT_S
from world.waiting import PATIENCE_S, until

from openai_proxy.net.redis_client import RedisClient
from openai_proxy.net.redis_url import parse_redis_url
from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.limits.redis import RedisStore
from openai_proxy.policies.limits.rules import Limits

DEADLINE_S = 0.05
LEASE_S = 4.0
"""Renewed after a third of it: so long this process may be kept from its turn."""


@pytest_twisted.async_yield_fixture
async def stores(redis, request):
    """Two stores as two machines have them, connected."""
    deadline_s = getattr(request, "param", PATIENT_S)
    clients = [RedisClient(reactor, parse_redis_url(redis.url), deadline_s=deadline_s) for _ in range(2)]
    stores = [
        RedisStore(client, EmbeddedStore(time.monotonic), reactor, lease_s=LEASE_S) for client in clients
    ]
    for client, store in zip(clients, stores, strict=True):
        client.start()
        store.start()
    await until(lambda: all(client.connected for client in clients))
    yield stores
    for client, store in zip(clients, stores, strict=True):
        store.stop()
        await client.stop()


@pytest_twisted.ensureDeferred
async def test_fifty_requests_at_two_machines_keep_one_bucket(stores):
    """Parallel requests at two daemons get exactly what one bucket holds."""
    limits = Limits(1000, 40, None)  # a fifth request is paid for after 15 s
    admissions = await gatherResults(
        Deferred.fromCoroutine(stores[n % 2].admit("k", limits, 10, f"s{n}")) for n in range(50)
    )
    assert {a.kept_in for a in admissions} == {"redis"}
    assert sum(a.admitted for a in admissions) == 4
    refused = next(a for a in admissions if not a.admitted)
    assert refused.levels.model_tokens < 10
    last = await stores[0].admit("k", limits, 0, "last")
    assert 995 <= last.levels.requests < 1000


@pytest_twisted.ensureDeferred
async def test_an_admission_that_is_taken_back_leaves_nothing(stores):
    """As if the request had never come: its group had no room."""
    limits = Limits(10, 1000, 2)
    before = await stores[0].admit("k", Limits(10, 1000, 0), 0, "look")
    admission = await stores[0].admit("k", limits, 300, "s1")
    assert admission.admitted
    stores[0].cancel(admission)
    after = await stores[0].admit("k", Limits(10, 1000, 0), 0, "look")
    assert after.levels.running == before.levels.running == 0
    assert after.levels.requests == pytest.approx(10, abs=0.1)
    assert after.levels.model_tokens == pytest.approx(1000, abs=10)


@pytest_twisted.ensureDeferred
async def test_settled_use_and_freed_slots_are_seen_by_the_other(stores):
    """Debt made at one daemon is refused at the other; a freed slot is free there too."""
    limits = Limits(None, 100, 1)
    first = await stores[0].admit("k", limits, 10, "one")
    assert first.admitted
    assert not (await stores[1].admit("k", limits, 1, "two")).admitted
    stores[0].finish(first, 150)
    deadline = time.monotonic() + PATIENCE_S
    while (refused := await stores[1].admit("k", limits, 1, "two")).levels.running:
        assert time.monotonic() < deadline
    assert not refused.admitted
    assert -50 <= refused.levels.model_tokens < -10  # and a hundred come in a minute


@pytest_twisted.ensureDeferred
async def test_where_nobody_may_run_a_look_tells_how_things_stand_and_charges_nothing(stores):
    """What the rate limit's look ahead builds on."""
    limits = Limits(5, 100, 3)
    first = await stores[0].admit("k", limits, 10, "one")
    assert first.admitted
    for number in range(3):
        look = await stores[1].admit("k", Limits(5, 100, 0), 0, f"look{number}")
        assert (look.admitted, look.kept_in, look.levels.running) == (False, "redis", 1)
    last = await stores[0].admit("k", limits, 0, "two")
    assert last.levels.requests == pytest.approx(4, abs=0.9)
    assert last.levels.model_tokens >= 90


@pytest_twisted.ensureDeferred
async def test_leases_are_renewed_while_they_run_and_end_with_their_machine(stores):
    """A long stream keeps its slot; that of a machine that died comes back."""
    limits = Limits(None, None, 1)
    assert (await stores[0].admit("k", limits, 0, "one")).admitted
    await deferLater(reactor, 1.5 * LEASE_S)
    assert not (await stores[1].admit("k", limits, 0, "two")).admitted
    stores[0].stop()
    deadline = time.monotonic() + PATIENCE_S
    while not (await stores[1].admit("k", limits, 0, "two")).admitted:
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.05)


@pytest.mark.parametrize("leaves", [True, False], ids=["its client leaves", "it goes on without Redis"])
@pytest.mark.parametrize("abandoned", [False, True], ids=["it answers late", "its connection is given up"])
@pytest.mark.parametrize("stores", [DEADLINE_S], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_a_frozen_redis_admits_later_is_given_back(stores, redis, leaves, abandoned):
    """It does what was sent when it is thawed, whoever is still there: the slot is free, and the tokens come back."""
    limits = Limits(None, 100, 1)
    redis.freeze()
    ends = []
    asked = Deferred.fromCoroutine(stores[0].admit("k", limits, 80, "one")).addBoth(ends.append)
    if leaves:
        asked.cancel()
    await until(lambda: ends)
    if abandoned:
        await until(lambda: stores[0]._client._connection is None)
    redis.thaw()
    await until(lambda: all(store._client.connected for store in stores))
    # without tokens: those that nobody knows of come back with time
    cost = 0 if abandoned else 70
    deadline = time.monotonic() + LEASE_S / 2
    while not (other := await stores[1].admit("k", limits, cost, "two")).admitted or other.kept_in != "redis":
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.05)


@pytest.mark.parametrize("stores", [DEADLINE_S], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_redis_each_machine_limits_by_itself(stores, redis):
    """Frozen, killed or restarted: no request fails or waits, and the limit holds at each daemon."""
    limits = Limits(5)
    redis.freeze()
    started = time.monotonic()
    frozen = [await stores[0].admit("a", limits, 0, str(n)) for n in range(8)]
    assert time.monotonic() - started < 10
    assert [a.admitted for a in frozen] == [True] * 5 + [False] * 3
    assert {a.kept_in for a in frozen} == {"embedded"}
    redis.thaw()
    redis.kill()
    killed = [await stores[1].admit("b", limits, 0, str(n)) for n in range(8)]
    assert [a.admitted for a in killed] == [True] * 5 + [False] * 3
    redis.start()
    deadline = time.monotonic() + PATIENCE_S
    while (again := await stores[0].admit("c", Limits(1000), 0, "x")).kept_in != "redis":
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.05)
    assert again.admitted
    stores[0].finish(frozen[0], 0)
