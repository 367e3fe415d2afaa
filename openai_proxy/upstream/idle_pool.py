"""Connections that wait for their next request: how many, whose, and for how long.

A table only: the agent opens and cuts connections. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from itertools import takewhile

from ..net.origin import Origin
from .contract import Connection, Key

LONG_CREDENTIAL_BYTES = 256
SHARE = 2
"""One credential, and whoever pays under several, may keep at most 1/SHARE of all idle connections."""


def pool_key(origin: Origin, credential: bytes) -> Key:
    """Return the key; a long credential is kept as its digest, so that strangers cannot fill the memory."""
    if len(credential) > LONG_CREDENTIAL_BYTES:
        credential = sha256(credential).digest()
    return origin, credential


class IdlePool:
    """Idle connections by key, last in, first out; at most `limit` in all.

    Whatever a method returns is out of the pool: the caller cuts it. All but
    `remove` and `as_idle_as` take constant time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._by_key: dict[Key, list[Connection]] = {}
        self._by_payer: dict[str, OrderedDict[Connection, None]] = {}
        """As `_by_age`, of each payer: made-up credentials beside a real one are keys of their own, but do not pay."""
        self._by_age: OrderedDict[Connection, None] = OrderedDict()
        """The one that has been idle for longest comes first."""

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, key: Key) -> Connection | None:
        """Return the connection that was used last, None if there is none."""
        idle = self._by_key.get(key)
        if not idle:
            return None
        connection = idle.pop()
        del self._by_age[connection]
        del self._by_payer[connection.payer][connection]
        return connection

    def newest(self, key: Key) -> Connection | None:
        """Return the connection that `take` would return, and leave it there."""
        idle = self._by_key.get(key)
        return idle[-1] if idle else None

    def take_oldest(self) -> Connection | None:
        """Remove and return the connection that has been idle for longest, None if there is none."""
        oldest = next(iter(self._by_age), None)
        if oldest is not None:
            self.remove(oldest)
        return oldest

    def put(self, connection: Connection, now: float) -> Connection | None:
        """Keep a connection; return the one that has to go for it, if any: the oldest of its key, of its payer or of all."""
        connection.idle_since = now
        idle = self._by_key.get(connection.key)
        if idle is None:
            idle = self._by_key[connection.key] = []
        idle.append(connection)
        self._by_age[connection] = None
        paid = self._by_payer.get(connection.payer)
        if paid is None:
            paid = self._by_payer[connection.payer] = OrderedDict()
        paid[connection] = None
        most = max(self.limit, SHARE)
        if len(idle) * SHARE > most:
            oldest = idle[0]
        elif connection.payer and len(paid) * SHARE > most:
            oldest = next(iter(paid))
        elif len(self._by_age) > self.limit:
            oldest = next(iter(self._by_age))
        else:
            return None
        self.remove(oldest)
        return oldest

    def remove(self, connection: Connection) -> None:
        """Forget a connection, whether it is here or not."""
        if connection in self._by_age:
            del self._by_age[connection]
            del self._by_payer[connection.payer][connection]
            self._by_key[connection.key].remove(connection)

    def as_idle_as(self, origin: Origin, idle_since: float) -> list[Connection]:
        """Remove and return the connections to `origin` that have been idle since then or for longer."""
        return self._remove_all(
            connection
            for connection in self._by_age
            if connection.idle_since <= idle_since and connection.key[0] == origin
        )

    def older_than(self, moment: float) -> list[Connection]:
        """Remove and return the connections that have been idle since `moment` or for longer."""
        return self._remove_all(takewhile(lambda connection: connection.idle_since <= moment, self._by_age))

    def clear(self) -> list[Connection]:
        """Remove and return all."""
        return self._remove_all(self._by_age)

    def _remove_all(self, connections: Iterable[Connection]) -> list[Connection]:
        removed = list(connections)
        for connection in removed:
            self.remove(connection)
        return removed

    def forget_empty(self) -> None:
        """Drop the keys and payers without connections; not as each is taken, for most are soon back."""
        for key in [key for key, idle in self._by_key.items() if not idle]:
            del self._by_key[key]
        for payer in [payer for payer, paid in self._by_payer.items() if not paid]:
            del self._by_payer[payer]
