"""Ships what waits in the spool, in a thread of its own.

Not one of the reactor's threads: those look up names, and a store that
hangs would hold them all.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ....wire.backoff import reconnect_s
from .deliveries import ADOPT_EVERY_S, Deliveries
from .reasons import reason_of
from .spool import BATCH_BYTES, Spool

LINGER_S = 1.0
"""After the first line, others are waited for this long."""
INTERVAL_S = 5.0
"""Between two rounds, if no whole batch waits."""
LAST_ROUND_S = 3.0
"""How long the daemon's end may wait for the last round; the rest stays in the spool."""


class Shipper:
    """The shipping thread.

    States: built, running (`start`), stopping (`stop`), ended. Everything
    is said on the reactor's thread.
    """

    def __init__(self, deliveries: Deliveries, spool: Spool, url: str, reactor: Any, log: Logger) -> None:
        self._deliveries = deliveries
        self._spool = spool
        self._url = url
        self._reactor = reactor
        self._log = log
        self._stopping = False
        self._until = 0.0
        self._failures = 0
        self._ended: Deferred[None] | None = None
        self._give_up: IDelayedCall | None = None

    # ---- on the reactor's thread

    def start(self) -> None:
        """Start the thread. Call it after the daemon has forked."""
        # A daemon thread: a store that hangs must not keep the process.
        threading.Thread(target=self._run, name="exchange-log-shipper", daemon=True).start()

    def stop(self) -> Deferred[None]:
        """Ship what waits, within 3 s; fires then, whatever became of it. Call it once."""
        self._ended = Deferred()
        self._give_up = self._reactor.callLater(LAST_ROUND_S + 0.5, self._has_ended)
        with self._spool.changed:
            self._stopping = True
            self._until = time.monotonic() + LAST_ROUND_S
            self._spool.changed.notify_all()
        return self._ended

    def _has_ended(self) -> None:
        ended = self._ended
        if ended is None or ended.called:
            return
        if self._give_up is not None and self._give_up.active():
            self._give_up.cancel()
        if self._deliveries.waiting_bytes:
            self._log.warn(
                "{bytes} bytes of the exchange log stay in {directory} and are shipped after the next start",
                bytes=self._deliveries.waiting_bytes,
                directory=self._spool.directory,
            )
        ended.callback(None)

    # ---- on the thread

    def _run(self) -> None:
        last = -INTERVAL_S
        stopping = False
        while not stopping:
            stopping = self._wait(last)
            last = time.monotonic()
            try:
                if stopping:
                    self._deliveries.round(self._until)
                else:
                    self._deliveries.round()
            except Exception as error:
                self._failed(error)
            else:
                self._worked()
        try:
            self._deliveries.close()
        except Exception as error:
            self._failed(error)
        self._reactor.callFromThread(self._has_ended)

    def _wait(self, last: float) -> bool:
        """Return when a round is due; True if it is the last one."""
        changed = self._spool.changed
        with changed:
            if self._failures:
                pause_s = reconnect_s(self._failures, random.random())
                changed.wait_for(lambda: self._stopping, pause_s)
            elif changed.wait_for(lambda: self._stopping or self._spool.waiting_bytes, ADOPT_EVERY_S):
                pause_s = max(LINGER_S, last + INTERVAL_S - time.monotonic())
                changed.wait_for(lambda: self._stopping or self._spool.waiting_bytes >= BATCH_BYTES, pause_s)
            return self._stopping

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            self._tell(
                "error",
                "cannot ship the exchange log to {url}: {reason}; requests go on, and what they leave waits in "
                "{directory}",
                reason=reason_of(error),
                directory=self._spool.directory,
            )

    def _worked(self) -> None:
        if self._failures:
            self._failures = 0
            self._tell("info", "the exchange log is shipped to {url} again")
        if self._deliveries.lost_batches:
            lost, self._deliveries.lost_batches = self._deliveries.lost_batches, 0
            self._tell(
                "error",
                "{lost} spooled files of the exchange log were taken away before they were shipped",
                lost=lost,
            )

    def _tell(self, level: str, text: str, **facts: Any) -> None:
        self._reactor.callFromThread(getattr(self._log, level), text, url=self._url, **facts)
