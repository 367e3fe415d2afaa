"""What several upstreams and their keys have shown by their answers.

Pure: times are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

from .circuit_breaker import CircuitBreaker
from .errors import UpstreamError
from .routing import Upstream

QUOTA_OUT_S = 60.0
"""A key without quota is tried again by one request a minute."""
LONGEST_COOLING_S = 600.0
_BROKEN = frozenset((500, 502, 503, 504))


class UpstreamHealth:
    """A circuit breaker per upstream, and the cooled keys of each.

    Told of requests by the routing stage, of probes by who makes them. Keys
    are looked up as bytes and shown nowhere; entries long expired go when
    others come.
    """

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._breakers = {upstream.name: CircuitBreaker() for upstream in upstreams}
        self._cooled: dict[tuple[str, bytes], float] = {}
        self._without_quota: set[tuple[str, bytes]] = set()

    def usable(self, upstream: Upstream, key: bytes, now: float) -> bool:
        """Tell whether a request with `key` may go to `upstream` now."""
        if not self._breakers[upstream.name].allows(now):
            return False
        return not self._cooled or self.key_usable(upstream, key, now)

    def usable_for_want_of_another(self, upstream: Upstream, key: bytes, now: float) -> bool:
        """Tell the same for a request that no other upstream can serve: it may try one that seems dead."""
        breaker = self._breakers[upstream.name]
        return breaker.allows_for_want_of_another(now) and self.key_usable(upstream, key, now)

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

    def begin(self, upstream: Upstream, key: bytes, now: float) -> None:
        """Note that a request goes to `upstream`; one with a key that had no quota is that key's trial."""
        breaker = self._breakers[upstream.name]
        if breaker.failures:
            breaker.begin(now)
        if self._without_quota and (upstream.name, key) in self._without_quota:
            self._cooled[upstream.name, key] = now + QUOTA_OUT_S

    def failed(self, upstream: Upstream, error: UpstreamError, now: float) -> bool:
        """Note a failure; True where the upstream is out now and should be probed.

        One stale connection says nothing about an upstream.
        """
        if error.sent == "stale":
            return False
        breaker = self._breakers[upstream.name]
        breaker.fail(now, unreachable=error.sent == "no")
        return not breaker.closed

    def unreachable(self, upstream: Upstream) -> bool:
        """Tell whether connections to `upstream` are known to fail."""
        return self._breakers[upstream.name].unreachable

    def is_out(self, upstream: Upstream) -> bool:
        """Tell whether the circuit of `upstream` is open or half-open."""
        return not self._breakers[upstream.name].closed

    def probed(self, upstream: Upstream, reached: bool, now: float) -> None:
        """Note whether `upstream` took a connection."""
        self._breakers[upstream.name].probed(reached, now)

    def answered(
        self, upstream: Upstream, key: bytes, status: int, code: str, asked_s: float | None, now: float
    ) -> None:
        """Note an answer: its status, a 429's error `code`, and the wait it asks for."""
        breaker = self._breakers[upstream.name]
        if status in _BROKEN:
            breaker.fail(now)
            return
        if breaker.failures:  # else it is as good as new
            breaker.succeed()
        if status == 429:
            spent = code == "insufficient_quota"
            if spent:
                self._without_quota.add((upstream.name, key))
            cooling_s = QUOTA_OUT_S if spent else asked_s
            if cooling_s:
                self._cool((upstream.name, key), now, min(cooling_s, LONGEST_COOLING_S))
        elif self._without_quota and (upstream.name, key) in self._without_quota:
            self._without_quota.remove((upstream.name, key))
            self._cooled.pop((upstream.name, key), None)

    def describe(self, now: float) -> list[dict[str, Any]]:
        """Return name, state (`closed`, `open`, `half-open`), reachability and number of cooled keys of each.

        `reachable` is False while connections are known to fail: probes decide then.
        """
        cooled = [name for (name, _), until in self._cooled.items() if until > now]
        return [
            {
                "name": name,
                "state": _state(breaker, now),
                "reachable": not breaker.unreachable,
                "cooled_keys": cooled.count(name),
            }
            for name, breaker in self._breakers.items()
        ]

    def _cool(self, entry: tuple[str, bytes], now: float, seconds: float) -> None:
        forgotten = now - LONGEST_COOLING_S
        for other in [other for other, until in self._cooled.items() if until <= forgotten]:
            del self._cooled[other]
            self._without_quota.discard(other)
        self._cooled[entry] = max(self._cooled.get(entry, 0.0), now + seconds)


def _state(breaker: CircuitBreaker, now: float) -> str:
    if breaker.closed:
        return "closed"
    return "half-open" if breaker.allows(now) else "open"
