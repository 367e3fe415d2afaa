"""Connections that are made before a request needs them: `upstream.warm_connections`.

None of them has carried a request, so any credential may have one. The agent
makes and cuts them; this decides how many, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..net.origin import Origin
from .contract import Connection

AFTER_FAILURE_S = 5.0
"""After a failed attempt no warm connection to an origin is made for so long."""


class WarmConnections:
    """Keeps `count` connections ready for each of `origins`. Times are monotonic seconds."""

    def __init__(self, count: int = 0, origins: Iterable[Origin] = ()) -> None:
        self._count = count
        self._ready: dict[Origin, list[Connection]] = {origin: [] for origin in origins} if count else {}
        self._connecting = dict.fromkeys(self._ready, 0)
        self._not_before = dict.fromkeys(self._ready, 0.0)

    def __len__(self) -> int:
        return sum(map(len, self._ready.values()))

    def take(self, origin: Origin) -> Connection | None:
        """Return the one that was made last, None if there is none."""
        ready = self._ready.get(origin)
        return ready.pop() if ready else None

    def remove(self, connection: Connection) -> None:
        """Forget a connection, whether it is here or not; a server that closes what it accepts gets a rest too."""
        origin = connection.key[0]
        ready = self._ready.get(origin)
        if ready and connection in ready:
            ready.remove(connection)
            self._not_before[origin] = max(self._not_before[origin], connection.idle_since + AFTER_FAILURE_S)

    def older_than(self, moment: float) -> list[Connection]:
        """Remove and return those that have waited since `moment` or for longer: their server may be about to close."""
        old = [each for ready in self._ready.values() for each in ready if each.idle_since <= moment]
        for each in old:
            self.remove(each)
        return old

    def refill(
        self, room: int, connect: Callable[[Origin], Deferred[Connection]], clock: Callable[[], float]
    ) -> None:
        """Have connections made if some are missing, up to `room` with those that are on their way."""
        room -= sum(self._connecting.values())
        for origin, ready in self._ready.items():
            missing = self._count - len(ready) - self._connecting[origin]
            if clock() < self._not_before[origin]:
                continue
            for _ in range(min(missing, room)):
                room -= 1
                self._connecting[origin] += 1
                connect(origin).addCallbacks(
                    self._made, self._failed, (origin, clock), errbackArgs=(origin, clock)
                )

    def _made(self, connection: Connection, origin: Origin, clock: Callable[[], float]) -> None:
        self._connecting[origin] -= 1
        connection.idle_since = clock()
        self._ready[origin].append(connection)

    def _failed(self, _: Failure, origin: Origin, clock: Callable[[], float]) -> None:
        """Note that a connection failed, and make none for AFTER_FAILURE_S: a request that has to connect reports the reason."""
        self._connecting[origin] -= 1
        self._not_before[origin] = clock() + AFTER_FAILURE_S

    def clear(self) -> list[Connection]:
        """Remove and return all, and keep none from here on."""
        removed = [each for ready in self._ready.values() for each in ready]
        self._ready = {}
        return removed
