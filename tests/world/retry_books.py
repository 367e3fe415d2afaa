"""Runs of programs whose calls outlast their time-out, while the daemon, a worker or Redis dies again and again.

With `on_disconnect = "finish"` the SDK's own retry joins the call of its
first try. What the upstream was asked, what the programs got, what the
exchange log says and what the budget was charged must agree. Used by
test_retries_daemon.py and, at full scale, by tests/conformance/rejoin_run.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from attrs import Factory, define

from openai_proxy.workers.restarts import SETTLED_S
from world.daemon import Daemon, configured
from world.pages import get_json
from world.retries import KEY, Model, Programs
from world.services import RedisServer, ServiceProcess
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually
from world.workers import workers

CALL_USD = 0.015
"""What each answer costs: 10 tokens of input and 5 of output, at the prices below."""
WRITTEN_WITHIN_S = 0.25
"""What ended so long before a kill is in the ledger: it writes within 0.05 s, and a busy machine adds to that."""
STARTED_WITHIN_S = 3.0
"""How long a worker may take until it serves."""
TOML = f"""
on_disconnect = "finish"
[[keys]]
name = "program"
key = "{KEY}"
budget_usd = 1000000
[[cost.prices]]
match = "*"
input_usd_per_million = 1000.0
output_usd_per_million = 1000.0
"""


@define
class Books:
    """What a run found; `wrong` is empty when everything agrees."""

    questions: int = 0
    calls: int = 0
    charged: float = 0.0
    """How many answers the budget paid for."""
    logged: int = 0
    """How many the exchange log says were paid for."""
    unwritten: int = 0
    """Of those, how many ended in the moment before a kill, which the ledger may forget."""
    kills: int = 0
    took_s: float = 0.0
    outcomes: Counter[str] = Factory(Counter)
    wrong: list[str] = Factory(list)

    def __str__(self) -> str:
        return (
            f"{self.questions} questions, {self.calls} upstream calls ({self.calls / self.questions:.3f}), "
            f"{self.kills} kills; paid {self.charged:.2f} by the budget, {self.logged} by the log"
            f" ({self.unwritten} in the moment before a kill); {dict(self.outcomes)}; {self.took_s:.0f} s;"
            f" wrong: {len(self.wrong)}"
        )


@define
class Setup:
    """How the daemon runs, and what dies: `daemon` (all of it), `worker` (one), `redis`, or nothing."""

    workers: int = 1
    redis: bool = False
    tls: tuple[Path, Path] | None = None
    """The files of the certificate and of its key."""
    kills: str = ""
    trusted: Path | None = None
    """With TLS: the certificate of the authority."""


class Rounds:
    """One run: start, ask, kill and start again, compare."""

    def __init__(self, directory: Path, setup: Setup, seed: int) -> None:
        self._directory = directory
        self._setup = setup
        self._chance = random.Random(seed)
        self._model = Model()
        self._killed_at: list[float] = []
        self._serving: dict[int, float] = {}
        """The processes of the workers, and when each was seen first."""
        self._port = ServiceProcess()
        self._defects: list[str] = []
        self._redis: RedisServer | None = None

    def run(self, questions: int, kills: int, at_once: int) -> Books:
        with contextlib.ExitStack() as stack:
            upstream = stack.enter_context(contextlib.closing(Upstream()))
            upstream.script = self._model
            if self._setup.redis:
                directory = self._directory / "redis"
                directory.mkdir()
                # what it knows must outlive it
                self._redis = RedisServer(
                    "--appendonly", "yes", "--appendfsync", "always", "--dir", str(directory)
                )
                self._redis.start()
                stack.callback(self._redis.kill)
            self._daemon = self._start(upstream)
            stack.callback(lambda: self._daemon.stop())
            began = time.monotonic()
            scheme = "http" if self._setup.tls is None else "https"
            base_url = f"{scheme}://localhost:{self._port.port}/v1"
            programs = Programs(base_url, questions, at_once, self._setup.trusted)
            for _ in range(kills):
                self._kill(upstream)
            programs.join()
            books = Books(programs.asked, sum(self._model.calls.values()), kills=kills)
            books.took_s = time.monotonic() - began
            self._compare(programs, books)
            self._defects += self._daemon.defects
            books.wrong += self._defects
            books.wrong += [repr(error) for error in upstream.errors]
        return books

    def _start(self, upstream: Upstream) -> Daemon:
        tls = self._setup.tls
        endpoint = f"{self._port.port}:interface=127.0.0.1"
        port = f"tcp:{endpoint}" if tls is None else f"ssl:{endpoint}:certKey={tls[0]}:privateKey={tls[1]}"
        env = {
            "OPENAI_API_KEY": "sk-upstream",
            "WORKERS": str(self._setup.workers),
            "OBSERVERS": "exchange-log:dir=logs",
            "COST__STATE_FILE": str(self._directory / "state.sqlite3"),
        }
        if self._redis is not None:
            env["RATE_LIMIT__URL"] = self._redis.url
        return Daemon(
            self._directory,
            upstream.url,
            ports=[port, "tcp:0:interface=127.0.0.1"],
            env=env,
            **configured(self._directory, TOML),
        )

    def _kill(self, upstream: Upstream) -> None:
        time.sleep(self._chance.uniform(0.3, 1.5))
        kind = self._setup.kills
        if kind == "redis":
            assert self._redis is not None
            self._redis.kill()
            self._killed_at.append(time.time())
            time.sleep(self._chance.uniform(0.0, 0.5))
            self._redis.start()
            return
        if kind == "worker":
            assert eventually(self._settled), self._daemon.log[-3000:]
            self._end(self._chance.choice(self._settled()))
            return
        everybody = [*workers(self._daemon), self._daemon.process.pid]
        for pid in everybody[::-1]:
            with contextlib.suppress(ProcessLookupError):
                self._end(pid)
        self._daemon.process.wait(PATIENCE_S)
        self._defects += self._daemon.defects
        self._daemon = self._start(upstream)

    def _settled(self) -> list[int]:
        """The workers whose successors are started at once: whoever dies too soon is waited for, longer each time."""
        now = time.monotonic()
        serving = {pid: self._serving.get(pid, now) for pid in workers(self._daemon)}
        self._serving = serving
        return [pid for pid, since in serving.items() if now - since > SETTLED_S + STARTED_WITHIN_S]

    def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self._killed_at.append(time.time())

    # ---- afterwards

    def _compare(self, programs: Programs, books: Books) -> None:
        books.wrong += programs.wrong
        got = set(programs.got)
        if missing := set(range(books.questions)) - got:
            books.wrong.append(f"no answer to {sorted(missing)[:20]}")
        lines = list(self._lines())
        books.outcomes = Counter(line["outcome"] for line in lines)
        ids = Counter(line["id"] for line in lines)
        books.wrong += [f"logged twice: {name}" for name, count in ids.items() if count > 1]
        paid = [line for line in lines if line["cost_usd"]]
        books.logged = round(sum(line["cost_usd"] for line in paid) / CALL_USD)
        by_question = Counter(self._number(line) for line in paid)
        for number, count in by_question.items():
            if count > self._model.calls[number]:
                books.wrong.append(
                    f"question {number} was paid {count} times for {self._model.calls[number]} calls"
                )
        books.wrong += [f"question {number} was never paid" for number in got if not by_question[number]]
        eventually(lambda: abs(self._spent_usd() / CALL_USD - books.logged) < 0.01, 3.0)
        books.charged = self._spent_usd() / CALL_USD
        books.unwritten = sum(1 for line in paid if self._may_be_forgotten(line))
        if books.charged > books.logged + 0.01:
            books.wrong.append(f"the budget paid {books.charged:.2f} answers, the log has {books.logged}")
        if books.charged < books.logged - books.unwritten - 0.01:
            books.wrong.append(
                f"the budget paid {books.charged:.2f} answers, of {books.logged} only {books.unwritten}"
                " ended in the moment before a kill"
            )
        if not books.kills or self._setup.kills == "redis":
            self._compare_undisturbed(books)

    def _compare_undisturbed(self, books: Books) -> None:
        # one of any number, for a retry may overtake the request that it repeats
        if books.calls > books.questions + max(1.0, 0.02 * books.questions):
            books.wrong.append(f"{books.calls} upstream calls for {books.questions} questions")
        if abs(books.charged - books.calls) > 0.01:
            books.wrong.append(f"the budget paid {books.charged:.2f} answers of {books.calls}")

    def _spent_usd(self) -> float:
        """What the budget was charged, by the page that only operators see."""
        port = int(self._daemon.listening[1].rpartition(":")[2])
        return float(sum(each["spent_usd"] for each in get_json(port, "/admin/usage")["budgets"]))

    def _number(self, line: Mapping[str, object]) -> int:
        request = line["request"]
        assert isinstance(request, dict)
        return int(request["body"]["messages"][0]["content"].rpartition(" ")[2])

    def _may_be_forgotten(self, line: Mapping[str, object]) -> bool:
        ended = self._ended_at(line)
        return any(-0.1 <= at - ended <= WRITTEN_WITHIN_S for at in self._killed_at)

    @staticmethod
    def _ended_at(line: Mapping[str, object]) -> float:
        began = datetime.fromisoformat(str(line["timestamp"]).replace("Z", "+00:00")).timestamp()
        return began + float(str(line["duration_s"]))

    def _lines(self) -> Iterator[Mapping[str, object]]:
        for file in (self._directory / "logs").glob("*.jsonl"):
            for line in file.read_bytes().split(b"\n")[:-1]:
                if not line:
                    continue  # before the line of a worker that found another one writing
                try:
                    yield json.loads(line)
                except ValueError:
                    self._defects.append(f"a broken line in the log: {line[:150]!r} … {line[-150:]!r}")
