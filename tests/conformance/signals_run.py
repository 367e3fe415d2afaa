#!/usr/bin/env python3
"""Signals, crashes and a lost Redis in the middle of mixed traffic: nobody may notice, and the books must agree.

    .venv/bin/python tests/conformance/signals_run.py [SEED]

Four rounds with two workers and the mix of `books_run.py`: SIGHUP with
other settings again and again; a worker killed; Redis killed and started
again; SIGTERM while streams run, then a restart over the same state file.
Needs redis-server. About two minutes; exits with 1 if anything was wrong.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from booked_upstream import Books
from books_run import SICK, TENANTS, THREADS, Crowd, Ledger, toml
from world.client import Client, accepts
from world.daemon import Daemon
from world.exchange_lines import exchange_lines
from world.pages import get_json
from world.requests import post
from world.scripts import HeldStream
from world.services import RedisServer
from world.upstream import Upstream
from world.waiting import eventually
from world.workers import workers

REQUESTS = 600
HELD = 20
"""Streams that run while SIGTERM comes."""


class Booked:
    """A daemon with two workers before two upstreams that keep books, and a crowd at its door."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, cache: str, seed: int) -> None:
        self.directory = directory
        self.books = [Books(SICK, seed=seed), Books({}, frozenset({"only-first"}), seed=seed)]
        self.upstreams = [Upstream(), Upstream()]
        for upstream, book in zip(self.upstreams, self.books, strict=True):
            upstream.script = book
            stack.callback(upstream.close)
        self.toml = toml(self.upstreams[0].url, self.upstreams[1].url, cache)
        self.file = directory / "proxy.toml"
        self.file.write_text(self.toml)
        self.daemon = self.start()
        stack.callback(lambda: self.daemon.stop())

    def start(self) -> Daemon:
        return Daemon(
            self.directory,
            self.upstreams[0].url,
            env={
                "OPENAI_API_BASE": "",
                "RETRY__MAX_RETRIES": "3",
                "WORKERS": "2",
                "OBSERVERS": "console exchange-log:dir=logs",
            },
            options=("--config", str(self.file)),
        )

    def during(self, seed: int, disturb: Callable[[threading.Event], None], count: int = REQUESTS) -> Crowd:
        """Let the crowd ask while `disturb` does its work, until its argument is set."""
        crowd = Crowd(self.daemon.port, count, seed, pause_s=0.05)
        over = threading.Event()
        disturber = threading.Thread(target=disturb, args=(over,))
        disturber.start()
        crowd.run()
        over.set()
        disturber.join()
        return crowd

    def faults(self) -> list[str]:
        errors = [repr(error) for upstream in self.upstreams for error in upstream.errors]
        return [*self.daemon.defects, *errors]


def reloads(booked: Booked, seed: int) -> list[str]:
    """Reload with other limits, another think tag that no answer has, another key, again and again."""
    found: list[str] = []
    counts = [0]

    def disturb(over: threading.Event) -> None:
        while not over.wait(0.4):
            counts[0] += 1
            _reload(counts[0])

    def _reload(count: int) -> None:
        more = f"[rate_limit]\nrequests_per_minute = {100_000 + count}\n"
        more += f'[[keys]]\nname = "n{count}"\nkey = "new-{count}"\n'
        booked.file.write_text(booked.toml.replace("[[upstreams]]", more + "[[upstreams]]", 1))
        booked.daemon.signal(signal.SIGHUP)
        # every fifth comes while the one before it is still at work
        if count % 5 and not eventually(lambda: _reloaded(booked) >= count, 20):
            found.append(f"reload {count} was never reported")

    crowd = booked.during(seed, disturb)
    answer = _asked(booked.daemon.port, f"new-{counts[0]}", "gpt-4o-mini")
    if answer != 200:
        found.append(f"the last key got {answer}")
    ledger = Ledger(booked.daemon, booked.books, REQUESTS + 1)
    print(f"SIGHUP: {counts[0]} reloads in {REQUESTS} requests, statuses {_sorted(crowd)}")
    return [*found, *crowd.wrong, *ledger.found]


def crashes(booked: Booked, seed: int) -> list[str]:
    """Kill a worker now and then: only what it was answering may break, and a stranger's budget may not."""
    killed = 0

    def disturb(over: threading.Event) -> None:
        nonlocal killed
        while killed < 4 and not over.wait(2.0):
            if len(serving := workers(booked.daemon)) == 2:
                os.kill(serving[0], signal.SIGKILL)  # the one that has served longer
                killed += 1

    crowd = booked.during(seed, disturb)
    broken = [
        text for text in crowd.wrong if "whole=False" in text or "Ended" in text or "Connection" in text
    ]
    found = [text for text in crowd.wrong if text not in broken]
    if len(broken) > killed * THREADS:
        found.append(f"{len(broken)} answers broke off for {killed} workers: {broken[0]}")
    page = get_json(booked.daemon.port, "/admin/usage")
    held = [each for each in page["budgets"] if each["reserved_usd"]]
    print(f"kill -9: {killed} workers, {len(broken)} answers broke off, still reserved: {held}")
    if held and not eventually(lambda: not _reserved(booked.daemon.port), 90):
        found.append(f"reserved for ever: {held}")
    return found


def lost_redis(booked: Booked, redis: RedisServer, seed: int) -> list[str]:
    """Kill Redis and start it again, empty: requests go on, and no key may spend its budget twice over."""
    cycles = 0

    def disturb(over: threading.Event) -> None:
        nonlocal cycles
        while not over.wait(1.5):
            redis.kill()
            time.sleep(1.0)
            redis.start()
            cycles += 1

    crowd = booked.during(seed, disturb)
    ledger = Ledger(booked.daemon, booked.books, REQUESTS)
    budgets = {each["key"]: each for each in get_json(booked.daemon.port, "/admin/usage")["budgets"]}
    spent = collections.Counter[str]()
    for line in ledger.lines:
        spent[line["key"]] += line["cost_usd"] or 0.0
    print(f"Redis: {cycles} times away, statuses {_sorted(crowd)}")
    for name, cost_usd in spent.items():
        print(
            f"  {name}: cost {cost_usd:.6f}, budget says {budgets[name]['spent_usd']:.6f} of {TENANTS[name]}"
        )
    return [*crowd.wrong, *(text for text in ledger.found if not text.startswith(("budget", "reserved")))]


def ends(booked: Booked, seed: int) -> list[str]:
    """SIGTERM while streams run, then a restart: all streams come whole, and the state file has all that was spent."""
    found: list[str] = []
    crowd = booked.during(seed, lambda over: None, 200)
    held = HeldStream()
    for upstream in booked.upstreams:
        upstream.script = held
    stream = {
        "model": "gpt-4o-mini",
        "max_tokens": 5,
        "stream": True,
        "messages": [{"role": "user", "content": "x"}],
    }
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(booked.daemon.port)) for _ in range(HELD)]
        for client in clients:
            client.send(post("ann-key", stream))
            client.read_until(b"first")
        booked.daemon.signal(signal.SIGTERM)
        eventually(lambda: not accepts(booked.daemon.port), 10)
        held.finish.set()
        cut = sum(b"data: last" not in client.rest(20) for client in clients)
    if cut:
        found.append(f"{cut} of {HELD} streams were cut by SIGTERM")
    if not booked.daemon.wait_until_gone(20):
        found.append("SIGTERM did not end it")
    found += booked.daemon.defects
    lines = exchange_lines(booked.directory / "logs")
    spent = sum(line["cost_usd"] or 0.0 for line in lines)
    booked.daemon = booked.start()
    page = get_json(booked.daemon.port, "/admin/usage")
    reported = sum(each["spent_usd"] for each in page["budgets"])
    print(
        f"SIGTERM: {HELD} streams, cut: {cut}; log {spent:.6f}, budgets after the restart {reported:.6f} USD"
    )
    if abs(reported - spent) > 1e-6 or abs(page["total"]["cost_usd"] - spent) > 1e-6:
        found.append(f"log {spent}, budgets {reported}, totals {page['total']['cost_usd']}")
    if len(lines) != 200 + HELD:
        found.append(f"{len(lines)} lines of {200 + HELD}")
    return [*found, *crowd.wrong]


def _reloaded(booked: Booked) -> int:
    """Return the number of reloads in the log; two signals in quick succession may be one."""
    return booked.daemon.log.count("configuration reloaded")


def _sorted(crowd: Crowd) -> dict[int | None, int]:
    return dict(sorted(crowd.statuses.items(), key=str))


def _asked(port: int, key: str, model: str) -> int | None:
    with Client(port) as client:
        client.send(post(key, {"model": model, "messages": [{"role": "user", "content": "w9999-new"}]}))
        return client.response().status


def _reserved(port: int) -> float:
    return sum(each["reserved_usd"] for each in get_json(port, "/admin/usage")["budgets"])


@contextlib.contextmanager
def booked(seed: int, cache: str = "memory:") -> Iterator[Booked]:
    """Start one in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        yield Booked(Path(directory), stack, cache, seed)


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    wrong = 0
    for round_ in (reloads, crashes, ends):
        with booked(seed) as each:
            wrong += _report([*round_(each, seed), *each.faults()])
    redis = RedisServer()
    redis.start()
    try:
        with booked(seed, redis.url) as each:
            wrong += _report([*lost_redis(each, redis, seed), *each.faults()])
    finally:
        redis.kill()
    return 1 if wrong else 0


def _report(found: list[str]) -> int:
    print(f"  wrong: {len(found)}")
    for each in found[:12]:
        print("   ", each[:1500])
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
