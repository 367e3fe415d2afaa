"""Turns of WebSockets at two workers with a Redis: one budget, one limit, and books that agree."""

import contextlib
import json
import time
from collections import Counter

import pytest
from websockets.sync.client import connect
from world.agent_upstream import INPUT_TOKENS, OUTPUT_TOKENS, AgentUpstream, prices
from world.daemon import configured
from world.exchange_lines import exchange_lines
from world.pages import get_json, metrics, total
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually
from world.workers import clients_of_each

LANES = 8
SOCKETS = 2
"""At each worker."""
ASKED = 2 * SOCKETS * LANES
"""One turn of each lane."""
PAID = 10
REQUESTS_PER_MINUTE = 12
CONFIG = f"""{prices(50)}
[[keys]]
name = "poor"
key = "sk-poor"
budget_usd = {PAID * OUTPUT_TOKENS * 50 / 1e6}
[[keys]]
name = "limited"
key = "sk-limited"
limits.requests_per_minute = {REQUESTS_PER_MINUTE}
[[keys]]
name = "free"
key = "sk-free"
limits.requests_per_minute = 100000
limits.tokens_per_minute = 10000000
"""


def open_at_each(daemon, key, opened):
    """Open SOCKETS WebSockets at each of the workers; the ExitStack `opened` closes them."""
    clients = [c for _ in range(SOCKETS) for c in clients_of_each(daemon, daemon.port).values()]
    return [
        opened.enter_context(
            connect(
                f"ws://127.0.0.1:{daemon.port}/v1/responses",
                sock=client.sock,
                additional_headers={"Authorization": f"Bearer {key}"},
                compression=None,
                proxy=None,
            )
        )
        for client in clients
    ]


def ask_all(sockets):
    """Ask for a turn in each lane of all sockets before any answer is read; return the codes of refusals."""
    for socket in sockets:
        for lane in range(LANES):
            asked = {
                "type": "response.create",
                "model": "m",
                "input": "hi",
                "max_output_tokens": OUTPUT_TOKENS,
            }
            socket.send(json.dumps({**asked, "stream_id": f"lane-{lane}"}))
    refused = []
    for socket in sockets:
        left = {f"lane-{lane}" for lane in range(LANES)}
        while left:
            event = json.loads(socket.recv(PATIENCE_S))
            if event["type"] == "error":
                refused.append(event["error"]["code"])
            if event["type"] in ("error", "response.completed"):
                left.remove(event["stream_id"])
    return refused


@pytest.fixture
def scene(start, redis, tmp_path):
    """Start a daemon with two workers and a Redis, before an upstream that plays a model."""
    upstream = Upstream()
    upstream.script = model = AgentUpstream()
    options = configured(tmp_path, CONFIG)["options"]
    env = {"OPENAI_API_KEY": "sk-up", "OBSERVERS": "exchange-log:dir=logs", "RATE_LIMIT__URL": redis.url}
    daemon = start(upstream, directory=tmp_path, options=[*options, "--workers", "2"], env=env).daemon
    return daemon, model


def test_turns_at_two_workers_share_budget_and_limits(scene, tmp_path):
    """Thirty-two lanes at once: what the upstream was asked is what was admitted, logged, counted and charged."""
    daemon, model = scene
    admitted = {}
    for key in ("poor", "limited", "free"):
        before, began = len(model.turns), time.monotonic()
        with contextlib.ExitStack() as opened:
            refused = ask_all(open_at_each(daemon, f"sk-{key}", opened))
        admitted[key] = len(model.turns) - before
        assert admitted[key] == ASKED - len(refused)
        if key == "poor":
            assert admitted[key] == PAID
            assert set(refused) == {"insufficient_quota"}
        elif key == "limited":
            refilled = (time.monotonic() - began) * REQUESTS_PER_MINUTE / 60
            assert REQUESTS_PER_MINUTE <= admitted[key] <= REQUESTS_PER_MINUTE + refilled
            assert set(refused) == {"rate_limit_exceeded"}
        else:
            assert refused == []
    assert eventually(lambda: len(exchange_lines(tmp_path / "logs", "WS")) == 3 * ASKED)
    lines = exchange_lines(tmp_path / "logs", "WS")
    paid = [line for line in lines if line["cost_usd"]]
    assert Counter(line["key"] for line in paid) == admitted
    assert {line["outcome"] for line in lines if not line["cost_usd"]} == {"limit"}
    assert len({line["id"] for line in lines}) == len(lines)
    calls = sum(admitted.values())
    assert sum(line["cost_usd"] for line in paid) == pytest.approx(calls * OUTPUT_TOKENS * 50 / 1e6)
    page = metrics(daemon.port)
    assert total(page, "openai_proxy_websocket_turns_total") == len(lines)
    assert total(page, "openai_proxy_tokens_total") == calls * (INPUT_TOKENS + OUTPUT_TOKENS)
    assert total(page, "openai_proxy_cost_usd_total") == pytest.approx(calls * OUTPUT_TOKENS * 50 / 1e6)
    [budget] = get_json(daemon.port, "/admin/usage")["budgets"]
    assert budget["spent_usd"] == pytest.approx(PAID * OUTPUT_TOKENS * 50 / 1e6)
