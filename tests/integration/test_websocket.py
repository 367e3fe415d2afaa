"""WebSockets through the daemon, with a client and a server that are not ours."""

import threading
import time
from functools import partial

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from world import websocket_server
from world.client import Client
from world.requests import KEY
from world.waiting import PATIENCE_S, eventually
from world.websocket_server import WebSocketServer

REALTIME = "/v1/realtime?model=gpt-realtime"


@pytest.fixture
def server():
    """Run a WebSocket server of this test's own."""
    server = WebSocketServer()
    yield server
    server.close()


@pytest.fixture
def websocket_daemon(start, server):
    """Start daemons with that server as upstream."""

    def started(**env):
        return start(url=server.url, env=env).daemon

    return started


open_websocket = partial(websocket_server.open_websocket, key=KEY, path=REALTIME)


def test_messages_pass_both_ways(websocket_daemon, server):
    """Text, binary, empty and fragmented messages come back as sent; pings are answered."""
    with open_websocket(websocket_daemon()) as socket:
        for message in ("hello", b"\x00\xff", "", "x" * 70_000, b"y" * 300_000):
            socket.send(message)
            assert socket.recv(PATIENCE_S) == message
        socket.send(["frag", "ment", "ed"])
        assert socket.recv(PATIENCE_S) == "fragmented"
        assert socket.ping().wait(PATIENCE_S)
    request = server.handshakes[0]
    assert request.path == REALTIME
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Via"] == "1.1 openai-proxy"


@pytest.mark.parametrize("path", ["/v1/realtime?model=x", "/realtime?model=x", "/v1/responses"])
def test_paths_of_websockets(websocket_daemon, server, path):
    """The tunnel is for every path of the API, with and without /v1."""
    with open_websocket(websocket_daemon(), path=path) as socket:
        socket.send("x")
        assert socket.recv(PATIENCE_S) == "x"
    assert server.handshakes[0].path == "/v1" + path.removeprefix("/v1")


def test_close_code_of_the_client_reaches_the_server(websocket_daemon, server):
    """The reason why a client left reaches the other side."""
    with open_websocket(websocket_daemon()) as socket:
        socket.close(4001, "bye")
    assert eventually(lambda: server.closed)
    assert server.closed[0][1] == 4001


def test_close_code_of_the_server_reaches_the_client(websocket_daemon, server):
    """The reason why a session ended reaches the client."""
    server.handler = lambda connection: connection.close(4008, "session expired")
    with open_websocket(websocket_daemon()) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENCE_S)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4008, "session expired")


def test_key_is_swapped_in_the_header(websocket_daemon, server):
    """In inject mode the server sees only the configured key."""
    with open_websocket(websocket_daemon(OPENAI_API_KEY="sk-upstream")):
        pass
    assert server.handshakes[0].headers.get_all("Authorization") == ["Bearer sk-upstream"]
    assert KEY not in str(server.handshakes[0].headers)


def test_key_is_swapped_in_the_subprotocol(websocket_daemon, server):
    """A browser's key is read from the subprotocol and replaced there."""
    daemon = websocket_daemon(OPENAI_API_KEY="sk-upstream")
    with open_websocket(
        daemon, key=None, subprotocols=["realtime", f"openai-insecure-api-key.{KEY}"]
    ) as socket:
        assert socket.subprotocol == "realtime"
        socket.send("x")
        assert socket.recv(PATIENCE_S) == "x"
    headers = str(server.handshakes[0].headers)
    assert "sk-upstream" in headers
    assert KEY not in headers


def test_handshake_without_a_key_is_refused(websocket_daemon, server):
    """No credentials, no tunnel."""
    with pytest.raises(InvalidStatus) as refused:
        open_websocket(websocket_daemon(), key=None)
    assert refused.value.response.status_code == 401
    assert server.handshakes == []


def test_refusal_of_the_server_is_relayed(websocket_daemon, server):
    """An answer other than 101 comes as the server gave it, body and all."""
    server.answer = Response(403, "Forbidden", Headers({"X-Why": "because", "Content-Length": "2"}), b"no")
    with pytest.raises(InvalidStatus) as refused:
        open_websocket(websocket_daemon())
    response = refused.value.response
    assert (response.status_code, response.reason_phrase, response.body) == (403, "Forbidden", b"no")
    assert response.headers["X-Why"] == "because"


def test_client_that_vanishes_ends_the_tunnel(websocket_daemon, server):
    """A session that nobody listens to ends at once."""
    with open_websocket(websocket_daemon()) as socket:
        socket.send("x")
        assert socket.recv(PATIENCE_S) == "x"
        socket.socket.shutdown(2)
        start = time.monotonic()
        assert eventually(lambda: server.closed)
    assert server.closed[0][0] - start < 10.0  # at once, on a busy machine


def test_server_that_vanishes_ends_the_tunnel(websocket_daemon, server):
    """The client learns that its session is over."""
    server.handler = lambda connection: connection.socket.shutdown(2)
    with open_websocket(websocket_daemon()) as socket, pytest.raises(ConnectionClosed):
        socket.recv(PATIENCE_S)


def test_receiver_that_does_not_read_holds_the_sender_back(websocket_daemon, server):
    """A tunnel to a slow reader stays small, and loses nothing."""
    go_on = threading.Event()
    counts = []

    def slow(connection):
        go_on.wait(PATIENCE_S)
        counts.append(sum(len(message) for message in connection))

    server.handler = slow
    daemon = websocket_daemon()
    block = b"x" * (1 << 20)
    with open_websocket(daemon) as socket:
        before = daemon.resident_bytes()
        sender = threading.Thread(target=lambda: [socket.send(block) for _ in range(64)])
        sender.start()
        sender.join(0.7)
        grown = daemon.resident_bytes() - before
        go_on.set()
        sender.join(PATIENCE_S)
    assert grown < 8 << 20
    assert eventually(lambda: counts)
    assert counts == [64 << 20]


def test_bytes_after_the_handshake_are_not_lost(websocket_daemon, server):
    """A client may send its first frame before it has read the 101."""
    daemon = websocket_daemon()
    with Client(daemon.port) as client:
        client.send(
            b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            b"\x81\x82\x00\x00\x00\x00hi"
        )
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert client.read_until(b"hi") == b"\x81\x02hi"
