"""The thread that sends observations, and the queue before it.

Nothing of what happens at the collector reaches the reactor: it appends to
a bounded list, and that is all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from .observation import Observation

QUEUE_LIMIT = 4096
"""Observations of 1 to 2 KiB that wait while the collector is slow; then new ones are dropped."""
BATCH = 128
"""The most in one request to the collector."""
SEND_AT = 32
"""This many are sent at once, fewer within SEND_EVERY_S: small bursts, because they take turns with the reactor."""
SEND_EVERY_S = 1.0


class Sending(Protocol):
    """What the thread drives; see `sdk.Pipeline`."""

    def send(self, batch: list[Observation]) -> str | None: ...

    def send_metrics(self) -> str | None: ...

    def close(self) -> None: ...


class Exporting:
    """Owns the queue and its thread.

    States: built, running (`start`), stopping (`begin_stop`), ended
    (`running` is False again). `put` and `begin_stop` come from the reactor
    and never wait; what is put before `start` waits for it.
    """

    def __init__(
        self,
        make: Callable[[], Sending],
        where: str,
        metrics_every_s: float,
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._where = where
        self._metrics_every_s = metrics_every_s
        self._log = log
        self._clock = clock
        self._queue: deque[Observation] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._away = False
        self._on_their_way = 0
        self.lost = 0
        """Observations that never reached the collector, those dropped before the queue included."""

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def unsent(self) -> int:
        """Observations in the queue and on their way."""
        return len(self._queue) + self._on_their_way

    def put(self, observation: Observation) -> None:
        """Queue an observation; drop it if the queue is full."""
        if len(self._queue) >= QUEUE_LIMIT:
            self.lost += 1
            return
        self._queue.append(observation)
        if len(self._queue) == SEND_AT:
            self._wake.set()

    def start(self) -> None:
        # a daemon thread: a collector that hangs must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="otel", daemon=True)
        self._thread.start()

    def begin_stop(self) -> None:
        """Send what waits, then end the thread."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        try:
            pipeline = self._make()
            self._loop(pipeline)
            pipeline.close()
        except Exception:
            self._log.failure("the OpenTelemetry exporter failed; nothing is sent any more")

    def _loop(self, pipeline: Sending) -> None:
        metrics_at = self._clock() + self._metrics_every_s
        stopping = False
        while not stopping:
            self._wake.wait(SEND_EVERY_S)
            self._wake.clear()
            stopping = self._stopping
            self._send_all(pipeline)
            if stopping or self._clock() >= metrics_at:
                self._tell(pipeline.send_metrics())
                metrics_at = self._clock() + self._metrics_every_s

    def _send_all(self, pipeline: Sending) -> None:
        queue = self._queue
        while queue:
            batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
            self._on_their_way = len(batch)
            failure = pipeline.send(batch)
            self._on_their_way = 0
            if failure is not None:
                self.lost += len(batch)
            self._tell(failure)

    def _tell(self, failure: str | None) -> None:
        """Say once that the collector is away, and once that it is back."""
        if failure is not None and not self._away:
            self._away = True
            self._log.error(
                "traces and metrics cannot be sent to {where}: {reason}; they are lost, requests go on",
                where=self._where,
                reason=failure,
            )
        elif failure is None and self._away:
            self._away = False
            self._log.info(
                "traces and metrics are sent to {where} again, {lost} exchanges were lost in all",
                where=self._where,
                lost=self.lost,
            )
