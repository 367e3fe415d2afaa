"""Errors that a stream reports after it has begun to answer with a 200. Pure.

A server that dies half-way can say so only there: `{"error": …}` of
gateways, `error` and `response.failed` of the Responses API.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...wire.codings import maybe_decoder
from ...wire.decoders import CodingError, Decoder
from ...wire.first_events import UNNAMED, error_of_event, is_named_error, maybe_error_line, shown_code
from ...wire.sse import SSEBlock, SSEDecoder

EVENT_LIMIT_BYTES = 64 * 1024
"""A longer event is judged by its beginning."""
_DECODE_LIMIT_BYTES = 64 * 1024 * 1024
"""The most of a compressed stream that is looked at."""
_STEP_BYTES = 64 * 1024
_UNREAD_BYTES = 24 * 1024
_NO_FAILURES = frozenset(("chat/completions", "completions"))
"""Their streams have no `response.failed` or `thread.run.failed`."""
_failed = re.compile(rb'"type"[ \t]{0,20}:[ \t]{0,20}"(?:error|response\.failed)"')
_code = re.compile(
    rb'"error"[ \t]{0,20}:[ \t]{0,20}\{[ \t]{0,20}"code"[ \t]{0,20}:[ \t]{0,20}"([^"\\]{1,64})"'
)


class LaterErrors:
    """Look for an error in the events of a stream as it comes, in any content coding that is known.

    `error` is the code of the first one, None while there is none. Bytes are
    searched late, in pieces of up to 24 KiB: `catch_up` before asking. Events
    that do not have the words are not taken apart. Holds at most
    EVENT_LIMIT_BYTES of an event that is not whole. O(n).
    """

    __slots__ = (
        "_decoder",
        "_events",
        "_left",
        "_may_fail",
        "_plain",
        "_report",
        "_unread",
        "_unread_bytes",
        "error",
    )

    def __init__(self, coding: bytes = b"", endpoint: str = "") -> None:
        self._may_fail = endpoint not in _NO_FAILURES
        self.error: str | None = None
        self._report: Callable[[str], object] | None = None
        self._events = SSEDecoder(EVENT_LIMIT_BYTES)
        self._decoder: Decoder | None = maybe_decoder(coding) if coding else None
        self._left = _DECODE_LIMIT_BYTES if self._decoder is not None else 0
        self._plain = not coding
        self._unread: list[bytes] = []
        self._unread_bytes = 0

    def report_to(self, report: Callable[[str], object]) -> None:
        """Have `report` called with the first error, at once if it is known."""
        self._report = report
        if self.error is not None:
            report(self.error)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes as they came, and return them."""
        if self._plain:
            self._unread.append(data)
            self._unread_bytes += len(data)
            if self._unread_bytes > _UNREAD_BYTES:
                self.catch_up()
        elif self._decoder is not None and self._left > 0:
            self._read_inside(self._decoder, data)
        return data

    def catch_up(self) -> None:
        """Search what has passed so far."""
        unread, self._unread = self._unread, []
        self._unread_bytes = 0
        if unread:
            self._read(b"".join(unread))

    def finish(self) -> None:
        """The stream is over; some servers forget the last blank line."""
        self.catch_up()
        self._judge(self._events.finish())

    def _read_inside(self, decoder: Decoder, data: bytes) -> None:
        decoder.put(data)
        try:
            while self._left > 0 and (piece := decoder.next_piece(_STEP_BYTES)):
                self._left -= len(piece)
                self._read(piece)
        except CodingError:
            self._left = 0

    def _read(self, data: bytes) -> None:
        if b"\r" not in data and not self._may_tell(data):  # nearly always
            if not self._events.at_boundary:
                end = data.find(b"\n\n") + 2
                if end < 2:
                    self._judge(self._events.feed(data))
                    return
                self._judge(self._events.feed(data[:end]))
                data = data[end:]
            if self._events.at_boundary:
                whole = data.rfind(b"\n\n")
                data = data if whole < 0 else data[whole + 2 :]
        if data:
            self._judge(self._events.feed(data))

    def _judge(self, blocks: list[SSEBlock]) -> None:
        for block in blocks:
            if self.error is None and self._may_tell(block.raw):
                self.error = _error_of(block)
                if self.error is not None and self._report is not None:
                    self._report(self.error)

    def _may_tell(self, data: bytes) -> bool:
        # CPython searches backwards at twice the speed of `in`, where a word is not found.
        return data.rfind(b"error") >= 0 or (self._may_fail and data.rfind(b"failed") >= 0)


def _error_of(block: SSEBlock) -> str | None:
    if block.data is not None or maybe_error_line(block) is not None:
        return error_of_event(block)
    # a comment, or a part of an event that is too long
    if block.raw.startswith(b":") or not (is_named_error(block.raw) or _failed.search(block.raw)):
        return None
    code = _code.search(block.raw)
    return UNNAMED if code is None else shown_code(code[1].decode("latin-1"))
