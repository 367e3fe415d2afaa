"""Send a worker's log to the supervisor, line by line.

`LogSender` is the worker's log observer; `write` is the supervisor's function
for each line. So --logfile, --syslog, --logger and rotation concern only one
process.
"""

from __future__ import annotations

import time
from collections import deque
from threading import get_ident
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from .link import Link
from .messages import LOG, LogLine

MAX_WAITING = 10_000
"""The number of lines kept while the supervisor does not read; further ones are counted and dropped."""


@implementer(ILogObserver, IPushProducer)
class LogSender:
    """Sends events as lines; buffers some while the link is full, and drops lines rather than grow.

    It is also the link's producer, because that is how a transport says that it
    is full. The link's own log events re-enter it: those are not sent. Made on
    the reactor's thread, called on any.
    """

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._reactor = reactor
        self._thread = get_ident()
        self._waiting: deque[LogLine] = deque()
        self._full = False
        self._sending = False
        self._dropped = 0

    def __call__(self, event: LogEvent) -> None:
        line = LogLine(
            event.get("log_time", 0.0),
            getattr(event.get("log_level"), "name", "info"),
            event.get("log_namespace") or "-",
            eventAsText(event, includeTimestamp=False, includeSystem=False),
        )
        if not line.text:
            return
        if get_ident() == self._thread:
            self._take(line)
        else:
            self._reactor.callFromThread(self._take, line)

    def _take(self, line: LogLine) -> None:
        if self._sending:
            return
        if not self._full:
            self._send(line)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(line)
        else:
            self._dropped += 1

    def _send(self, line: LogLine) -> None:
        self._sending = True
        try:
            self._link.send(LOG, line)
        finally:
            self._sending = False

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        while self._waiting and not self._full:
            self._send(self._waiting.popleft())
        if self._dropped and not self._full:
            last = LogLine(time.time(), "warn", __name__, f"{self._dropped} lines of the log were lost")
            self._dropped = 0
            self._send(last)

    def stopProducing(self) -> None:
        self._full = True

    def finish(self) -> None:
        """Send all buffered lines, however full the link is: it is about to close, and closing waits for sent data."""
        self._full = False
        self.resumeProducing()


def write(line: LogLine, number: int) -> None:
    """Log a line of worker `number` as if it were the supervisor's own."""
    event: LogEvent = {
        "log_level": LogLevel.levelWithName(line.level),
        "log_namespace": line.namespace,
        "log_system": f"{line.namespace}#{line.level}, worker {number}",
        "log_format": "{text}",
        "text": line.text,
    }
    if line.time:
        event["log_time"] = line.time
    globalLogPublisher(event)
