"""`python -m soak [--minutes 10 | --hours N]`, in `tests/`: everything at once, for long.

Clients of every kind, upstream faults of every kind, a Redis and an Azurite
that come and go, reloads, new certificates and, in a shorter second part
with two workers, workers that die. Once before and once in the middle a
crowd of idle connections and open streams comes. Afterwards memory,
descriptors, connections and requests in flight must be back where they
were after the warm-up, and every request be in the metrics and in the log.
Needs redis-server and azurite (`scripts/setup test`) and many descriptors:
the crowd is as large as they allow. Exits with 1 if something is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import trustme
from world.azurite import Azurite
from world.daemon import Daemon
from world.pages import metrics, total
from world.services import RedisServer
from world.waiting import eventually
from world.workers import workers

from .clients import Account, Address, Clients, crowd
from .held import OPENED_LATER, Course, calm, held, probing

CROWD = (10_000, 5_000)
"""Idle connections and open streams."""
SPARE = 1_500
"""Descriptors for all others."""
LOST_S = 2.0
"""A worker that dies may lose what it counted in so long: it reports to the first process each second."""
_PIECE_BYTES = 1024 * 1024
KINDS = 12
"""Kinds of clients: each may have a request open in the worker that dies."""
SETTINGS = """
[limits]
keep_alive_s = 5.0
connections = 20000
[cache]
url = "memory:"
[rate_limit]
requests_per_minute = 100000000
tokens_per_minute = 100000000000
concurrent_requests = 100000
[retry]
max_retries = 1
[timeout_s]
first_byte = 30.0
"""


class Weather:
    """What goes wrong around the daemon, each with a rhythm of its own."""

    def __init__(self, daemon: Daemon, redis: RedisServer, azurite: Azurite, authority: trustme.CA) -> None:
        self._daemon = daemon
        self._redis = redis
        self._azurite = azurite
        self._authority = authority
        self.events = 0
        self.deaths = 0

    async def _again(self, every_s: float, *acts: object) -> None:
        while True:
            for act in acts:
                await asyncio.sleep(every_s)
                await asyncio.to_thread(act)  # type: ignore[arg-type]
                self.events += 1

    @contextlib.asynccontextmanager
    async def blowing(self, kills_workers: bool) -> AsyncIterator[None]:
        storms = [
            self._again(7.0, self._redis.kill, self._redis.start, self._redis.freeze, self._redis.thaw),
            self._again(13.0, self._azurite.kill, self._azurite.start),
            self._again(11.0, self._new_certificate, lambda: self._daemon.signal(signal.SIGHUP)),
        ]
        if kills_workers:
            storms.append(self._again(9.0, self._kill_a_worker))
        tasks = [asyncio.create_task(storm) for storm in storms]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for service in (self._redis, self._azurite):
                service.kill()
                service.start()

    def _new_certificate(self) -> None:
        _write_certificate(self._authority, self._daemon.directory)

    def _kill_a_worker(self) -> None:
        pids = workers(self._daemon)
        if pids:
            os.kill(pids[0], signal.SIGKILL)
            self.deaths += 1


def _write_certificate(authority: trustme.CA, directory: Path) -> None:
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "new.pem")
    os.replace(directory / "new.pem", directory / "server.pem")


class Soak:
    """One daemon in one directory, with what it needs around it."""

    def __init__(self, directory: Path, redis: RedisServer, azurite: Azurite, number: int) -> None:
        self.directory = directory / f"daemon{number}"
        self.directory.mkdir()
        authority = trustme.CA()
        _write_certificate(authority, self.directory)
        config = self.directory / "openai-proxy.toml"
        config.write_text(SETTINGS)
        self.upstream = subprocess.Popen(
            [sys.executable, "-m", "soak.upstream"], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
        )
        assert self.upstream.stdout is not None
        port = int(self.upstream.stdout.readline())
        local = "interface=127.0.0.1"
        self.daemon = Daemon(
            self.directory,
            f"http://127.0.0.1:{port}/v1",
            ports=[f"tcp:0:{local}", f"ssl:0:{local}:privateKey=server.pem:certKey=server.pem"],
            env={
                "RATE_LIMIT__URL": redis.url,
                "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
                "RETRY__MAX_RETRIES": "1",
                "WORKERS": str(number),
                "DRAIN_TIMEOUT_S": "5",
                **(probing(self.directory) if number == 1 else {}),
            },
            options=[
                "--config",
                str(config),
                "-o",
                "exchange-log:dir=log",
                "-o",
                "exchange-log:url=az://logs",
            ],
        )
        context = ssl.create_default_context()
        authority.configure_trust(context)
        self.address = Address(self.daemon.port, int(self.daemon.listening[1].rpartition(":")[2]), context)
        self.account = Account()
        self.weather = Weather(self.daemon, redis, azurite, authority)

    async def load(self, seconds: float, each: int, kills_workers: bool = False) -> None:
        clients = Clients(self.address, self.account)
        clients.until = asyncio.get_running_loop().time() + seconds
        async with self.weather.blowing(kills_workers):
            await clients.run(each)

    def logged(self) -> int:
        """Return the number of lines in the exchange log, which may be larger than the memory."""
        lines = 0
        for path in self.directory.joinpath("log").iterdir():
            with path.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    lines += piece.count(b"\n")
        return lines

    def counted(self) -> float:
        return total(metrics(self.daemon.port), "openai_proxy_requests_total")

    def stop(self) -> None:
        self.daemon.stop()
        self.upstream.kill()
        self.upstream.wait()


def _raise_limit() -> None:
    """Take as many descriptors as the crowd needs, if this machine gives them; the daemon inherits them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (2 * sum(CROWD) + SPARE, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, hard)))
            return


def _crowd_sizes() -> tuple[int, int]:
    """Return how many idle connections and open streams the descriptors allow: the daemon counts two for each."""
    allowed = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE) / (2 * sum(CROWD))
    idle, streams = (int(size * min(1.0, allowed)) for size in CROWD)
    return idle, streams


async def _alone(soak: Soak, minutes: float, each: int) -> list[str]:
    """Run the first part, with one process; return what is wrong."""
    idle, streams = _crowd_sizes()
    print(f"warming up, with a crowd of {idle} idle connections and {streams} streams", flush=True)
    before = held(soak.daemon)
    _, whole = await asyncio.gather(soak.load(40.0, each), crowd(soak.address, soak.account, idle, streams))
    print(f"{whole} of {streams} streams of the crowd whole", flush=True)
    warm = await calm(soak.daemon, before.descriptors + OPENED_LATER)
    print(f"after the warm-up: {warm}", flush=True)
    course = Course(soak.daemon)
    watching = asyncio.create_task(course.watch())
    half_s = minutes * 30.0
    await soak.load(half_s, each)
    _, again = await asyncio.gather(soak.load(half_s, each), crowd(soak.address, soak.account, idle, streams))
    watching.cancel()
    after = await calm(soak.daemon, warm.descriptors)
    print(f"after {minutes:g} minutes: {after}, {soak.weather.events} events around it", flush=True)
    sizes = ", ".join(f"{size:.1f}" for size in course.parts_mib(max(4, round(minutes))))
    print(f"resident under load, median MiB of each minute, or quarter if that is less: {sizes}", flush=True)
    await asyncio.sleep(1.0)
    counted, logged = soak.counted(), soak.logged()
    sent, answered = soak.account.sent, soak.account.answered
    print(
        f"sent {sent.total()} requests, saw {answered.total()} answers; {counted:g} counted, {logged} logged"
    )
    for kind, count in sorted(sent.items()):
        print(f"  {kind}: {count} sent, {answered[kind]} answered")
    wrong = [*soak.account.wrong, *soak.daemon.defects]
    if whole < streams or again < streams:
        wrong.append(f"streams of the crowd broke off: {whole} and {again} of {streams} were whole")
    wrong += after.grown_since(warm, minutes)
    if counted != logged or not answered.total() <= counted <= sent.total():
        wrong.append("metrics, log and clients do not agree")
    return wrong


async def _with_workers(soak: Soak, minutes: float, each: int) -> list[str]:
    """Run the second part: workers that die. What one counted in its last second is lost, and what it had open."""
    await soak.load(minutes * 60.0, each, kills_workers=True)
    # one that has died again and again is started after a while only
    await asyncio.to_thread(eventually, lambda: len(workers(soak.daemon)) == 2)
    await asyncio.sleep(3.0)
    sent, answered, deaths = soak.account.sent.total(), soak.account.answered.total(), soak.weather.deaths
    counted, logged = soak.counted(), soak.logged()
    print(
        f"two workers, {minutes:g} minutes, {deaths} deaths, {soak.weather.events} events: sent {sent} requests, "
        f"saw {answered} answers; {counted:g} counted, {logged} logged"
    )
    a_second = answered / (minutes * 60.0)
    lost = deaths * (LOST_S * a_second + each * KINDS)
    wrong = [*soak.account.wrong, *soak.daemon.defects]
    if len(workers(soak.daemon)) != 2:
        wrong.append(f"{len(workers(soak.daemon))} workers are left of 2")
    for name, seen in (("metrics", counted), ("log", logged)):
        if not answered - lost <= seen <= sent:
            wrong.append(f"{name}: {seen:g} of {answered} to {sent} requests; {lost:.0f} may be lost")
    return wrong


async def _run(directory: Path, minutes: float, each: int) -> list[str]:
    redis, azurite = RedisServer(), Azurite(directory / "azurite")
    redis.start()
    azurite.start()
    wrong: list[str] = []
    try:
        for number, part, length in ((1, _alone, minutes), (2, _with_workers, min(minutes / 5.0, 10.0))):
            soak = Soak(directory, redis, azurite, number)
            try:
                wrong += await part(soak, length, each)
            finally:
                soak.stop()
    finally:
        redis.kill()
        azurite.kill()
    return wrong


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--hours", type=float)
    options.add_argument("--each", type=int, default=3, help="clients of each kind")
    chosen = options.parse_args()
    _raise_limit()
    minutes = chosen.minutes if chosen.hours is None else 60.0 * chosen.hours
    with tempfile.TemporaryDirectory() as directory:
        wrong = asyncio.run(_run(Path(directory), minutes, chosen.each))
    for line in wrong:
        print(f"WRONG: {line}")
    print(
        "nothing is left, and everything is accounted for" if not wrong else f"{len(wrong)} things are wrong"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
