"""The Redis connection against a real server that freezes, dies and returns."""

import contextlib
import socket
import ssl
import threading
import time

import pytest
import pytest_twisted
from logged import log_events
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogLevel
from world.services import RedisServer
from world.waiting import until

from openai_proxy.net.redis_client import RedisAway, RedisClient, RedisRefused
from openai_proxy.net.redis_connection import NOT_RESP
from openai_proxy.net.redis_url import parse_redis_url


@pytest.fixture
def server():
    server = RedisServer("--requirepass", "p@ss")
    server.start()
    yield server
    server.kill()


@pytest_twisted.async_yield_fixture
async def client(server, request):
    """Patient, for a busy machine may be slower than the deadline of requests, 50 ms."""
    url = f"redis://:p%40ss@127.0.0.1:{server.port}/1"
    client = RedisClient(reactor, parse_redis_url(url), deadline_s=getattr(request, "param", 10.0))
    client.start()
    yield client
    await client.stop()


@pytest_twisted.ensureDeferred
async def test_replies_are_bytes_and_in_order(client):
    """What was stored comes back as it was, also if it reads as a number."""
    await until(lambda: client.connected)
    await client.call("SET", "k", b"12345")
    replies = await gatherResults(
        [client.call("GET", "k"), client.call("INCR", "n"), client.call("GET", "none")]
    )
    assert replies == [b"12345", 1, None]
    with pytest.raises(RedisRefused, match=r"^ERR$"):
        await client.call("GET")


@pytest_twisted.ensureDeferred
async def test_a_dropped_reply_shifts_no_other(client):
    """A caller that left does not make the next one read its answer."""
    await until(lambda: client.connected)
    left = client.call("ECHO", b"one")
    left.addErrback(lambda _: None)
    kept = client.call("ECHO", b"two")
    left.cancel()
    assert await kept == b"two"


@pytest.mark.parametrize("client", [0.05], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_frozen_server_costs_one_deadline(client, server):
    """A frozen Redis delays the calls in flight by 50 ms, later ones not at all, and comes back."""
    await until(lambda: client.connected)
    server.freeze()
    started = time.monotonic()
    with pytest.raises(RedisAway):
        await client.call("PING")
    assert time.monotonic() - started < 10.0
    started = time.monotonic()
    for _ in range(400):
        with pytest.raises(RedisAway):
            await client.call("PING")
    assert time.monotonic() - started < 15.0  # each by itself: 20 s
    await until(lambda: not client.connected)
    server.thaw()
    await until(lambda: client.connected)


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


@pytest_twisted.ensureDeferred
async def test_a_password_is_changed_here_or_at_redis_first(client, server, logged):
    """The connection goes on with the old one as long as Redis takes it, and is made anew with the one that works."""
    await until(lambda: client.connected)
    client.log_in_with(parse_redis_url(f"redis://:new@127.0.0.1:{server.port}/1"))
    await until(lambda: any("the one before stays" in event.get("log_format", "") for event in logged))
    assert await client.call("ECHO", b"x") == b"x"
    await client.call("CONFIG", "SET", "requirepass", "new")
    await until(lambda: client.connected)
    client._connection.abort("test")
    await until(lambda: not client.connected)
    await until(lambda: client.connected)
    assert await client.call("ECHO", b"x") == b"x"


class Impostor(Protocol):
    """Logs everybody in and answers every further command with `words`."""

    def dataReceived(self, data):
        self.transport.write(b"+PONG\r\n" if b"PING" in data else self.factory.words)


@pytest.fixture
def logged():
    with log_events() as events:
        yield events


@pytest_twisted.ensureDeferred
async def test_a_server_that_refuses_commands_is_logged_once(logged, client):
    """A full or read-only Redis is no secret, nor a line for each request; what it was sent stays one."""
    await until(lambda: client.connected)
    await client.call("SET", "k", b"x")
    for _ in range(3):
        with pytest.raises(RedisRefused, match=r"^WRONGTYPE$"):
            await client.call("LPUSH", "k", b"a secret")
        await client.call("GET", "k")
    (event,) = [event for event in logged if event.get("code")]
    assert (event["log_level"], event["code"]) == (LogLevel.warn, "WRONGTYPE")


def reasons(events):
    """Return what the client said in the log; nobody may have logged a failure."""
    assert [event["log_text"] for event in events if event.get("isError")] == []
    return [event["reason"] for event in events if "reason" in event and "address" in event]


@pytest.mark.parametrize(
    "words", [b"\xff\xfe\r\n", b"HTTP/1.1 400 Bad\r\n\r\n", b"*2\r\n:1\r\n", b"$x\r\n", b"x" * 20_000]
)
@pytest_twisted.ensureDeferred
async def test_nonsense_is_no_answer_and_no_traceback(logged, words):
    """Who is no Redis leaves no call without an answer, and the log in peace."""
    factory = Factory.forProtocol(Impostor)
    factory.words = words
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    client = RedisClient(reactor, parse_redis_url(f"redis://127.0.0.1:{port.getHost().port}"))
    client.start()
    await until(lambda: client.connected)
    for _ in range(3):
        with pytest.raises(RedisAway):
            await client.call("GET", "k")
        await deferLater(reactor, 0.15)
    await client.stop()
    await port.stopListening()
    assert reasons(logged) in ([], [NOT_RESP])


@pytest.fixture
def hanging_up(authority):
    """A TLS server that takes the first command and hangs up; (port, connections so far)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
                taken.append(sock.recv(100))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest_twisted.ensureDeferred
async def test_a_tls_server_that_hangs_up_is_away(logged, authority, hanging_up):
    """A connection lost while logging in is tried again, and reported as what it is."""
    port, taken = hanging_up
    ca_pem = authority.cert_pem.bytes()
    client = RedisClient(reactor, parse_redis_url(f"rediss://localhost:{port}"), ca_pem=ca_pem)
    client.start()
    await until(lambda: len(taken) > 2)
    await client.stop()
    assert reasons(logged) == ["it hung up"]


@pytest_twisted.ensureDeferred
async def test_a_certificate_of_nobody_known_is_logged(logged, hanging_up):
    """Whoever forgot to trust the CA of their Redis reads that TLS failed, not that it is away."""
    client = RedisClient(reactor, parse_redis_url(f"rediss://localhost:{hanging_up[0]}"))
    client.start()
    await until(lambda: reasons(logged))
    await client.stop()
    assert reasons(logged) == ["TLS failed"]


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_logged_as_such(logged, server):
    """The line says that the log-in is refused, also of a Redis that was away before, and nothing of what was sent."""
    client = RedisClient(reactor, parse_redis_url(f"redis://:CANARY@127.0.0.1:{server.port}"))
    client.start()
    await until(lambda: "it refuses the log-in: WRONGPASS" in reasons(logged))
    await client.stop()
    assert "CANARY" not in str([event.get("log_format") for event in logged])


@pytest.fixture
def silent():
    """A listener that accepts connections and never says a word; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_silent_from_the_start_costs_one_deadline(silent):
    """A Redis frozen before the daemon starts delays its first call; the others of the first second go on at once."""
    client = RedisClient(reactor, parse_redis_url(f"redis://127.0.0.1:{silent}"))
    client.start()
    with pytest.raises(RedisAway):
        await client.call("PING")
    for _ in range(3):
        at_once = client.call("PING")
        assert at_once.called
        with pytest.raises(RedisAway):
            await at_once
    await client.stop()
