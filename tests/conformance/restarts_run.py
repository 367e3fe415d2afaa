#!/usr/bin/env python3
"""WebSocket sessions of openai-python and openai-node that live through reloads and restarts of the daemon.

    .venv/bin/python tests/conformance/restarts_run.py [SETUP ...] [--turns N] [--restarts N]

Sessions with eight lanes each, before an upstream that plays a model and takes its time. Meanwhile the daemon is
reloaded, stopped by SIGTERM, and started anew on the same port, again and again. No turn may be cut, every
connection must end with 1012, the libraries must come back by themselves, and the turns that the upstream was asked,
the programs saw, the exchange log has and the budget paid must be the same. Then a turn that outlasts the time for
draining: its connection is cut at the deadline, not before. Installs the npm packages as agents_run.py does; the
setups with Redis need redis-server. About two minutes each. Exit 1 if something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import agent_clients as clients
from agents_run import SDK, install
from world.agent_upstream import AgentUpstream, prices
from world.daemon import Daemon, configured
from world.exchange_lines import exchange_lines
from world.pages import get_json
from world.sdk_sessions import LANES, Seen, responses_through_restarts
from world.services import RedisServer, ServiceProcess
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually

KEY = "sk-agent"
COST_USD = 0.001
CONFIG = f"""{prices(50)}
[[keys]]
name = "agent"
key = "{KEY}"
budget_usd = 1000
"""
SETUPS = {"one": (1, False), "workers": (2, False), "redis": (2, True)}
PYTHONS, NODES = 3, 2
"""Sessions of each library."""


class Scene:
    """A daemon that is started again and again on one port, and its upstream."""

    def __init__(self, directory: Path, workers: int, redis: RedisServer | None, **env: str) -> None:
        self.directory = directory
        self.upstream = Upstream()
        self.upstream.script = self.model = AgentUpstream()
        self.model.pause_s = 0.05
        self._port = ServiceProcess()
        self._env = {
            "OPENAI_API_KEY": "sk-up",
            "OBSERVERS": "exchange-log:dir=logs",
            "WORKERS": str(workers),
            "COST__STATE_FILE": str(directory / "state.sqlite3"),
            **({} if redis is None else {"RATE_LIMIT__URL": redis.url}),
            **env,
        }
        self.ended: list[Daemon] = []
        self.daemon = self._started()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._port.port}/v1"

    def _started(self) -> Daemon:
        number = len(self.ended)
        directory = self.directory / f"daemon-{number}"
        directory.mkdir()
        (directory / "logs").symlink_to(self.directory)
        ports = [f"tcp:{self._port.port}:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"]
        return Daemon(
            directory, self.upstream.url, ports=ports, env=self._env, **configured(directory, CONFIG)
        )

    def reload(self) -> None:
        before = self.daemon.log.count("reloaded")
        self.daemon.signal(signal.SIGHUP)
        assert eventually(lambda: self.daemon.log.count("reloaded") > before)

    def restart(self) -> None:
        """Stop it gently; the next one listens as soon as it takes no connections any more."""
        self.daemon.signal(signal.SIGTERM)
        self.ended.append(self.daemon)
        assert self.daemon.wait_until_gone()
        self.daemon = self._started()

    def lines(self) -> list[dict[str, Any]]:
        """Return the turns of the exchange log."""
        return exchange_lines(self.directory, "WS")

    def spent_usd(self) -> float:
        port = int(self.daemon.listening[1].rpartition(":")[2])
        return float(sum(each["spent_usd"] for each in get_json(port, "/admin/usage")["budgets"]))

    def close(self) -> None:
        self.daemon.stop()
        self.upstream.close()

    @property
    def defects(self) -> list[str]:
        return [each for daemon in (*self.ended, self.daemon) for each in daemon.defects] + [
            repr(error) for error in self.upstream.errors
        ]


class Sessions:
    """Programs in threads, and what each of them saw."""

    def __init__(self, scene: Scene, turns: int) -> None:
        run: list[Callable[[], Seen]] = [
            *[lambda: responses_through_restarts(scene.base, KEY, turns)] * PYTHONS,
            *[lambda: clients.node("restarts", scene.base, KEY, turns, SDK)] * NODES,
        ]
        self.seen: list[Seen] = []
        self._threads = [threading.Thread(target=self._note, args=[each], daemon=True) for each in run]
        for thread in self._threads:
            thread.start()

    def _note(self, session: Callable[[], Seen]) -> None:
        try:
            self.seen.append(session())
        except Exception as error:
            self.seen.append(Seen(errors=[repr(error)]))

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def whole_turns(scene: Scene, turns: int, restarts: int) -> Iterator[str]:
    """Run the sessions through reloads and restarts; say what was wrong."""
    expected = (PYTHONS + NODES) * LANES * turns
    sessions = Sessions(scene, turns)
    for number in range(restarts):
        until = expected * (number + 1) // (restarts + 1)
        eventually(lambda until=until: scene.model.finished >= until or not sessions.running)
        if not sessions.running:
            yield f"the sessions were over before restart {number + 1}"
            break
        scene.reload()
        scene.restart()
    sessions.join()
    eventually(lambda: len([each for each in scene.lines() if each["cost_usd"]]) >= expected, 5)
    lines = scene.lines()
    outcomes = Counter(line["outcome"] for line in lines)
    codes = Counter(code for seen in sessions.seen for code in seen.closed)
    asked, paid = len(scene.model.turns), [line for line in lines if line["cost_usd"]]
    seen_turns = sum(seen.turns for seen in sessions.seen)
    eventually(lambda: abs(scene.spent_usd() - len(paid) * COST_USD) < 1e-6, 3)
    charged = scene.spent_usd() / COST_USD
    print(
        f"    {seen_turns} turns seen, {asked} asked, {scene.model.finished} answered whole, {charged:.2f} charged;"
        f" log {dict(outcomes)}; connections ended with {dict(codes)}"
    )
    for seen in sessions.seen:
        if seen.errors or seen.cut:
            yield f"a program saw {seen.errors[:2]}, and {seen.cut} turns cut"
    if (
        not seen_turns == asked == scene.model.finished == len(paid) == expected
        or abs(charged - expected) > 0.01
    ):
        yield f"{expected} turns were expected"
    if set(codes) != {1012} or not all(seen.closed for seen in sessions.seen):
        yield f"connections ended with {dict(codes)}"
    if outcomes["complete"] != expected or set(outcomes) - {"complete", "rejected"}:
        yield f"outcomes {dict(outcomes)}"
    if len({line["id"] for line in lines}) != len(lines):
        yield "a turn was logged twice"


def too_long(scene: Scene) -> Iterator[str]:
    """Stop the daemon in a turn that outlasts the time for draining (2 s); say what was wrong."""
    scene.model.pause_s = 3.0
    sessions = Sessions(scene, 1)
    lanes = (PYTHONS + NODES) * LANES
    assert eventually(lambda: len(scene.model.turns) == lanes)
    began = time.monotonic()
    scene.daemon.signal(signal.SIGTERM)
    scene.ended.append(scene.daemon)
    assert scene.daemon.wait_until_gone()
    took_s = time.monotonic() - began
    scene.model.pause_s = 0.01
    scene.daemon = scene._started()
    sessions.join()
    outcomes = Counter(line["outcome"] for line in scene.lines())
    codes = Counter(code for seen in sessions.seen for code in seen.closed)
    cut = sum(seen.cut for seen in sessions.seen)
    print(f"    after {took_s:.1f} s {cut} turns cut, {dict(codes)}, then {dict(outcomes)}")
    if not 2.0 <= took_s < 6.0:
        yield f"the daemon ended after {took_s:.1f} s"
    if any(seen.errors or seen.turns != LANES for seen in sessions.seen):
        yield f"the programs saw {[(seen.turns, seen.errors[:1]) for seen in sessions.seen]}"
    if cut != lanes or outcomes["complete"] != lanes or sum(outcomes.values()) != 2 * lanes:
        yield f"{cut} of {lanes} turns were cut: {dict(outcomes)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("setups", nargs="*", metavar="SETUP", help=", ".join(SETUPS))
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=4)
    given = parser.parse_args()
    install()
    wrong = 0
    for name in given.setups or SETUPS:
        workers, with_redis = SETUPS[name]
        for what in ("whole turns", "a turn that is too long"):
            with contextlib.ExitStack() as stack:
                redis = None
                if with_redis:
                    redis = RedisServer()
                    redis.start()
                    stack.callback(redis.kill)
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                is_long = what != "whole turns"
                env = {"DRAIN_TIMEOUT_S": "2"} if is_long else {}
                scene = stack.enter_context(contextlib.closing(Scene(directory, workers, redis, **env)))
                print(f"{name}, {what}", flush=True)
                found = [*(too_long(scene) if is_long else whole_turns(scene, given.turns, given.restarts))]
                scene.daemon.stop()
                found += scene.defects
            wrong += len(found)
            for fault in found:
                print(f"    WRONG: {fault[:1500]}", flush=True)
    print(f"wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
