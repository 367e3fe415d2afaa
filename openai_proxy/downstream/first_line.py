"""The first line of each message, looked at before llhttp reads it. Pure.

Bytes are kept here until the line is whole: only one spelling of it passes
(`wire.request_line`).
"""

from __future__ import annotations

import re

from ..exchange.errors import MalformedRequest, ProxyError
from ..wire.request_line import WHOLE_LINE, judge_start
from .contract import DownstreamLimits

_EMPTY_LINES = re.compile(rb"[\r\n]+")


class FirstLine:
    """What has arrived of a message before its first line is whole.

    `held` is what llhttp has not seen; `error` says why no request can begin
    with it. After an error nothing is looked at any more.
    """

    __slots__ = ("_blank_bytes", "_limits", "error", "held")

    def __init__(self, limits: DownstreamLimits) -> None:
        self._limits = limits
        self.held = b""
        self.error: ProxyError | None = None
        self._blank_bytes = 0
        """Read of empty lines before this message."""

    def look(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Return what llhttp may read, and from which position, if a message begins at `at` of `data`.

        That is the end of `data` while the line is not whole, or is wrong.
        """
        if not self.held:
            at = self._skip_empty_lines(data, at)
            if WHOLE_LINE.match(data, at):
                self._blank_bytes = 0
                return data, at
        start = self.held + data[at:]
        if WHOLE_LINE.match(start):
            self.held = b""
            self._blank_bytes = 0
            return start, 0
        if start and self.error is None:
            self.error = judge_start(start, self._limits.target_bytes)
        self.held = start
        return data, len(data)

    def _skip_empty_lines(self, data: bytes, at: int) -> int:
        """Return where the empty lines before a message end (RFC 9112 §2.2)."""
        found = _EMPTY_LINES.match(data, at)
        if found is None:
            return at
        self._blank_bytes += found.end() - at
        if self._blank_bytes > self._limits.header_bytes:
            self.error = MalformedRequest("Nothing but empty lines.")
            return len(data)
        return found.end()
