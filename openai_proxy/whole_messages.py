"""llhttp's verdict on a message that came in one read.

Without callbacks for the parts of a message it costs a tenth of parsing
with them. One per site or agent, shared by all its connections: between
two whole messages the parser remembers nothing. Imported by both edges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools


class WholeMessages:
    """Says whether bytes are one valid message; `make_parser` is a class of httptools."""

    def __init__(self, make_parser: Callable[[Any], Any]) -> None:
        self._make_parser = make_parser
        self._begun = 0
        self._completed = 0
        self._parser = make_parser(self)

    def on_message_begin(self) -> None:
        """Called by llhttp."""
        self._begun += 1

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        self._completed += 1

    def is_one(self, data: bytes) -> bool:
        """Whether llhttp finds one message in `data`, whole, and nothing wrong or behind it."""
        self._begun = self._completed = 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._completed = 0
        if self._completed == self._begun == 1:
            return True
        self._parser = self._make_parser(self)  # the old one may stand inside a message
        return False
