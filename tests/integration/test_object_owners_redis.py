"""Whose stored objects are, shared through a real Redis."""

import pytest
import pytest_twisted
from twisted.internet import reactor
from world.services import PATIENT_S
from world.waiting import until

from openai_proxy.cost.object_owners import RedisOwners
from openai_proxy.net.redis_client import RedisClient
from openai_proxy.net.redis_url import parse_redis_url


@pytest_twisted.async_yield_fixture
async def clients(redis):
    clients = [RedisClient(reactor, parse_redis_url(redis.url), deadline_s=PATIENT_S) for _ in range(2)]
    for client in clients:
        client.start()
        await until(lambda client=client: client.connected)
    yield clients
    for client in clients:
        await client.stop()


@pytest_twisted.ensureDeferred
async def test_all_machines_know_the_first_owner(clients):
    """What one learns the other knows; nobody takes an object over; a deleted one is forgotten."""
    one, two = map(RedisOwners, clients)
    await one.keep(["file-1", "resp_1"], "key:alice")
    await two.keep(["file-1", "file-2"], "key:bob")
    owners = await two.find(["file-1", "resp_1", "file-2", "file-3"])
    assert owners == {"file-1": "key:alice", "resp_1": "key:alice", "file-2": "key:bob"}
    assert await one.find([]) == {}
    ttl = await clients[0].call("TTL", "openai-proxy:object:resp_1")
    assert ttl == pytest.approx(32 * 86400, abs=60)
    await two.forget("file-1")
    assert await one.find(["file-1"]) == {}
