"""What runs, seen and cancelled, in a daemon of one process and in one of two workers."""

import http.client
import json
import os
import signal
import threading
import time
from contextlib import closing

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve
from world.client import Client
from world.daemon import configured
from world.pages import get_json, metrics
from world.requests import KEY, chat, post
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually
from world.workers import worker_of, workers
from world.world import serving

WITHIN_S = 10.0
"""A second is promised; the rest is for a busy machine."""
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'


def delete(port, id):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("DELETE", f"/admin/exchanges/{id}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def running(port, **fields):
    """Return the rows that run and have these values."""
    rows = get_json(port, "/admin/exchanges?state=running")["exchanges"]
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def only(port, **fields):
    assert eventually(lambda: len(running(port, **fields)) == 1)
    [row] = running(port, **fields)
    return row


class Stuck:
    """An upstream's script: begins a stream, or nothing at all, and waits until it is left."""

    def __init__(self, streams=0):
        self.streams = streams
        self.left = threading.Event()

    def __call__(self, call):
        call.read_body()
        if self.streams:
            call.start_stream()
            for _ in range(self.streams):
                call.chunk(DELTA)
        call.seconds_until_gone()
        self.left.set()
        call.finish()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Run one process with a budget, a limit that lets wait, retries and single flight."""
    directory = tmp_path_factory.mktemp("live")
    toml = f"""
    [[keys]]
    name = "alice"
    key = "{KEY}"
    budget_usd = 100.0
    [keys.limits]
    concurrent_requests = 3
    [rate_limit]
    max_wait_s = 60.0
    [[cost.prices]]
    match = "*"
    input_usd_per_million = 1.0
    output_usd_per_million = 1.0
    """
    env = {"OPENAI_API_KEY": "sk-upstream", "CACHE__URL": "memory:", "RETRY__MAX_RETRIES": "2"}
    with serving(directory, env={**env, "OBSERVERS": "json:-"}, **configured(directory, toml)) as world:
        yield world


def cancelled(world, client, id, script):
    """Cancel an exchange and return what its client has then."""
    began = time.monotonic()
    assert delete(world.port, id) == (202, {"id": id, "state": "cancelling"})
    if script is not None:
        assert script.left.wait(WITHIN_S)
    assert time.monotonic() - began < WITHIN_S
    assert eventually(lambda: not running(world.port, id=id))
    assert delete(world.port, id)[0] == 404
    [ended] = [
        row for row in get_json(world.port, "/admin/exchanges?state=ended")["exchanges"] if row["id"] == id
    ]
    assert ended["outcome"] == "cancelled"
    return client


def refused(client):
    answer = client.response()
    assert (answer.status, answer.error["code"]) == (403, "cancelled_by_operator")
    assert answer.header(b"x-should-retry") == b"false"


def test_one_that_waits_for_the_upstream(alone):
    """It is left within a second, and paid for as if the client had left."""
    alone.upstream.script = script = Stuck()
    with Client(alone.port) as client:
        client.send(chat())
        row = only(alone.port, state="waiting", attempts=1)
        assert (row["key"], row["model"], row["endpoint"]) == ("alice", "gpt-4o-mini", "chat/completions")
        refused(cancelled(alone, client, row["id"], script))
    budget = get_json(alone.port, "/admin/usage")["budgets"][0]
    assert budget["spent_usd"] > 0
    assert budget["reserved_usd"] == 0


def test_one_that_streams(alone):
    """Its tokens are counted while it runs; then it breaks off."""
    alone.upstream.script = script = Stuck(streams=5)
    with Client(alone.port) as client:
        client.send(post(KEY, {"model": "m", "messages": [], "stream": True}))
        for _ in range(5):  # each may come in a chunk of its own
            client.read_until(DELTA)
        row = only(alone.port, state="streaming", output_tokens=5)
        assert row["estimated"]
        timeline = get_json(alone.port, f"/admin/exchanges/{row['id']}")["timeline"]
        assert 0 <= timeline["connect_s"] <= timeline["upstream_s"] <= timeline["first_byte_s"]
        cancelled(alone, client, row["id"], script)
        assert not client.rest().endswith(b"0\r\n\r\n")
    assert eventually(lambda: f'"id":"{row["id"]}"' in alone.daemon.log)
    [line] = [line for line in alone.daemon.log.splitlines() if f'"id":"{row["id"]}"' in line]
    assert json.loads(line)["outcome"] == "cancelled"
    assert 'outcome="cancelled"' in metrics(alone.port)


def test_one_that_waits_for_a_free_slot(alone):
    """It never reached the upstream, and costs nothing."""
    alone.upstream.script = Stuck()
    before = get_json(alone.port, "/admin/usage")["budgets"][0]["spent_usd"]
    clients = [Client(alone.port) for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(post(KEY, {"model": f"m{number}", "messages": []}))
    row = only(alone.port, state="queued")
    [waiting] = [client for number, client in enumerate(clients) if row["model"] == f"m{number}"]
    refused(cancelled(alone, waiting, row["id"], None))
    assert get_json(alone.port, "/admin/usage")["budgets"][0]["spent_usd"] == before
    for client in clients:
        client.close()
    assert eventually(lambda: not running(alone.port))


def test_one_that_pauses_before_another_attempt(alone):
    """No attempt follows."""

    def busy(call):
        call.read_body()
        call.reply(b"{}", [(b"Retry-After", b"30")], b"503 Busy")

    alone.upstream.begin(busy)
    with Client(alone.port) as client:
        client.send(post(KEY, {"model": "paused", "messages": []}))
        row = only(alone.port, model="paused", attempts=1)
        assert eventually(lambda: len(alone.upstream.calls) == 1)
        refused(cancelled(alone, client, row["id"], None))
    assert len(alone.upstream.calls) == 1


def test_one_that_shares_anothers_call(alone):
    """The call goes on for the others."""
    gate, done = threading.Event(), []

    def script(call):
        call.read_body()
        done.append(gate.wait(PATIENCE_S))
        call.reply_json({"object": "list", "data": []})

    alone.upstream.script = script
    body = {"model": "shared", "input": "hi"}
    first, second = Client(alone.port), Client(alone.port)
    first.send(post(KEY, body, "/v1/embeddings"))
    row = only(alone.port, model="shared")
    second.send(post(KEY, body, "/v1/embeddings"))
    assert eventually(lambda: len(running(alone.port, model="shared")) == 2)
    refused(cancelled(alone, first, row["id"], None))
    gate.set()
    assert second.response().status == 200
    assert done == [True]
    first.close()
    second.close()


@pytest.fixture
def tunnelled(start):
    """Run a WebSocket server that echoes, or sends half a frame until `finish` is set, and a daemon that uses it."""
    finish = threading.Event()

    def handler(connection):
        for message in connection:
            if message == "slowly":
                connection.socket.sendall(b"\x81\x04wo")
                assert finish.wait(PATIENCE_S)
                connection.socket.sendall(b"rd")
            else:
                connection.send(message)

    server = serve(handler, "127.0.0.1", 0, compression=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = start(url=f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1").port
    key = {"Authorization": f"Bearer {KEY}"}
    with connect(f"ws://127.0.0.1:{port}/v1/realtime", additional_headers=key, compression=None) as client:
        yield client, port, finish
    server.shutdown()
    thread.join(PATIENCE_S)


@pytest.mark.parametrize("mid_frame", [False, True])
def test_a_websocket_is_closed_with_1008(tunnelled, mid_frame):
    """At the end of a frame, so that the client can read it, and does not come again."""
    client, port, finish = tunnelled
    client.send("hello")
    assert client.recv() == "hello"
    row = only(port, state="tunnel", transport="websocket", bytes_out=7)
    if mid_frame:
        client.send("slowly")
        assert only(port, state="tunnel", bytes_out=11)["id"] == row["id"]
    assert delete(port, row["id"])[0] == 202
    if mid_frame:
        finish.set()
        assert client.recv(PATIENCE_S) == "word"
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(PATIENCE_S)
    assert closed.value.rcvd.code == 1008
    assert eventually(lambda: not running(port))


def read_events(port, until):
    """Read the live view until an event is such a one; return all."""
    found = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/admin/live")
        answer = connection.getresponse()
        assert answer.status == 200
        name = None
        while True:
            line = answer.readline().decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
                if until(*found[-1]):
                    return found


def test_workers_are_one_table(start):
    """Whichever worker answers lists, cancels and shows all; one that dies loses its rows."""
    upstream = Upstream()
    upstream.script = Stuck(streams=1)
    world = start(upstream=upstream, options=["--workers", "2"])
    clients = {}
    while len(clients) < 2:
        client = Client(world.port)
        client.send(chat())
        client.read_until(DELTA)
        worker = worker_of(world.daemon, client)
        if worker in clients:
            client.close()
        else:
            clients[worker] = client
    assert eventually(lambda: len(running(world.port)) == 2)
    rows = running(world.port)
    assert {row["id"][6:9] for row in rows} == {"001", "002"}
    assert get_json(world.port, f"/admin/exchanges/{rows[0]['id']}")["path"] == "/v1/chat/completions"

    def ends(name, data):
        return name == "ended" and data["id"] == rows[0]["id"]

    events, begun = [], threading.Event()

    def until(name, data):
        begun.set()
        return ends(name, data)

    reading = threading.Thread(target=lambda: events.extend(read_events(world.port, until)))
    reading.start()
    assert begun.wait(PATIENCE_S)
    assert delete(world.port, rows[0]["id"])[0] == 202
    reading.join(PATIENCE_S)
    assert events[0][0] == "snapshot"
    assert events[-1][1]["outcome"] == "cancelled"
    # a worker reports to the supervisor before it answers this, so the supervisor has the row of the next victim
    assert eventually(lambda: [row["id"] for row in running(world.port)] == [rows[1]["id"]])
    victim = workers(world.daemon)[int(rows[1]["id"][6:9], 16) - 1]
    os.kill(victim, signal.SIGKILL)
    assert eventually(
        lambda: (
            ("worker_lost", rows[1]["id"])
            in [
                (row["outcome"], row["id"])
                for row in get_json(world.port, "/admin/exchanges?state=ended")["exchanges"]
            ]
        )
    )
    assert running(world.port) == []
    assert eventually(lambda: len(workers(world.daemon)) == 2)
    for client in clients.values():
        client.close()
