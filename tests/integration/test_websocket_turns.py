"""Turns of a WebSocket through a real daemon: budget, logs, metrics, and the end of the daemon."""

import json
import signal
import threading

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from world.client import Client
from world.daemon import configured
from world.exchange_lines import exchange_lines
from world.pages import metrics, total
from world.waiting import PATIENCE_S
from world.websocket_server import WebSocketServer, open_websocket

CONFIG = """
[[cost.prices]]
match = "m"
input_usd_per_million = 0
output_usd_per_million = 1000000   # a dollar for each token
[[keys]]
name = "alice"
key = "alice-key"
models = ["m"]
budget_usd = 8
[[keys]]
name = "bob"
key = "bob-key"
"""


def answering(release=None):
    """Return a handler whose turns use five output tokens each; each waits for `release`."""

    def handle(connection):
        for number, message in enumerate(connection):
            lane = {"stream_id": json.loads(message).get("stream_id")}
            response = {"id": f"resp_{number}", "object": "response", "model": "m"}
            connection.send(json.dumps({"type": "response.created", "response": response, **lane}))
            if release is not None:
                release.wait(PATIENCE_S)
            usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
            done = {**response, "status": "completed", "output": [], "usage": usage}
            connection.send(json.dumps({"type": "response.completed", "response": done, **lane}))

    return handle


@pytest.fixture
def server():
    """Run a server whose turns are answered."""
    server = WebSocketServer()
    server.handler = answering()
    yield server
    server.close()


def turn(socket, **fields):
    """Ask for a response; return the events up to its end."""
    socket.send(json.dumps({"type": "response.create", "model": "m", "input": "hi", **fields}))
    events = []
    while not events or events[-1]["type"] not in ("response.completed", "error"):
        events.append(json.loads(socket.recv(PATIENCE_S)))
    return events


def test_turns_are_judged_logged_and_counted_one_by_one(start, server, tmp_path):
    """A budget stops the next turn; the connection stays, and what is no rule's business passes."""
    daemon = start(
        url=server.url,
        directory=tmp_path,
        **configured(tmp_path, CONFIG),
        env={"OPENAI_API_KEY": "sk-up", "OBSERVERS": "exchange-log:dir=logs"},
    ).daemon
    with open_websocket(daemon, key="alice-key", path="/v1/responses") as socket:
        assert socket.response.headers.get("Sec-WebSocket-Extensions") is None
        assert turn(socket, model="dear")[0]["error"]["code"] == "model_not_allowed"
        assert [event["type"] for event in turn(socket)] == ["response.created", "response.completed"]
        assert len(turn(socket, stream_id="a")) == 2
        [refused] = turn(socket, stream_id="a")
        assert (refused["status"], refused["error"]["code"]) == (429, "insufficient_quota")
        assert refused["stream_id"] == "a"
    with open_websocket(daemon, key="bob-key", path="/v1/responses") as socket:
        assert len(turn(socket)) == 2
    turns = exchange_lines(tmp_path / "logs", "WS")
    assert sorted((line["key"], line["turn"], line["outcome"], line["cost_usd"]) for line in turns) == [
        ("alice", 1, "rejected", None),
        ("alice", 2, "complete", 5.0),
        ("alice", 3, "complete", 5.0),
        ("alice", 4, "limit", None),
        ("bob", 1, "complete", 5.0),
    ]
    [answered] = [line for line in turns if line["key"] == "bob"]
    assert answered["response"]["body"]["status"] == "completed"
    assert answered["request"]["body"]["input"] == "hi"
    assert answered["connection"] in {line["id"] for line in exchange_lines(tmp_path / "logs")}
    assert total(metrics(daemon.port), "openai_proxy_websocket_turns_total") == 5


def test_a_daemon_that_stops_waits_for_the_end_of_a_turn(start, server, tmp_path):
    """Then it closes with 1012, so that SDKs connect again; no new turn begins."""
    release = threading.Event()
    server.handler = answering(release)
    daemon = start(
        url=server.url,
        directory=tmp_path,
        **configured(tmp_path, CONFIG),
        env={"OPENAI_API_KEY": "sk-up", "WEBSOCKET__INSPECT": "always"},
    ).daemon
    with (
        open_websocket(daemon, key="bob-key", path="/v1/responses") as idle,
        open_websocket(daemon, key="bob-key", path="/v1/responses") as busy,
    ):
        busy.send(json.dumps({"type": "response.create", "model": "m"}))
        assert json.loads(busy.recv(PATIENCE_S))["type"] == "response.created"
        daemon.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv(PATIENCE_S)
        assert closed.value.rcvd.code == 1012
        [refused] = turn(busy)
        assert (refused["status"], refused["error"]["code"]) == (503, "shutting_down")
        release.set()
        assert json.loads(busy.recv(PATIENCE_S))["type"] == "response.completed"
        with pytest.raises(ConnectionClosed) as closed:
            busy.recv(PATIENCE_S)
        assert closed.value.rcvd.code == 1012
    assert daemon.wait_until_gone()


def _frames(text, masked, size=50):
    """Return a text message in frames of `size` bytes, and a ping: between a server's, before a client's.

    A client's message is held until it is whole, so its pings overtake it.
    """
    data = text.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    frames = [
        Frame(Opcode.TEXT if not number else Opcode.CONT, piece, number == len(pieces) - 1).serialize(
            mask=masked
        )
        for number, piece in enumerate(pieces)
    ]
    ping = Frame(Opcode.PING, b"?").serialize(mask=masked)
    return b"".join([ping, *frames] if masked else [frames[0], ping, *frames[1:]])


def _asked(number):
    document = {"type": "response.create", "model": "m", "stream_id": f"s{number}", "input": "ä" * 400}
    return _frames(json.dumps(document, ensure_ascii=False), masked=True)


def _answered(number):
    response = {"id": f"resp_{number}", "object": "response", "model": "m", "output": []}
    usage = {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8}
    events = [
        {"type": "response.created", "response": response},
        {"type": "response.output_text.delta", "delta": "é" * 300},
        {"type": "response.completed", "response": {**response, "status": "completed", "usage": usage}},
    ]
    return b"".join(
        _frames(json.dumps({**event, "stream_id": f"s{number}"}, ensure_ascii=False), masked=False)
        for event in events
    )


@pytest.mark.parametrize(
    ("inspect", "key"), [("auto", "alice-key"), ("always", "bob-key"), ("never", "bob-key")]
)
def test_the_bytes_are_those_of_a_direct_connection(start, tmp_path, inspect, key):
    """Masks, fragments and pings included, in both directions and whoever reads along."""
    turns = range(5)
    received = b""

    def script(call):
        nonlocal received
        call.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        for number in turns:
            expected = sum(map(len, sent[: number + 1]))
            while len(received) < expected:
                received += call.receive()
            call.send(_answered(number))
        call.seconds_until_gone()
        call.closed = True

    sent = [_asked(number) for number in turns]
    world = start(
        **configured(tmp_path, CONFIG), env={"OPENAI_API_KEY": "sk-up", "WEBSOCKET__INSPECT": inspect}
    )
    world.upstream.script = script
    with Client(world.port) as client:
        client.send(
            b"GET /v1/responses HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %b\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            % key.encode()
        )
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        for number in turns:
            client.send(sent[number])
            answer = _answered(number)
            assert client.read_until(answer[-200:]) == answer
    assert received == b"".join(sent)
