"""The `exchange-log` observer: lines into a directory or a spool."""

from __future__ import annotations

import errno
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import LogEvent, Logger

from ...exchange.outcome import Outcome
from ...exchange.record import Exchange
from ...logs import logger
from ..lines.json_lines import WriteFailures
from .files import file_name
from .line import NO_MODEL, exchange_line

TOGETHER_BYTES = 256 * 1024
"""Lines that are more than this together do not wait for the end of their batch."""


TRY_AGAIN_S = 1.0
"""After a line that could not be written, requests are refused for so long; then one may show whether it works."""
_REFUSED = (Outcome.REJECTED, Outcome.LIMIT)
_FULL = OSError(errno.EDQUOT, "its files hold the bytes of max_bytes")


class LineStore(Protocol):
    """Where lines are kept."""

    directory: str
    """For reports: where on the disk."""

    @property
    def full(self) -> bool:
        """Whether it takes no more lines, or soon will not."""

    def start(self) -> None: ...

    def append(self, name: str, lines: bytes) -> None:
        """Append whole lines to the log file `name`; OSError if they are not on disk."""

    @property
    def spool_bytes(self) -> int | None:
        """What waits for a remote store; None for one that is here."""

    def reopen(self) -> None: ...

    def stop(self) -> Any:
        """Close; may return a Deferred."""


class ExchangeLog:
    """Writes each exchange to disk before its client sees the end: at the latest in `flush`.

    `models` and `keys` choose by name, None means all; a model called `none`
    is that of exchanges without one. `sample` is the part of the exchanges,
    0 to 1, chosen by their id. With `raw` a line can be replayed. With `refuses` no request may begin while
    its line could not be written: see `_refusal`.
    """

    synchronous = True
    needs_usage = True

    def __init__(
        self,
        store: LineStore,
        body_limit_bytes: int,
        *,
        bodies: bool = True,
        raw: bool = False,
        sample: float = 1.0,
        models: frozenset[str] | None = None,
        keys: frozenset[str] | None = None,
        secrets: Sequence[str] = (),
        refuses: bool = False,
        clock: Callable[[], float] = time.monotonic,
        log: Logger | None = None,
    ) -> None:
        self.needs_bodies = bodies
        self.needs_arrivals = raw
        self.body_limit_bytes = body_limit_bytes
        self._store = store
        self._refuses = refuses
        self.refusal = self._refusal if refuses else None
        """Asked before a request begins."""
        self._clock = clock
        self._failed_at: float | None = None
        self._waiting: dict[str, list[bytes]] = {}
        """Lines by the names of their files."""
        self._waiting_bytes = 0
        self._sample = sample
        self._models = models
        self._keys = keys
        self._takes_all = models is None and keys is None and sample >= 1.0
        self._secrets = tuple(sorted({each for each in secrets if len(each) >= 8}, key=len, reverse=True))
        meanwhile = "new requests are refused" if refuses else "lines are lost, requests go on"
        self.failures = WriteFailures(log or logger("openai_proxy.observe.exchange_log"), meanwhile)

    @property
    def spool_bytes(self) -> int | None:
        """What waits for a remote store; None if the log is in a directory here."""
        return self._store.spool_bytes

    def start(self) -> None:
        self._store.start()

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        if not (self._takes_all or self._chosen(exchange)):
            return
        if self._refuses and exchange.outcome in _REFUSED and self._store.full:
            # Refusals are what a full log makes: they must not fill the disk.
            self.failures.failed(self._store.directory, _FULL, 1)
            return
        line = exchange_line(
            exchange,
            self.body_limit_bytes,
            bodies=self.needs_bodies,
            raw=self.needs_arrivals,
            secrets=self._secrets,
        )
        if self._waiting_bytes + len(line) > TOGETHER_BYTES:
            self.flush()
        self._waiting_bytes += len(line)
        self._waiting.setdefault(file_name(exchange), []).append(line)

    def flush(self) -> None:
        """Write what was collected: a file's lines together."""
        waiting, self._waiting = self._waiting, {}
        self._waiting_bytes = 0
        for name, lines in waiting.items():
            try:
                self._store.append(name, lines[0] if len(lines) == 1 else b"".join(lines))
            except OSError as error:
                self._failed_at = self._clock()
                self.failures.failed(self._store.directory, error, len(lines))
            else:
                self._failed_at = None
                self.failures.worked()

    def append(self, name: str, line: bytes) -> None:
        """Write a line that is no exchange to the file `name`, at once; a failure is logged."""
        try:
            self._store.append(name, line)
        except OSError as error:
            self.failures.failed(self._store.directory, error, 1)

    def _refusal(self) -> str | None:
        """Return why no request may begin now, for its client; None if one may."""
        if self._store.full:
            return "The exchange log of this proxy (openai-proxy) is full, and no request may go unrecorded."
        if self._failed_at is not None and self._clock() - self._failed_at < TRY_AGAIN_S:
            return (
                "This proxy (openai-proxy) cannot write its exchange log, and no request may go unrecorded."
            )
        return None

    def _chosen(self, exchange: Exchange) -> bool:
        if self._models is not None and (exchange.model or NO_MODEL) not in self._models:
            return False
        if self._keys is not None and exchange.key not in self._keys:
            return False
        return self._sample >= 1.0 or zlib.crc32(exchange.id.encode()) < self._sample * 2**32

    def reopen(self) -> None:
        self._store.reopen()

    def stop(self) -> Any:
        self.flush()
        return self._store.stop()
