"""What is known of several upstreams and their keys from their answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

from .circuit_breaker import CircuitBreaker
from .errors import UpstreamError
from .routing import Upstream

QUOTA_OUT_S = 60.0
"""A key without quota is tried again after a minute."""
LONGEST_COOLING_S = 600.0
_BROKEN = frozenset((500, 502, 503, 504))


class UpstreamHealth:
    """A circuit breaker per upstream, and the cooled keys of each.

    Owned by the routing stage. Keys are looked up as bytes and shown
    nowhere; expired entries go when others come.
    """

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._breakers = {upstream.name: CircuitBreaker() for upstream in upstreams}
        self._cooled: dict[tuple[str, bytes], float] = {}

    def usable(self, upstream: Upstream, key: bytes, now: float) -> bool:
        """Tell whether a request with `key` may go to `upstream` now."""
        return self._breakers[upstream.name].allows(now) and self.key_usable(upstream, key, now)

    def key_usable(self, upstream: Upstream, key: bytes, now: float) -> bool:
        """Tell whether `upstream` takes requests with `key`, as far as it said."""
        return not self._cooled or self._cooled.get((upstream.name, key), 0.0) <= now

    def usable_in_s(self, upstreams: Iterable[Upstream], key_of: Any, now: float) -> int:
        """Return the whole seconds (at least 1) until one of `upstreams` is usable."""
        waits = [
            max(self._breakers[u.name].open_until, self._cooled.get((u.name, key_of(u)), 0.0)) - now
            for u in upstreams
        ]
        return max(1, ceil(min(waits, default=1.0)))

    def begin(self, upstream: Upstream, now: float) -> None:
        """Note that a request goes to `upstream`."""
        self._breakers[upstream.name].begin(now)

    def failed(self, upstream: Upstream, error: UpstreamError, now: float) -> None:
        """Note a failure; one stale connection says nothing about an upstream."""
        if error.sent != "stale":
            self._breakers[upstream.name].fail(now)

    def answered(
        self, upstream: Upstream, key: bytes, status: int, code: str, asked_s: float | None, now: float
    ) -> None:
        """Note an answer: its status, a 429's error `code`, and the wait it asks for."""
        breaker = self._breakers[upstream.name]
        if status in _BROKEN:
            breaker.fail(now)
            return
        breaker.succeed()
        if status == 429:
            cooling_s = QUOTA_OUT_S if code == "insufficient_quota" else asked_s
            if cooling_s:
                self._cool((upstream.name, key), now, min(cooling_s, LONGEST_COOLING_S))

    def describe(self, now: float) -> list[dict[str, Any]]:
        """Return name and state (`closed`, `open`, `half-open`) of each, with its number of cooled keys."""
        cooled = [name for (name, _), until in self._cooled.items() if until > now]
        return [
            {"name": name, "state": _state(breaker, now), "cooled_keys": cooled.count(name)}
            for name, breaker in self._breakers.items()
        ]

    def _cool(self, entry: tuple[str, bytes], now: float, seconds: float) -> None:
        for other in [other for other, until in self._cooled.items() if until <= now]:
            del self._cooled[other]
        self._cooled[entry] = max(self._cooled.get(entry, 0.0), now + seconds)


def _state(breaker: CircuitBreaker, now: float) -> str:
    if not breaker.open_until:
        return "closed"
    return "half-open" if breaker.allows(now) else "open"
