"""The log of a daemon in the foreground: a time, a level if it matters, a message."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer

from ..observe.lines.record import iso_time

_WORDS = {
    LogLevel.debug: "debug",
    LogLevel.warn: "warning",
    LogLevel.error: "error",
    LogLevel.critical: "error",
}
_QUIET = (LogLevel.debug, LogLevel.info)
_OF_TWISTED = ("twisted.", "log_legacy")
"""Twisted's own events up to these levels (reactor class, factories, ports) are of no use to a user."""


@implementer(ILogObserver)
class PlainLog:
    """Writes events to a file as lines: `2026-11-30T07:35:27.963Z warning: ...`.

    `output` defaults to standard error at the time when this is made, because
    twistd's machinery replaces `sys.stderr` with the log. Events below the
    level `least` are left out.
    """

    def __init__(self, output: TextIO | None = None, least: Any = LogLevel.debug) -> None:
        self._output = output or sys.stderr
        self._least = least

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        if level in _QUIET and (event.get("log_namespace") or "").startswith(_OF_TWISTED):
            return
        if level is not None and level < self._least:
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if not text:
            return
        word = _WORDS.get(level)
        mark = f"{word}: " if word and not text.startswith(f"{word}: ") else ""
        try:
            self._output.write(f"{iso_time(event.get('log_time', 0.0))} {mark}{text}\n")
            self._output.flush()
        except OSError:  # the reader has closed it; the daemon continues
            pass
