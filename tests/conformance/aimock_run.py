#!/usr/bin/env python3
"""SDKs and Codex before aimock, a mock server that others wrote: directly, and through the proxy in its three modes.

    .venv/bin/python tests/conformance/aimock_run.py [CLIENT ...]

openai-python and openai-node: chat and Responses whole and as streams, turns over a WebSocket of `/responses`, and
Realtime. Codex: a task over its WebSocket. What the client's user sees must be the same but for ids and times, the
bytes before and after the proxy the same without exception, and each call and each turn one line of the exchange
log. Installs the npm packages into CONFORMANCE_DIR. Exit 1 if something was wrong.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import agent_clients as clients
import openai
from agents_run import CODEX_PROGRAM, SDK, install
from world.daemon import Daemon, configured
from world.exchange_lines import exchange_lines
from world.taps import Tap
from world.waiting import eventually

HERE = Path(__file__).resolve().parent
WORK = Path(
    os.environ.get("CONFORMANCE_DIR") or Path(tempfile.gettempdir()) / "openai-proxy-conformance"
).resolve()
AIMOCK = "@copilotkit/aimock@1.43.0"
MODEL, REALTIME_MODEL = "gpt-4o", "gpt-realtime"
COUNTED = "[rate_limit]\nrequests_per_minute = 100000\n"
KEYS = COUNTED + '[[keys]]\nname = "agent"\nkey = "sk-own"\nendpoints = ["*"]\n'
MODES: dict[str, tuple[str, dict[str, str]]] = {
    "inject": (COUNTED, {"OPENAI_API_KEY": "sk-up"}),
    "tenants": (KEYS, {"OPENAI_API_KEY": "sk-up"}),
    "pass-through": (COUNTED, {}),
}
CALLS = {"python": 9, "node": 9, "codex": None}
"""Of models, that a session makes; None if its client decides."""
SOCKETS = {"python": 2, "node": 2, "codex": 2}
"""Codex opens another one, for aimock knows no turn that only warms up."""
ANSWER = "Hello from the mock server, in several chunks: äöü €"
_CHANGING = re.compile(
    r'"(?:id|\w*_id|created|created_at|completed_at|expires_at|obfuscation)": ?(?:"[^"]*"|[\d.]+)'
)


def by_python(base: str) -> list[str]:
    """Return all that the library's user sees, in order, without what is new in each run."""
    seen: list[Any] = []
    with openai.OpenAI(base_url=base, api_key="sk-own", max_retries=0) as api:
        asked: Any = [{"role": "user", "content": "hello"}]
        tools: Any = [
            {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
        ]
        weather: Any = [{"role": "user", "content": "weather"}]
        seen.append(api.chat.completions.create(model=MODEL, messages=asked))
        usage: Any = {"include_usage": True}  # or the proxy adds it, and hides what comes of it
        seen += api.chat.completions.create(model=MODEL, messages=asked, stream=True, stream_options=usage)
        seen.append(api.chat.completions.create(model=MODEL, messages=weather, tools=tools))
        seen.append(api.responses.create(model=MODEL, input="hello"))
        seen += api.responses.create(model=MODEL, input="hello", stream=True)
        with api.responses.connect() as connection:
            for text in ("hello", "weather", "status-429"):
                connection.response.create(model=MODEL, input=text)
                seen += _until(connection, "response.completed", "error")
        with api.realtime.connect(model=REALTIME_MODEL) as talk:
            talk.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            content: Any = [{"type": "input_text", "text": "hello"}]
            talk.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            talk.response.create()
            seen += _until(talk, "response.done", "error")
    return [_CHANGING.sub("", each.model_dump_json()) for each in seen]


def by_node(base: str) -> list[str]:
    """Return what openai-node's user sees of the same session."""
    env = {**os.environ, "AGENT_BASE": base, "AGENT_KEY": "sk-own", "OPENAI_NODE": str(SDK)}
    done = subprocess.run(
        ["node", HERE / "aimock_session.mjs"], env=env, capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        return [done.stderr[-2000:]]
    return [_CHANGING.sub("", json.dumps(each, ensure_ascii=False)) for each in json.loads(done.stdout)]


def by_codex(base: str) -> list[str]:
    """Return whether Codex shows the answer to its task, and what it says was wrong."""
    seen = clients.codex("codex", base, "sk-own", CODEX_PROGRAM, task="hello")
    return [f"{seen.turns} {ANSWER in seen.text}", *seen.errors]


SESSIONS: dict[str, Callable[[str], list[str]]] = {"python": by_python, "node": by_node, "codex": by_codex}


def _until(connection: Any, *kinds: str) -> list[Any]:
    """Return the events up to one of these kinds."""
    events: list[Any] = []
    while not events or events[-1].type not in kinds:
        events.append(connection.recv())
    return events


def through(directory: Path, aimock: int, mode: str, client: str, direct: list[str]) -> list[str]:
    """Run a client's session through the proxy; return what was wrong."""
    toml, env = MODES[mode]
    found = []
    behind = Tap(aimock)
    daemon = Daemon(
        directory,
        f"http://127.0.0.1:{behind.port}/v1",
        env={"OBSERVERS": "exchange-log:dir=logs", "DRAIN_TIMEOUT_S": "1", **env},
        **configured(directory, toml),
    )
    before = Tap(daemon.port)
    try:
        seen = SESSIONS[client](f"http://127.0.0.1:{before.port}/v1")
        differing = [pair for pair in zip(direct, seen, strict=False) if pair[0] != pair[1]]
        if differing or len(seen) != len(direct):
            found.append(f"{len(seen)} objects, {len(direct)} directly; the first other one: {differing[:1]}")
        if not eventually(lambda: before.websockets == behind.websockets, 5) or (
            len(behind.websockets) != SOCKETS[client]
        ):
            found.append("the frames before and behind the proxy are not the same")
        if before.exchanges != behind.exchanges:
            found.append("the bodies before and behind the proxy are not the same")
        calls = CALLS[client]
        logs = directory / "logs"
        if calls is not None and not eventually(lambda: len(exchange_lines(logs, "WS", "POST")) == calls, 5):
            found.append(f"{len(exchange_lines(logs, 'WS', 'POST'))} lines of {calls} calls")
        found += daemon.defects
        outcomes = [line["outcome"] for line in exchange_lines(logs, "WS", "POST")]
        print(f"{client}, {mode}: {len(seen)} objects, {outcomes}")
    finally:
        daemon.stop()
        before.close()
        behind.close()
    return found


def started_aimock(call: Callable[[int], int]) -> int:
    """Install and start aimock, and return what `call` makes of its port."""
    folder = WORK / "aimock"
    if not (folder / "node_modules/@copilotkit/aimock").exists():
        folder.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder, AIMOCK]
        subprocess.run(npm, check=True, stdin=subprocess.DEVNULL)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    program = folder / "node_modules/@copilotkit/aimock/dist/cli.js"
    with (WORK / "aimock.log").open("wb") as log:
        process = subprocess.Popen(
            ["node", program, "-p", str(port), "-f", HERE / "aimock_fixtures.json"], stdout=log, stderr=log
        )
    try:

        def listens() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        assert eventually(listens, 60), (WORK / "aimock.log").read_text()
        return call(port)
    finally:
        process.terminate()
        process.wait()


def run(aimock: int) -> int:
    """Compare; return how much was wrong."""
    wrong = 0
    for client in sys.argv[1:] or SESSIONS:
        direct = SESSIONS[client](f"http://127.0.0.1:{aimock}/v1")
        for mode in MODES:
            with tempfile.TemporaryDirectory() as directory:
                found = through(Path(directory), aimock, mode, client, direct)
            wrong += len(found)
            for fault in found:
                print(f"    WRONG: {fault[:2000]}")
    print(f"wrong: {wrong}")
    return wrong


if __name__ == "__main__":
    install()
    sys.exit(1 if started_aimock(run) else 0)
