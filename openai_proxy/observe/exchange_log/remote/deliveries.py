"""What the shipping thread does in a round: deliver all that waits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .batch import BatchGone
from .claims import claim_left_behind
from .spool import Spool
from .storage import RemoteStore

ADOPT_EVERY_S = 30.0
"""How often the directories of ended processes are looked for, first after this long: they may be starting again."""


class Deliveries:
    """Brings the batches of spools to a store. Used by one thread.

    The process's own spool first; then those that ended processes left
    under the same root, until they are empty.
    """

    def __init__(
        self,
        spool: Spool,
        root: str,
        connect: Callable[[], RemoteStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spools = [spool]
        self._root = root
        self._connect = connect
        self._clock = clock
        self._store: RemoteStore | None = None
        self._looked_at = clock()
        self._failed: set[tuple[str, str]] = set()
        self.lost_batches = 0
        """Batches whose files somebody took away."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are not delivered yet, in all spools."""
        return sum(spool.waiting_bytes for spool in self._spools)

    def round(self, until: float = math.inf) -> None:
        """Deliver what waits now; begin nothing at `until` (monotonic seconds) or later.

        Raises the first error. What failed comes last in the next round,
        so that one bad name does not hold up the others.
        """
        self._tidy()
        waiting = [(spool, name) for spool in self._spools for name in spool.names()]
        waiting.sort(key=lambda each: (each[0].directory, each[1]) in self._failed)
        for spool, name in waiting:
            failing = (spool.directory, name)
            try:
                if not self._deliver(spool, name, until):
                    return
            except Exception:
                self._failed.add(failing)
                for each in self._spools:
                    each.doubt()
                raise
            self._failed.discard(failing)

    def _deliver(self, spool: Spool, name: str, until: float) -> bool:
        """Deliver the batches of a name; False if the time is over."""
        for batch in spool.take(name):
            if self._clock() >= until:
                return False
            if self._store is None:
                self._store = self._connect()
            try:
                self._store.deliver(batch)
            except BatchGone:
                self.lost_batches += 1
                spool.gone(batch)
            else:
                spool.delivered(batch, self._clock())
        return True

    def _tidy(self) -> None:
        """Remove what need not be kept any longer, and look for spools that nobody owns."""
        now = self._clock()
        for spool in self._spools:
            spool.expire(now)
        for spool in [each for each in self._spools[1:] if each.idle]:
            self._spools.remove(spool)
            spool.close()
        if now - self._looked_at >= ADOPT_EVERY_S:
            self._looked_at = now
            for claim in claim_left_behind(self._root):
                spool = Spool(claim, 0)
                self._spools.append(spool)
                spool.open()

    def close(self) -> None:
        """Give all spools free, with what still waits in them, and close the store."""
        for spool in self._spools:
            spool.close()
        if self._store is not None:
            self._store.close()
