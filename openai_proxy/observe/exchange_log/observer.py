"""The `exchange-log` observer: lines into a directory or a spool."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.logger import LogEvent, Logger

from ...core.exchange import Exchange
from ...logs import logger
from ..json_lines import WriteFailures
from .files import file_name
from .line import NO_MODEL, exchange_line

TOGETHER_BYTES = 256 * 1024
"""Lines that are more than this together do not wait for the end of their batch."""


class LineStore(Protocol):
    """Where lines are kept."""

    directory: str
    """For reports: where on the disk."""

    def start(self) -> None: ...

    def append(self, name: str, lines: bytes) -> None:
        """Append whole lines to the log file `name`; OSError where they are not on disk."""

    def reopen(self) -> None: ...

    def stop(self) -> Any:
        """Close; may return a Deferred."""


class ExchangeLog:
    """Writes each exchange to disk before its client sees the end: at the latest in `flush`.

    `models` and `keys` choose by name, None means all; a model called `none`
    is that of exchanges without one. `sample` is the part of the exchanges,
    0 to 1, chosen by their id.
    """

    synchronous = True
    needs_usage = True

    def __init__(
        self,
        store: LineStore,
        body_limit_bytes: int,
        *,
        bodies: bool = True,
        sample: float = 1.0,
        models: frozenset[str] | None = None,
        keys: frozenset[str] | None = None,
        secrets: Sequence[str] = (),
        log: Logger | None = None,
    ) -> None:
        self.needs_bodies = bodies
        self.body_limit_bytes = body_limit_bytes
        self._store = store
        self._waiting: dict[str, list[bytes]] = {}
        """Lines by the names of their files."""
        self._waiting_bytes = 0
        self._sample = sample
        self._models = models
        self._keys = keys
        self._takes_all = models is None and keys is None and sample >= 1.0
        self._secrets = tuple(sorted({each for each in secrets if len(each) >= 8}, key=len, reverse=True))
        self.failures = WriteFailures(log or logger("openai_proxy.observe.exchange_log"))

    def start(self) -> None:
        self._store.start()

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        if not (self._takes_all or self._chosen(exchange)):
            return
        line = exchange_line(exchange, self.body_limit_bytes, bodies=self.needs_bodies, secrets=self._secrets)
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
                self.failures.failed(self._store.directory, error, len(lines))
            else:
                self.failures.worked()

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
