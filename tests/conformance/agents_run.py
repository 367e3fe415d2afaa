#!/usr/bin/env python3
"""Agents and WebSocket sessions of real clients through the proxy, in its three modes.

    .venv/bin/python tests/conformance/agents_run.py [CLIENT ...]

Codex (its own provider, and providers of ours with and without WebSockets), openai-python and openai-node with eight
lanes at once and in Realtime, before an upstream that plays a model. Prices, exchange log and limits are on, so
that all turns are read. For each client and mode: what its user saw, the bytes before and after the proxy (equal,
each frame with its mask), one line of the exchange log for each turn, and the metrics' counts. Then the same with a
budget that the first turns use up: the next one must fail with words that the client shows. Installs the npm
packages into CONFORMANCE_DIR. About two minutes. Exit 1 if something was wrong.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import agent_clients as clients
import trustme
from world.agent_upstream import ANSWER, INPUT_TOKENS, OUTPUT_TOKENS, SAID, AgentUpstream, prices
from world.daemon import Daemon
from world.exchange_lines import exchange_lines
from world.pages import metrics, total
from world.sdk_sessions import LANES, Seen, realtime, responses_in_lanes
from world.taps import Tap, frames
from world.upstream import Upstream
from world.waiting import eventually

WORK = Path(
    os.environ.get("CONFORMANCE_DIR") or Path(tempfile.gettempdir()) / "openai-proxy-conformance"
).resolve()
NPM = ["@openai/codex@0.171.0", "openai@6.49.0", "ws@8.23.0"]
MODULES = WORK / "agents" / "node_modules"
UPSTREAM_KEY, OWN_KEY = "sk-of-the-upstream", "sk-of-the-client"
PRICES = f"""{prices(200)}
[rate_limit]
requests_per_minute = 100000
tokens_per_minute = 100000000
"""
COST_USD = 0.004
"""Of one call of the model."""
KEYS = """
[[keys]]
name = "agent"
key = "sk-of-the-client"
endpoints = ["*"]
"""
BUDGET = "budget_usd = 0.01\n"
MODES = {
    "inject": (PRICES, {"OPENAI_API_KEY": UPSTREAM_KEY}),
    "tenants": (PRICES + KEYS, {"OPENAI_API_KEY": UPSTREAM_KEY}),
    "pass-through": (PRICES, {}),
}
OVER_HTTP = {
    "no WebSockets": (PRICES + '[websocket]\nresponses = "off"\n', {"OPENAI_API_KEY": UPSTREAM_KEY}),
    "unread WebSockets": (
        PRICES + KEYS + 'budget_usd = 1000\n[websocket]\ninspect = "never"\n',
        {"OPENAI_API_KEY": UPSTREAM_KEY},
    ),
}
"""Configurations in which the proxy refuses Codex' WebSocket (426, 403), so that it goes on over HTTP."""


TURNS, MORE_TURNS = 3, 6
"""Of each lane, and of a session of Realtime; and more than a budget allows."""
CODEX_PROGRAM, SDK = MODULES / ".bin" / "codex", MODULES / "openai"
CLIENTS: dict[str, Callable[[Scene, int], Seen]] = {
    "codex": lambda scene, _: clients.codex("codex", scene.base, OWN_KEY, CODEX_PROGRAM),
    "codex-custom": lambda scene, _: clients.codex("codex-custom", scene.base, OWN_KEY, CODEX_PROGRAM),
    "codex-http": lambda scene, _: clients.codex("codex-http", scene.base, OWN_KEY, CODEX_PROGRAM),
    "python-lanes": lambda scene, turns: responses_in_lanes(scene.base, OWN_KEY, turns),
    "python-realtime": lambda scene, turns: realtime(scene.base, OWN_KEY, turns),
    "node-lanes": lambda scene, turns: clients.node("lanes", scene.base, OWN_KEY, turns, SDK),
    "node-web": lambda scene, turns: clients.node("web", scene.base, OWN_KEY, turns, SDK),
    # always asks for TLS: straight to the daemon's own
    "node-realtime": lambda scene, turns: clients.node(
        "realtime", scene.tls_base, OWN_KEY, turns, SDK, NODE_EXTRA_CA_CERTS=str(scene.directory / "ca.pem")
    ),
}


class Scene:
    """Client, tap, daemon, tap, upstream."""

    def __init__(self, directory: Path, toml: str, env: dict[str, str]) -> None:
        self.directory = directory
        self.upstream = Upstream()
        self.upstream.script = self.model = AgentUpstream()
        self.behind = Tap(self.upstream.port)
        (directory / "proxy.toml").write_text(toml)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "tls.pem"))
        self.daemon = Daemon(
            directory,
            f"http://127.0.0.1:{self.behind.port}/v1",
            ports=(
                "tcp:0:interface=127.0.0.1",
                f"ssl:0:interface=127.0.0.1:privateKey={directory / 'tls.pem'}",
            ),
            env={"OBSERVERS": "exchange-log:dir=logs prometheus", "DRAIN_TIMEOUT_S": "2", **env},
            options=("--config", str(directory / "proxy.toml")),
        )
        self.before = Tap(self.daemon.port)

    @property
    def tls_base(self) -> str:
        [port] = [each.rpartition(":")[2] for each in self.daemon.listening if each.startswith("https:")]
        return f"https://localhost:{port}/v1"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.before.port}/v1"

    def close(self) -> None:
        self.daemon.stop()
        for each in (self.before, self.behind, self.upstream):
            each.close()

    def lines(self) -> list[dict[str, Any]]:
        """Return what the exchange log has of calls of the model."""
        return exchange_lines(self.directory / "logs", "WS", "POST")


def bytes_differ(scene: Scene) -> Iterator[str]:
    """Compare what passed before the proxy with what passed after it."""
    eventually(lambda: scene.before.websockets == scene.behind.websockets, 5)
    for what in ("websockets", "exchanges"):
        before, behind = (getattr(tap, what) for tap in (scene.before, scene.behind))
        if what == "exchanges":  # without the handshakes that the proxy refuses
            before = [(up, down) for up, down in before if up]
        if before != behind:
            yield f"{what}: not the same bytes before ({len(before)}) and behind the proxy ({len(behind)})"
    sockets, exchanges = scene.behind.websockets.values(), scene.behind.exchanges
    lanes = [json.loads(text).get("stream_id") for sent in scene.model.sent.values() for text in sent]
    turned = sum(first != second for first, second in itertools.pairwise(lanes))
    if any(lanes) and turned < LANES * TURNS:
        yield f"the lanes were not answered at once: {turned} changes of the lane"
    digest = hashlib.sha256(b"".join(part for pair in [*sockets, *exchanges] for part in pair)).hexdigest()
    print(
        f"    {len(sockets)} WebSockets, {len(exchanges)} exchanges by HTTP, SHA-256 of all bytes {digest[:16]}"
    )


def wrong(scene: Scene, name: str, mode: str, seen: Seen) -> Iterator[str]:
    """Say what was not as it must be after a client's run."""
    turns = scene.model.turns
    expected = LANES * TURNS if name.endswith("lanes") else 1 if name.startswith("codex") else TURNS
    if seen.errors or seen.turns != expected:
        yield f"the client saw {seen.turns} turns, {seen.errors[:2]} {seen.text[-600:]}"
    if name.startswith("codex") and not (ANSWER in seen.text and SAID in seen.text):
        yield f"Codex did not show its turn: {seen.text[-600:]}"
    ways = {how for how, _ in turns}
    if ways != ({"HTTP"} if name == "codex-http" or mode in OVER_HTTP else {"WS"}):
        yield f"the model was called over {ways}"
    key = OWN_KEY if mode == "pass-through" else UPSTREAM_KEY
    if not all(key in credential for credential in scene.model.credentials):
        yield "a credential is not the one of its mode"
    if mode != "pass-through" and any(OWN_KEY in credential for credential in scene.model.credentials):
        yield "the client's key went up"
    if name != "node-realtime":  # which is under TLS before the proxy
        yield from bytes_differ(scene)
    eventually(lambda: len(scene.lines()) >= len(turns), 10)
    lines = scene.lines()
    paid = [line for line in lines if line["usage"] and line["usage"]["input_tokens"]]
    calls = [asked for _, asked in turns if asked.get("generate") is not False]
    if len(lines) != len(turns) or {line["outcome"] for line in lines} != {"complete"}:
        yield f"{len(lines)} lines for {len(turns)} turns: {[line['outcome'] for line in lines]}"
    used = {(line["usage"]["input_tokens"], line["usage"]["output_tokens"]) for line in paid}
    if len(paid) != len(calls) or used != {(INPUT_TOKENS, OUTPUT_TOKENS)}:
        yield f"{len(paid)} lines with usage for {len(calls)} calls: {used}"
    costs = [round(line["cost_usd"], 6) for line in paid if line["cost_usd"] is not None]
    if costs != [COST_USD] * len(calls):
        yield f"costs {costs}"
    page = metrics(scene.daemon.port)
    if ways == {"WS"} and total(page, "openai_proxy_websocket_turns_total") != len(turns):
        yield "the metrics count other turns"
    tokens = total(page, "openai_proxy_tokens_total")
    if tokens != len(calls) * (INPUT_TOKENS + OUTPUT_TOKENS):
        yield f"the metrics count {tokens} tokens"
    yield from scene.daemon.defects
    yield from map(repr, scene.upstream.errors)


def over_budget(scene: Scene, name: str) -> Iterator[str]:
    """Run a client until its budget is spent, and say what was not as it must be then."""
    if name.startswith("codex"):
        seen = clients.codex(name, scene.base, OWN_KEY, MODULES / ".bin" / "codex", runs=3)
    else:
        seen = CLIENTS[name](scene, MORE_TURNS)
    print("    the client shows:", (seen.errors or ["nothing"])[0][:300])
    calls = [asked for _, asked in scene.model.turns if asked.get("generate") is not False]
    allowed = 10 if name.endswith("lanes") else 3
    if not 2 <= len(calls) <= allowed:
        yield f"{len(calls)} calls of the model for a budget of 2.5"
    if not any(
        word in error for error in seen.errors for word in ("budget", "Quota exceeded")
    ):  # the latter is Codex
        yield f"the client does not show why: {seen.errors} {seen.text[-1500:]}"
    eventually(lambda: "limit" in {line["outcome"] for line in scene.lines()}, 10)
    if "limit" not in {line["outcome"] for line in scene.lines()}:
        yield "no line says limit"
    if name != "node-realtime":
        yield from frames_are_lost(scene)
    yield from scene.daemon.defects


def frames_are_lost(scene: Scene) -> Iterator[str]:
    """Compare frame by frame: of what goes up, turns are dropped; into what comes down, refusals are put."""
    before, behind = scene.before.websockets, scene.behind.websockets
    if before.keys() != behind.keys():
        yield "not the same WebSockets before and behind the proxy"
    for key in behind.keys() & before.keys():
        (up, down), (up_behind, down_behind) = before[key], behind[key]
        for what, whole, part in (("up", up, up_behind), ("down", down, down_behind)):
            rest = iter(frames(whole))
            lost = [frame for frame in frames(part) if frame not in rest]
            if lost:
                yield f"{what}: {len(lost)} frames are not the same before and behind the proxy: {lost[0][:80]!r}"


def install() -> None:
    """Install the npm packages if they are missing."""
    marks = MODULES.parent / "installed"
    wanted = " ".join(NPM)
    if not marks.exists() or marks.read_text() != wanted:
        MODULES.parent.mkdir(parents=True, exist_ok=True)
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
            MODULES.parent,
        ]
        subprocess.run([*command, *NPM], check=True, stdin=subprocess.DEVNULL)
        marks.write_text(wanted)


def main(names: list[str]) -> int:
    install()
    faults = 0
    for name in names or CLIENTS:
        modes = MODES | {"budget": (PRICES + KEYS + BUDGET, MODES["tenants"][1])}
        for mode, (toml, env) in (modes | (OVER_HTTP if name == "codex" else {})).items():
            with tempfile.TemporaryDirectory() as directory:
                scene = Scene(Path(directory), toml, env)
                print(f"{name}, {mode}", flush=True)
                try:
                    if mode == "budget":
                        found = [*over_budget(scene, name)]
                    else:
                        found = [*wrong(scene, name, mode, CLIENTS[name](scene, TURNS))]
                finally:
                    scene.close()
            faults += len(found)
            for fault in found:
                print(f"    WRONG: {fault}", flush=True)
    print(f"wrong: {faults}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
