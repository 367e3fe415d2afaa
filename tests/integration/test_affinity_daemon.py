"""Conversations over three upstreams that know only their own ids, through a daemon with two workers.

With a Redis, what a daemon has learnt outlives it, and other machines know it.

AFFINITY_CONVERSATIONS sets how many; each has five turns.
"""

import contextlib
import json
import os
import secrets
import signal

from world.client import Client
from world.daemon import Daemon, configured
from world.pages import get_json, metrics
from world.requests import post
from world.upstream import Upstream
from world.waiting import eventually
from world.workers import workers

CONVERSATIONS = int(os.environ.get("AFFINITY_CONVERSATIONS", "40"))
ENTRY = '[[upstreams]]\nname = "{}"\nbase_url = "{}"\napi_key = "sk-{}"\n'


class Server(Upstream):
    """Answers with an id of its own, as a document or as a stream; knows nobody else's."""

    def __init__(self, name):
        super().__init__()
        self.name, self.made, self.wrong = name, set(), 0
        self.script = self.answer

    def answer(self, call):
        document = json.loads(call.read_body())
        used = document.get("previous_response_id")
        if used is not None and used not in self.made:
            self.wrong += 1
            code = {
                "code": "previous_response_not_found",
                "message": f"Previous response with id '{used}' not found.",
            }
            call.reply_json(
                {"error": {"type": "invalid_request_error", "param": None, **code}}, b"400 Bad Request"
            )
            return
        name = f"resp_{self.name}{secrets.token_hex(8)}"
        self.made.add(name)
        response = {"id": name, "object": "response", "model": "m", "output": [], "status": "completed"}
        if not document.get("stream"):
            call.reply_json(response)
            return
        call.start_stream()
        for kind in ("response.created", "response.completed"):
            event = {"type": kind, "response": response}
            call.chunk(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())
        call.end_stream()


class Agents:
    """Two connections that take turns, so that both workers see every conversation, and what they asked last."""

    def __init__(self, port):
        self.port, self.clients, self.last = port, [], {}

    def close(self):
        for client in self.clients:
            client.close()

    def connect(self):
        self.close()
        self.clients = [Client(self.port) for _ in range(6)]

    def turn(self):
        for number in range(CONVERSATIONS):
            document = {"model": "m", "input": "hi", "stream": number % 2 == 0}
            if number in self.last:
                document["previous_response_id"] = self.last[number]
            client = self.clients[secrets.randbelow(6)]
            client.send(post("sk-agent", document, "/v1/responses"))
            response = client.response()
            assert response.status == 200, response.body
            body = response.body
            if document["stream"]:
                body = body.rpartition(b"data: ")[2]
            found = json.loads(body)
            self.last[number] = found.get("response", found)["id"]


def test_no_turn_goes_to_the_wrong_upstream(tmp_path_factory):
    """With a reload, a worker's death and a restart without Redis in between; only after the restart is searched."""
    servers = [Server(name) for name in "abc"]
    toml = "".join(ENTRY.format(each.name, each.url, each.name) for each in servers)

    def started():
        directory = tmp_path_factory.mktemp("daemon")
        options = configured(directory, toml)["options"]
        return Daemon(
            directory, servers[0].url, options=[*options, "--workers", "2"], env={"OBSERVERS": "none"}
        )

    daemon = started()
    agents = Agents(daemon.port)
    try:
        agents.connect()
        agents.turn()
        agents.turn()
        daemon.signal(signal.SIGHUP)
        assert eventually(lambda: "reloaded" in daemon.log)
        agents.turn()
        killed = workers(daemon)[0]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: len(workers(daemon)) == 2 and killed not in workers(daemon))
        assert eventually(lambda: "is ready" in daemon.log)
        agents.connect()
        agents.turn()
        assert [each.wrong for each in servers] == [0, 0, 0]
        page = get_json(daemon.port, "/health")
        assert [each["in_flight"] for each in page["upstreams"]] == [0, 0, 0]
        # each worker reports only its own names, and a new one may have had nothing to learn
        assert eventually(lambda: get_json(daemon.port, "/health")["known_state"] > 0)
        assert 'openai_proxy_upstream_choices_total{reason="state",upstream="a"}' in metrics(daemon.port)
        daemon.stop()
        daemon = started()
        agents.port = daemon.port
        agents.connect()
        agents.turn()
        searched = sum(each.wrong for each in servers)
        agents.turn()
        assert 0 < searched == sum(each.wrong for each in servers)
        assert daemon.defects == []
    finally:
        agents.close()
        daemon.stop()
        for each in servers:
            with contextlib.suppress(OSError):
                each.close()
    assert [each.errors for each in servers] == [[], [], []]


def test_redis_knows_what_another_machine_has_learnt(tmp_path_factory, redis):
    """A second daemon searches for nothing; while Redis is frozen or empty, each goes by what it knows itself."""
    servers = [Server(name) for name in "abc"]
    toml = "".join(ENTRY.format(each.name, each.url, each.name) for each in servers)
    daemons = []
    for workers_of_it in ("2", "1"):
        directory = tmp_path_factory.mktemp("machine")
        options = [*configured(directory, toml)["options"], "--workers", workers_of_it]
        env = {"OBSERVERS": "none", "CACHE__URL": redis.url, "LOG_LEVEL": "debug"}
        daemons.append(Daemon(directory, servers[0].url, options=options, env=env))
    agents = Agents(daemons[0].port)
    try:
        for daemon in (*daemons, daemons[0]):
            agents.port = daemon.port
            agents.connect()
            agents.turn()
        assert [each.wrong for each in servers] == [0, 0, 0]
        redis.freeze()
        agents.turn()
        redis.thaw()
        redis.kill()
        redis.start()
        agents.turn()
        assert [daemon.defects for daemon in daemons] == [[], []]
        assert 'openai_proxy_upstream_choices_total{reason="state",upstream="b"}' in metrics(daemons[1].port)
    finally:
        agents.close()
        for daemon in daemons:
            daemon.stop()
        for each in servers:
            with contextlib.suppress(OSError):
                each.close()
    assert [each.errors for each in servers] == [[], [], []]
