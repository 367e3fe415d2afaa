"""llhttp's verdict on a message that came in one read.

Without callbacks for the parts of a message it costs a tenth of parsing
with them. One per site, shared by all its connections: between two whole
messages the parser remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import httptools


class _Counts:
    """What llhttp calls back: counters that no line of Python stands behind."""

    def __init__(self) -> None:
        self.on_message_begin = count(1).__next__
        self.on_message_complete = count(1).__next__


class WholeMessages:
    """Says whether bytes are one valid message; `make_parser` is a class of httptools."""

    def __init__(self, make_parser: Callable[[Any], Any]) -> None:
        self._make_parser = make_parser
        self._renew()

    def _renew(self) -> None:
        counts = _Counts()
        self._begun, self._completed = counts.on_message_begin, counts.on_message_complete
        self._expected = 2
        self._feed = self._make_parser(counts).feed_data

    def is_one(self, data: bytes) -> bool:
        """Whether llhttp finds one message in `data`, whole, and nothing wrong or behind it."""
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._renew()
            return False
        # Asking a counter advances it: after one message each says one more than the message's own number.
        if self._begun() == self._completed() == self._expected:
            self._expected += 2
            return True
        self._renew()  # the old one may stand inside a message
        return False
