"""What may be wrong with a Redis: a scripted one says it, a real one means it. Nobody waits, and it comes back."""

import re
from contextlib import asynccontextmanager
from functools import partial

import pytest
import pytest_twisted
from logged import log_events
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import formatEvent as text
from world.services import PATIENT_S, RedisServer
from world.waiting import until

from openai_proxy.net.redis_client import RedisAway, RedisClient, RedisRefused
from openai_proxy.net.redis_connection import NOT_RESP, TOO_LARGE, RedisConnection
from openai_proxy.net.redis_url import parse_redis_url

PASSWORD = "CANARY"


@pytest.fixture
def log():
    """Collect the lines of the log; none holds the password or is a failure."""
    with log_events() as events:
        yield events
    assert [event["log_text"] for event in events if event.get("isError")] == []
    assert [event for event in events if PASSWORD in text(event)] == []


def reasons(log):
    """Return why Redis was said to be away."""
    return [event["reason"] for event in log if "reason" in event and "address" in event]


class Scripted(Protocol):
    """Answers each command by its name from `factory.answers`, those that are not there with +OK."""

    def connectionMade(self):
        self.factory.connections += 1
        self.factory.current = self.transport

    def dataReceived(self, data):
        for name in re.findall(rb"\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n", data):
            self.factory.asked.append(name)
            answer = self.factory.answers.get(name, b"+OK\r\n")
            if answer is None:
                self.transport.loseConnection()
            else:
                self.transport.write(answer)


@asynccontextmanager
async def scripted(deadline_s=PATIENT_S, **answers):
    """Run a scripted Redis and a client of it; (server, client)."""
    server = Factory.forProtocol(Scripted)
    server.noisy = False
    server.connections, server.asked, server.current = 0, [], None
    server.answers = {name.encode(): answer for name, answer in answers.items()}
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    url = f"redis://:{PASSWORD}@127.0.0.1:{port.getHost().port}/3"
    client = RedisClient(reactor, parse_redis_url(url), deadline_s=deadline_s)
    client.start()
    try:
        yield server, client
    finally:
        await client.stop()
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_the_log_in_is_plain_resp2(log):
    """No HELLO: what every Redis, and what speaks its protocol, has understood for ten years."""
    async with scripted() as (server, client):
        await until(lambda: client.connected)
        assert server.asked == [b"AUTH", b"SELECT", b"PING"]
    assert reasons(log) == []


@pytest.mark.parametrize(
    ("command", "words", "reason"),
    [
        ("PING", b"-LOADING Redis is loading\r\n", "it refuses the log-in: LOADING"),
        ("PING", b"-NOAUTH Authentication required.\r\n", "it refuses the log-in: NOAUTH"),
        ("AUTH", b"-WRONGPASS invalid CANARY\r\n", "it refuses the log-in: WRONGPASS"),
        ("AUTH", b"-ERR AUTH CANARY called without any password\r\n", "it refuses the log-in: ERR"),
        ("SELECT", b"-ERR DB index is out of range\r\n", "it refuses the log-in: ERR"),
        ("AUTH", b"HTTP/1.1 400 Bad Request\r\n\r\n", NOT_RESP),
        ("AUTH", b"+OK\r\n" * 20, NOT_RESP),
        ("PING", None, "it hung up"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_log_in_that_fails_is_reported_once_and_tried_again(log, command, words, reason):
    """And works as soon as Redis lets us in; until then calls fail at once."""
    async with scripted(**{command: words}) as (server, client):
        await until(lambda: server.connections > 3)
        with pytest.raises(RedisAway):
            await client.call("GET", "k")
        assert reasons(log) == [reason]
        server.answers.clear()
        await until(lambda: client.connected)
        assert await client.call("GET", "k") == b"OK"


@pytest.mark.parametrize("code", ["LOADING", "MOVED", "NOSCRIPT", "NOPERM", "OOM", "BUSY"])
@pytest_twisted.ensureDeferred
async def test_a_refused_command_leaves_the_connection_as_it_is(log, code):
    """A Redis that is full still serves what is read."""
    async with scripted(SET=f"-{code} {PASSWORD}\r\n".encode()) as (server, client):
        await until(lambda: client.connected)
        for _ in range(3):
            refused, served = client.call("SET", "k", "v"), client.call("GET", "k")
            with pytest.raises(RedisRefused, match=f"^{code}$"):
                await refused
            assert await served == b"OK"
        assert server.connections == 1
    assert [event["code"] for event in log if "code" in event] == [code]
    assert reasons(log) == []


@pytest.mark.parametrize("code", ["READONLY", "MASTERDOWN"])
@pytest_twisted.ensureDeferred
async def test_after_a_failover_the_new_master_is_found(log, code):
    """The old one keeps its connections when it becomes a replica; the address leads to the new one."""
    async with scripted(SET=f"-{code} {PASSWORD}\r\n".encode()) as (server, client):
        await until(lambda: client.connected)
        with pytest.raises(RedisRefused, match=f"^{code}$"):
            await client.call("SET", "k", "v")
        await until(lambda: server.connections == 2)
        server.answers.clear()
        assert await until_called(client, "SET", "k", "v") == b"OK"
    assert reasons(log) == []


@pytest_twisted.ensureDeferred
async def test_a_lasting_replica_is_not_connected_to_for_every_command(log):
    """It still serves what is read."""
    async with scripted(SET=b"-READONLY\r\n") as (server, client):
        await until(lambda: client.connected)
        with pytest.raises(RedisRefused):
            await client.call("SET", "k", "v")
        assert await until_called(client, "GET", "k") == b"OK"
        for _ in range(3):
            refused, served = client.call("SET", "k", "v"), client.call("GET", "k")
            with pytest.raises(RedisRefused):
                await refused
            assert await served == b"OK"
        assert server.connections == 2
        client.RENEW_EVERY_S = 0.0
        with pytest.raises(RedisRefused):
            await client.call("SET", "k", "v")
        await until(lambda: server.connections == 3)
    assert [event["code"] for event in log if "code" in event] == ["READONLY"]


@pytest_twisted.ensureDeferred
async def test_a_log_in_that_was_forgotten_is_made_anew(log):
    """Behind a proxy that kept our connection and lost its own: no command would work until the next start."""
    async with scripted(GET=b"-NOAUTH Authentication required.\r\n") as (server, client):
        await until(lambda: client.connected)
        with pytest.raises(RedisRefused, match=r"^NOAUTH$"):
            await client.call("GET", "k")
        assert not client.connected
        server.answers.clear()
        await until(lambda: client.connected)
        assert await client.call("GET", "k") == b"OK"
        assert server.asked.count(b"AUTH") == server.connections == 2


@pytest.mark.parametrize(
    "part", [b"$10\r\n12345", b"*2\r\n:1\r\n", b"$", b"", b"*1\r\n$100000000\r\n" + b"x" * 100_000]
)
@pytest_twisted.ensureDeferred
async def test_half_a_reply_costs_a_deadline_and_then_the_connection(log, part):
    """Its rest, whenever it comes, is no reply to what is asked on the next connection."""
    async with scripted(deadline_s=0.05, GET=part) as (server, client):
        await until(lambda: client.connected)
        first = server.current
        with pytest.raises(RedisAway, match="no answer"):
            await client.call("GET", "k")
        at_once = client.call("ECHO", "x")
        assert at_once.called
        with pytest.raises(RedisAway):
            await at_once
        server.answers.clear()
        await until(lambda: server.connections == 2 and client.connected)
        first.write(b"67890\r\n")
        client._deadline_s = PATIENT_S
        assert await client.call("GET", "k") == b"OK"
    assert reasons(log) == []


@pytest_twisted.ensureDeferred
async def test_a_reply_above_the_bound_is_not_waited_for(log, monkeypatch):
    """The log says so once; other commands work on the next connection."""
    monkeypatch.setattr(RedisConnection, "MOST_BYTES", 1_000_000)
    async with scripted(GET=b"$50000000\r\n" + b"x" * 2_000_000) as (server, client):
        for turn in range(2):
            await until(lambda: client.connected)
            with pytest.raises(RedisAway, match=TOO_LARGE):
                await client.call("GET", "k")
            assert await until_called(client, "DEL", "k") == b"OK"
            assert server.connections == turn + 2
    assert reasons(log) == [TOO_LARGE]


async def until_called(client, *command):
    await until(lambda: client.connected)
    return await client.call(*command)


@pytest_twisted.ensureDeferred
async def test_a_stopped_server_takes_nothing_from_those_that_are_called_meanwhile(log):
    """A thousand calls in flight when it hangs up: each fails, none twice, and the next ones work."""
    async with scripted(GET=b"") as (server, client):
        await until(lambda: client.connected)
        ends = []
        for _ in range(1000):
            client.call("GET", "k").addErrback(lambda failure: ends.append(failure.type))
        await until(lambda: server.asked.count(b"GET") == 1000)
        server.current.abortConnection()
        await until(lambda: len(ends) == 1000)
        assert set(ends) == {RedisAway}
        assert await until_called(client, "DEL", "k") == b"OK"


@pytest.fixture
def guarded():
    """Run a real Redis with a password."""
    server = RedisServer("--requirepass", PASSWORD)
    server.start()
    yield server
    server.kill()


@pytest_twisted.ensureDeferred
async def test_a_user_whose_password_changed_is_locked_out_and_let_in_again(log, guarded):
    """An operator who rotates the password finds WRONGPASS in the log, and no password."""
    admin = RedisClient(
        reactor, parse_redis_url(f"redis://:{PASSWORD}@127.0.0.1:{guarded.port}"), deadline_s=PATIENT_S
    )
    url = f"redis://alice:{PASSWORD}@127.0.0.1:{guarded.port}"
    client = RedisClient(reactor, parse_redis_url(url), deadline_s=PATIENT_S)
    admin.start()
    user = "ACL", "SETUSER", "alice"
    await until_called(admin, *user, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    client.start()
    await until(lambda: client.connected)
    await admin.call(*user, "resetpass", ">another")
    await admin.call("CLIENT", "KILL", "USER", "alice")
    await until(lambda: "it refuses the log-in: WRONGPASS" in reasons(log))
    await admin.call(*user, "resetpass", f">{PASSWORD}")
    await until(lambda: client.connected)
    await admin.call(*user, "-set")
    with pytest.raises(RedisRefused, match=r"^NOPERM$"):
        await client.call("SET", "k", "v")
    await gatherResults([admin.stop(), client.stop()])


@pytest_twisted.ensureDeferred
async def test_a_replica_is_read_and_a_script_that_is_not_there_refused(log, redis):
    """READONLY and NOSCRIPT of a real Redis; after the first a new connection is made, and stays."""
    client = RedisClient(reactor, parse_redis_url(redis.url), deadline_s=PATIENT_S)
    client.start()
    await until(lambda: client.connected)
    identity = await client.call("CLIENT", "ID")
    with pytest.raises(RedisRefused, match=r"^NOSCRIPT$"):
        await client.call("EVALSHA", "0" * 40, 0)
    assert await client.call("CLIENT", "ID") == identity
    await client.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(RedisRefused, match=r"^READONLY$"):
        await client.call("SET", "k", "v")
    identity = await until_called(client, "CLIENT", "ID")
    with pytest.raises(RedisRefused, match=r"^READONLY$"):
        await client.call("SET", "k", "v")
    assert await client.call("GET", "k") is None
    assert await client.call("CLIENT", "ID") == identity
    await client.stop()


@pytest_twisted.ensureDeferred
async def test_large_values_and_long_pipelines_come_back_whole(redis):
    """Eight MiB, and five thousand replies in their order."""
    client = RedisClient(reactor, parse_redis_url(redis.url), deadline_s=PATIENT_S)
    client.start()
    await until(lambda: client.connected)
    value = bytes(range(256)) * 32 * 1024
    await client.call("SET", "k", value)
    replies = await gatherResults(
        [client.call("GET", "k"), *(client.call("ECHO", number) for number in range(5000))]
    )
    assert replies == [value, *(b"%d" % number for number in range(5000))]
    await client.stop()


def ended(ends, number):
    return len(ends) == number


@pytest_twisted.ensureDeferred
async def test_a_server_that_dies_in_the_middle_of_a_pipeline_shifts_nothing(redis):
    """Each call has its own reply or fails, killed at any moment."""
    client = RedisClient(reactor, parse_redis_url(redis.url), deadline_s=PATIENT_S)
    client.start()
    for turn in range(3):
        await until(lambda: client.connected)
        ends = {}
        for number in range(2000):
            client.call("ECHO", number).addBoth(partial(ends.__setitem__, number))
        await deferLater(reactor, 0.002 * turn)
        redis.kill()
        await until(partial(ended, ends, 2000))
        assert {n for n, end in ends.items() if end != b"%d" % n and end.type is not RedisAway} == set()
        redis.start()
    await client.stop()
