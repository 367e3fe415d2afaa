"""Errors that are the whole answer, as a JSON document after a 200. Pure.

A gateway that has sent its head while its server was still at work can report
an error in no other way (OpenRouter).
"""

from __future__ import annotations

from ...exchange.record import Exchange
from ...wire.first_events import error_of_document

ERROR_BYTES = 16 * 1024
"""A longer answer is no error."""


class WatchDocumentError:
    """A body filter that lets everything pass, and notes on the exchange if the document was an error.

    Holds at most ERROR_BYTES.
    """

    transparent = True

    __slots__ = ("_exchange", "_held", "_held_bytes")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> bytes:
        self._held_bytes += len(data)
        if self._held_bytes <= ERROR_BYTES:
            self._held.append(data)
        else:
            self._held.clear()
        return data

    def finish(self) -> bytes:
        code = error_of_document(b"".join(self._held))
        if code is not None:
            self._exchange.note_error(code)
        return b""
