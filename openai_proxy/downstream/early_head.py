"""The beginning of a stream that the upstream has not begun yet: a head of our own, and comments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire.body_headers import EVENT_STREAM
from ..wire.render import connection_line, header_lines, response_head
from .comments import CHUNK
from .contract import StreamedRequest


class EarlyHead:
    """Answers a request for a stream with 200 once the upstream was silent for `every_s` seconds, then with comments.

    States: waiting (`is_sent` is False), begun (it is True), and over, once
    `end` was called: when the upstream has answered, the exchange has ended,
    or the client has left. `call_later` returns something with `cancel`.
    """

    def __init__(
        self,
        request: StreamedRequest,
        every_s: float,
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self.is_sent = False
        self._request: StreamedRequest | None = request
        self._every_s = every_s
        self._call_later = call_later
        self._timer: Any = call_later(every_s, self._go_on)

    def _go_on(self) -> None:
        request = self._request
        if request is None:
            return
        if request.exchange.streaming and request.http11 and request.method == b"POST":
            channel = request.channel
            if not self.is_sent:
                self.is_sent = True
                channel.write(self._begin(request))
            if not channel.write_blocked:
                channel.write(CHUNK)
        self._timer = self._call_later(self._every_s, self._go_on)

    def _begin(self, request: StreamedRequest) -> bytes:
        exchange = request.exchange
        request.started_writing = True
        exchange.status = 200
        exchange.first_byte_at = request.channel.clock()
        name = exchange.id.encode("ascii")
        lines = [(b"Content-Type", EVENT_STREAM), (b"x-request-id", name), *(request.readable or ())]
        framing = b"Transfer-Encoding: chunked\r\n" + connection_line(request.http11, request.keep_alive)
        return response_head(200, b"OK", header_lines(lines) + framing)

    def end(self) -> None:
        """Write nothing more; idempotent."""
        if self._request is not None:
            self._request = None
            self._timer.cancel()


def error_chunk(error: bytes) -> bytes:
    """Return an error, as JSON in one line, as an event of a chunked stream."""
    event = b"data: %b\n\n" % error
    return b"%x\r\n%b\r\n" % (len(event), event)
