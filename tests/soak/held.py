"""What the daemon of the endurance run holds, and whether it grew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path
from statistics import median

from attrs import define
from world.daemon import Daemon
from world.pages import metrics, total
from world.waiting import eventually

MIB = 1024 * 1024
CALM_S = 120.0
"""So long everything may take to be back: the pool keeps idle connections for 50 s."""
OPENED_LATER = 5
"""Descriptors that the daemon opens for good with its first requests."""
STORE_CONNECTIONS = 1
"""The client of the log's store keeps a connection until it needs one again, even if the store has closed it."""
SHIPPED_S = 65.0
"""What the log's store has taken stays known for half a minute, and is looked at each half minute."""
PROBE = "probe.json"
BLOCKS_OF_A_MIB = 16_000
"""Of Python's allocator, at some 64 bytes each."""
TIMERS = 10
"""So many more may be set at one moment than at another, with nobody there."""


@define(frozen=True)
class Held:
    """What the daemon holds at one moment."""

    resident_bytes: int
    descriptors: int
    in_flight: float
    connections: float
    objects: int
    blocks: int
    timers: int
    trimmed_bytes: int
    """Resident once the C library has given back what is free; see `probe/sitecustomize.py`."""

    def __str__(self) -> str:
        return (
            f"{self.trimmed_bytes / MIB:.2f} MiB held ({self.resident_bytes / MIB:.2f} resident), "
            f"{self.objects} objects, {self.blocks} blocks, {self.timers} timers, {self.descriptors} descriptors, "
            f"{self.in_flight:g} in flight, {self.connections:g} connections"
        )

    def grown_since(self, warm: Held, minutes: float) -> list[str]:
        """Return what is more than it may be `minutes` after `warm`: a MiB in ten minutes, one more for chance."""
        allowed = minutes / 10.0 + 1.0
        grown = (self.trimmed_bytes - warm.trimmed_bytes) / MIB
        blocks = self.blocks - warm.blocks
        wrong = []
        if grown > allowed:
            wrong.append(f"memory that is held grew by {grown:.2f} MiB")
        if blocks > allowed * BLOCKS_OF_A_MIB:
            wrong.append(f"Python holds {blocks} blocks more")
        if self.timers > warm.timers + TIMERS:
            wrong.append(f"{self.timers - warm.timers} timers are left")
        if self.descriptors > warm.descriptors + STORE_CONNECTIONS or self.in_flight:
            wrong.append(
                f"left open: {self.descriptors - warm.descriptors} descriptors, {self.in_flight:g} in flight"
            )
        return wrong


def probing(directory: Path) -> dict[str, str]:
    """Return the environment in which a daemon in `directory` answers SIGUSR2."""
    return {
        "PYTHONPATH": str(Path(__file__).with_name("probe")),
        "SOAK_PROBE": str(directory / PROBE),
    }


def descriptors(daemon: Daemon) -> int:
    """Return how many the daemon holds but for those of the exchange log, which keeps its last files open."""
    count = 0
    for descriptor in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += "/log/" not in os.readlink(descriptor)
    return count


def held(daemon: Daemon) -> Held:
    resident_bytes = daemon.resident_bytes()
    file = daemon.directory / PROBE
    file.unlink(missing_ok=True)
    daemon.signal(signal.SIGUSR2)
    assert eventually(file.exists), "the daemon does not say what it holds"
    page = metrics(daemon.port)
    return Held(
        resident_bytes,
        descriptors(daemon),
        total(page, "openai_proxy_in_flight_requests"),
        total(page, "openai_proxy_open_connections"),
        **json.loads(file.read_text()),
    )


async def calm(daemon: Daemon, most: int) -> Held:
    """Wait until the daemon holds no more than `most` descriptors and has shipped its log, or the time is over."""
    deadline = time.monotonic() + CALM_S
    while time.monotonic() < deadline and (descriptors(daemon) > most or _is_busy(daemon)):
        await asyncio.sleep(1.0)
    await asyncio.sleep(SHIPPED_S)
    return held(daemon)


def _is_busy(daemon: Daemon) -> bool:
    page = metrics(daemon.port)
    return any(
        total(page, name) > 0
        for name in ("openai_proxy_in_flight_requests", "openai_proxy_exchange_log_spool_bytes")
    )


class Course:
    """The resident memory while the load is on, every few seconds."""

    def __init__(self, daemon: Daemon, every_s: float = 2.0) -> None:
        self._daemon = daemon
        self._every_s = every_s
        self._seen: list[int] = []

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._seen.append(self._daemon.resident_bytes())
            await asyncio.sleep(self._every_s)

    def parts_mib(self, number: int) -> list[float]:
        """Return the median of each of so many equal parts of the time; empty if that was too short."""
        size = len(self._seen) // number
        parts = range(number if size else 0)
        return [median(self._seen[at * size : (at + 1) * size]) / MIB for at in parts]
