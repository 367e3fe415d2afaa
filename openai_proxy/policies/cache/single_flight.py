"""Identical requests at the same time: one upstream call serves them all.

Has the flights that can be joined; `flight` is one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .flight import Flight, Keep
from .participants import SharedResult
from .recording import MemoryLease
from .rules import Verdict


class SingleFlight:
    """The flights that can be joined, by key. Owns the table.

    `lease` returns the lease for a recording, None if its memory has no shared bound.
    """

    def __init__(
        self,
        limit_bytes: int,
        judge: Callable[[ProxyResponse], Verdict],
        lease: Callable[[], MemoryLease | None] = lambda: None,
    ) -> None:
        self._lease = lease
        self._limit_bytes = limit_bytes
        self._judge = judge
        self._flights: dict[bytes, Flight] = {}

    def join(
        self,
        key: bytes,
        request: ProxyRequest,
        forward: Forward,
        keep: Keep,
        ended: Callable[[], None],
        fresh: bool = False,
    ) -> Deferred[SharedResult]:
        """Join the flight of `key`, or start one; `fresh` always starts one, which others may join.

        `ended` is called when nobody can join the started flight any more.
        """
        flight = None if fresh else self._flights.get(key)
        if flight is None:

            def closed() -> None:
                self._forget(key, flight)
                ended()

            flight = Flight(self._limit_bytes, self._judge, keep, closed, self._lease())
            self._flights[key] = flight
        return flight.join(request, forward)

    def read(self, key: bytes, over: Callable[[bool], object]) -> Deferred[ProxyResponse | None]:
        """Join the flight of `key` from outside: see `Flight.read`; None if there is none."""
        flight = self._flights.get(key)
        return succeed(None) if flight is None else flight.read(over)

    def _forget(self, key: bytes, flight: Flight | None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def __len__(self) -> int:
        return len(self._flights)
