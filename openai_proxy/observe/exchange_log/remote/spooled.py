"""An exchange log's lines for a remote store: spool, then shipper."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ....logs import logger
from .claims import claim_own
from .deliveries import Deliveries
from .shipper import Shipper
from .spool import Spool
from .storage import Remote

_NEARLY_FULL = 7 / 8


class SpooledLines:
    """Takes lines for a remote store as `LogDirectory` does for a local one.

    `directory` is the spool's, shared with logs for other places and with
    other processes: each store has a root in it, each process a directory
    below that.
    """

    def __init__(
        self, remote: Remote, directory: str, limit_bytes: int, reactor: Any, log: Logger | None = None
    ) -> None:
        self.directory = os.path.join(directory, remote.identity)
        self._remote = remote
        self._limit_bytes = limit_bytes
        self._reactor = reactor
        self._log = log or logger("openai_proxy.observe.exchange_log")
        self._spool: Spool | None = None
        self._shipper: Shipper | None = None

    def start(self) -> None:
        """Take a directory and start to ship, first what an earlier process left; OSError if it cannot."""
        claim = claim_own(self.directory)
        spool = Spool(claim, self._limit_bytes)
        try:
            spool.open()
        except BaseException:
            claim.release()
            raise
        self._spool = spool
        deliveries = Deliveries(spool, self.directory, self._remote.connect)
        self._shipper = Shipper(deliveries, spool, self._remote.shown_url, self._reactor, self._log)
        self._shipper.start()

    @property
    def full(self) -> bool:
        """Whether the spool has little room left: what runs already still finds some."""
        return self._spool is not None and self._spool.waiting_bytes >= self._limit_bytes * _NEARLY_FULL

    @property
    def spool_bytes(self) -> int:
        """What waits to be shipped."""
        return 0 if self._spool is None else self._spool.waiting_bytes

    def append(self, name: str, lines: bytes) -> None:
        """Append whole lines to the log file `name`; OSError if they are not on disk."""
        if self._spool is None:
            raise OSError("the spool is not open")
        self._spool.append(name, lines)

    def reopen(self) -> None:
        """Do nothing: the spool's files are nobody's to move."""

    def stop(self) -> Deferred[None] | None:
        """Ship the rest within a few seconds; what is left is shipped after the next start."""
        shipper, self._shipper = self._shipper, None
        return shipper.stop() if shipper is not None else None
