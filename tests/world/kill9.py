"""Rounds of `kill -9` under load against the local exchange log.

Every answer that a client saw whole must be in the log, once, and after
the next start no line may be torn. Used by test_kill9_daemon.py and, a
hundred rounds at a time, by tests/conformance/kill9_rounds.py.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from pathlib import Path

from attrs import Factory, define

from world.client import Client
from world.daemon import Daemon
from world.requests import chat
from world.upstream import Call, Upstream
from world.waiting import PATIENCE_S, eventually

MODELS = ("gpt-4o", "small", "org/large")
TORN = b'{"timestamp": "2026-01-01T00:00:00.000Z", "request": {"meth'


def upstream_script(call: Call) -> None:
    """Answer at once: a document, or a stream if one is asked for."""
    body = call.read_body()
    if b'"stream": true' in body:
        call.start_stream()
        call.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n')
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()
    else:
        call.reply_json({"choices": [{"index": 0, "message": {"content": "Hi"}}], "usage": {}})


@define
class Result:
    """What all rounds together found."""

    rounds: int = 0
    seen: int = 0
    """Answers that clients saw whole."""
    logged: int = 0
    torn_by_kill: int = 0
    """Lines that a kill left half written; healed by the next start."""
    missing: list[str] = Factory(list)
    torn: list[str] = Factory(list)
    """Lines that are no JSON after the next start."""
    twice: list[str] = Factory(list)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.torn or self.twice)

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds of kill -9: {self.seen} answers seen, {self.logged} lines, "
            f"{len(self.missing)} missing, {len(self.torn)} torn, {len(self.twice)} twice; "
            f"{self.torn_by_kill} lines were torn and healed"
        )


class Load:
    """Clients that call without pause until the daemon dies."""

    def __init__(self, port: int, name: str, clients: int) -> None:
        self.seen: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(port, f"{name}-{number}")) for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int, name: str) -> None:
        number = 0
        with contextlib.suppress(OSError), Client(port) as client:
            while True:
                number += 1
                user = f"{name}-{number}"
                document = {
                    "model": MODELS[number % 3],
                    "messages": [],
                    "user": user,
                    "stream": number % 4 == 0,
                }
                if not client.send(chat(json.dumps(document).encode())):
                    return
                answer = client.response()
                if answer.status != 200 or not answer.whole:
                    return
                self.seen.append(user)

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive()
        return self.seen


class Reader:
    """Reads the log's files on from where it was."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, int] = {}
        self.users: set[str] = set()

    def read(self, result: Result) -> None:
        for path in sorted(self._directory.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path.name, 0))
                data = file.read()
            self._read[path.name] = self._read.get(path.name, 0) + len(data)
            if data and not data.endswith(b"\n"):
                result.torn.append(f"{path.name}: the end")
            for line in data.splitlines():
                try:
                    user = json.loads(line)["request"]["body"]["user"]
                except (ValueError, TypeError, KeyError):
                    result.torn.append(f"{path.name}: {line[:80]!r}")
                    continue
                if user in self.users:
                    result.twice.append(user)
                self.users.add(user)
                result.logged += 1

    def ends_torn(self) -> int:
        """How many files end in half a line now."""
        files = [path.read_bytes()[-1:] for path in self._directory.glob("*.jsonl")]
        return sum(1 for last in files if last not in (b"", b"\n"))


def run_by_jerks(daemon: Daemon, seconds: float, chance: random.Random) -> None:
    """Let a daemon run with pauses in between, after which many sockets are ready at once; it is left running."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        daemon.signal(signal.SIGSTOP)
        time.sleep(0.01)
        daemon.signal(signal.SIGCONT)
        time.sleep(chance.choice((0.02, chance.uniform(0.0, 0.004))))


def rounds(directory: Path, count: int, seed: int, clients: int = 12) -> Result:
    """Start, load, kill at a random moment, `count` times; read the log after each next start.

    A kill rarely tears a line by itself: before every other start half a
    line is appended to a file, as a machine that stops would leave it.
    """
    chance = random.Random(seed)
    logs = directory / "logs"
    upstream = Upstream()
    upstream.begin(upstream_script)
    result = Result()
    reader = Reader(logs)
    expected: set[str] = set()
    try:
        for number in range(count + 1):
            daemon = Daemon(directory, upstream.url, options=("-o", "none", "-o", f"exchange-log:dir={logs}"))
            try:
                reader.read(result)
                if number == count:
                    break
                load = Load(daemon.port, f"r{number}", clients)
                assert eventually(lambda load=load: load.seen)
                run_by_jerks(daemon, chance.uniform(0.0, 0.5), chance)
                daemon.signal(signal.SIGKILL)
                daemon.process.wait(PATIENCE_S)
                seen = load.join()
            finally:
                daemon.stop()
            expected.update(seen)
            result.seen += len(seen)
            result.rounds += 1
            files = sorted(logs.glob("*.jsonl"))
            if files and number % 2:
                with chance.choice(files).open("ab") as file:
                    file.write(TORN)
            result.torn_by_kill += reader.ends_torn()
    finally:
        upstream.close()
    result.missing = sorted(expected - reader.users)
    return result
