"""Batches of machines that share a real Redis."""

import json

import pytest
import pytest_twisted
from integration.test_batches_daemon import ENV, TOML, Api, client, create, line, upload
from twisted.internet import reactor
from world.client import ask
from world.daemon import configured
from world.services import PATIENT_S
from world.waiting import eventually, until

from openai_proxy.cost.batch_inputs import KEPT_S, RedisInputs
from openai_proxy.net.redis_client import RedisClient
from openai_proxy.net.redis_url import parse_redis_url
from openai_proxy.policies.batches.input import BatchInput, ModelUse

openai = pytest.importorskip("openai", reason="pip install openai")

KNOWN = BatchInput({"m": ModelUse(2, 10, 20)}, ("\u00fc",), ("responses",), 99)


@pytest_twisted.ensureDeferred
async def test_what_one_machine_knows_of_a_file_the_others_know(redis):
    """For 400 days."""
    clients = [RedisClient(reactor, parse_redis_url(redis.url), deadline_s=PATIENT_S) for _ in range(2)]
    for each in clients:
        each.start()
        await until(lambda each=each: each.connected)
    one, two = map(RedisInputs, clients)
    assert await two.find("file-1") is None
    await one.keep("file-1", "key:alice", KNOWN)
    assert await two.find("file-1") == ("key:alice", KNOWN)
    ttl = await clients[0].call("TTL", "openai-proxy:batch-input:file-1")
    assert ttl == pytest.approx(KEPT_S, abs=60)
    for each in clients:
        await each.stop()


def test_a_batch_is_begun_at_one_machine_and_charged_at_another_once(start, tmp_path, redis):
    """Uploaded here, created there, shown at both."""
    api = Api()
    worlds = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        env = {**ENV, "RATE_LIMIT__URL": redis.url}
        upstream = worlds[0].upstream if worlds else None
        worlds.append(start(upstream=upstream, directory=directory, **configured(directory, TOML), env=env))
        assert eventually(lambda: "connected to Redis" in worlds[-1].daemon.log)
    here, there = worlds
    here.upstream.script = api
    with client(here) as first, client(there) as second:
        file = upload(first, line(), line(number=1))
        # the daemon waits 50 ms for Redis: on a busy machine it may have to be asked again
        assert eventually(lambda: is_created(second, file))
        (name,) = api.batches
        assert eventually(lambda: budget(here) == budget(there) == (0.0, 4.0))
        api.ended[name] = 6
        for each in (first, second, first):
            assert each.batches.retrieve(name).status == "completed"
    assert eventually(lambda: budget(here) == (3.0, 0.0))
    assert eventually(lambda: budget(there) == (3.0, 0.0))


def is_created(api, file):
    try:
        create(api, file)
    except (openai.PermissionDeniedError, openai.InternalServerError):
        return False
    return True


def budget(world):
    page = json.loads(ask(world.port, b"GET /admin/usage HTTP/1.1\r\nHost: proxy\r\n\r\n").body)
    (found,) = page["budgets"]
    return found["spent_usd"], found["reserved_usd"]
