"""The `log` observer: each exchange as a line of twistd's own log.

So that twistd's `--logfile`, `--syslog` and `--logger` see the exchanges.
Slower than `console` (about 20 µs a line).
"""

from __future__ import annotations

from twisted.logger import LogEvent, Logger

from .record import text_line


class TextLogObserver:
    """Emits the console's line through twisted.logger."""

    def __init__(self, log: Logger | None = None, *, with_address: bool = True) -> None:
        self._with_address = with_address
        self._log = log or Logger(namespace="openai_proxy.exchange")

    def __call__(self, event: LogEvent) -> None:
        self._log.info("{line}", line=text_line(event["exchange"], with_address=self._with_address))


class RefusalLogObserver(TextLogObserver):
    """Emits the lines of exchanges that the proxy answered with an error of its own.

    Stands in if no observer writes all of them to the log or to standard
    output: the `x-request-id` of such an error is always found there.
    """

    def __call__(self, event: LogEvent) -> None:
        if event["exchange"].error_code is not None:
            super().__call__(event)
