"""Probe upstreams that are out until they accept connections again.

A probe is a TCP and TLS connect, never a call. Its result decides when a
client's request is worth a trial. Nothing runs while all upstreams are well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...exchange.upstream_errors import UpstreamError
from .table import Upstream

PROBE_S = 0.9
"""The longest time between two probes: less than a circuit's first opening lasts."""


class Health(Protocol):
    """The receiver of results (policies.routing.health)."""

    def wants_probe(self, upstream: Upstream) -> bool: ...

    def probed(self, upstream: Upstream, reached: bool, now: float, reason: str) -> None: ...


class Prober:
    """Probes each upstream that it is told to `watch`, until it is reached.

    States: idle (no upstream is watched, and there is no timer), probing (one
    timer for all of them, at most one probe for each), stopped (for good).
    `probe` connects to an upstream and fires, or fails, within its own deadline.
    `draw` in [0, 1) spreads the probes over half to all of PROBE_S.
    """

    def __init__(
        self,
        health: Health,
        probe: Callable[[Upstream], Deferred[None]],
        *,
        timers: Any,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._health = health
        self._probe = probe
        self._timers = timers
        self._clock = clock
        self._draw = draw
        self._watched: dict[str, Upstream] = {}
        self._running: dict[str, Deferred[None]] = {}
        self._timer: Any = None
        self._stopped = False

    def watch(self, upstream: Upstream) -> None:
        """Probe `upstream` until it is reached or well again. Idempotent."""
        if not self._stopped:
            self._watched[upstream.name] = upstream
            self._schedule()

    def stop(self) -> None:
        """Stop all probes; later calls of `watch` are ignored. Idempotent."""
        self._stopped = True
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for running in list(self._running.values()):
            running.cancel()

    def _schedule(self) -> None:
        if self._timer is None and self._watched:
            delay_s = PROBE_S * (0.5 + 0.5 * self._draw())
            self._timer = self._timers.callLater(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for name, upstream in list(self._watched.items()):
            if name in self._running:
                continue
            if self._health.wants_probe(upstream):
                self._ask(upstream)
            else:  # a request that was late has got its answer
                self._report(upstream, True)
        self._schedule()

    def _ask(self, upstream: Upstream) -> None:
        probing = self._running[upstream.name] = self._probe(upstream)
        probing.addBoth(self._answered, upstream)

    def _answered(self, result: object, upstream: Upstream) -> None:
        self._running.pop(upstream.name, None)
        if self._stopped:
            return
        reached = not isinstance(result, Failure)
        error = result.value if isinstance(result, Failure) else None
        reason = error.log_text if isinstance(error, UpstreamError) else "" if error is None else str(error)
        self._health.probed(upstream, reached, self._clock(), reason)
        self._report(upstream, reached)

    def _report(self, upstream: Upstream, reached: bool) -> None:
        if reached:
            self._watched.pop(upstream.name, None)
