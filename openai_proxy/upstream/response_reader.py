"""The upstream's bytes to the parts of an answer, parsed by llhttp.

Limits, interim answers, and what llhttp leaves open. Takes notes only: what
follows from them is the connection's affair.
"""

from __future__ import annotations

from typing import Any

import httptools

from ..exchange.upstream_errors import UpstreamError, UpstreamProtocolError
from ..wire.headers import has_controls, scan_response

HEAD_BYTES = 192 * 1024
"""All heads of one answer together, interim ones included."""
REASON_BYTES = 1024
"""Of a longer reason phrase, which may come byte by byte, nothing is made any more."""
HEADER_COUNT = 1000
INTERIM_RESPONSES = 32
CHUNK_OVERHEAD_BYTES = 16 * 1024
"""Limit for the trailers of one answer, and for chunk extensions without a byte of the body."""
CHUNK_LINE_BYTES = 20
"""The size of a chunk and its line ends take no more, and may come in a read of their own."""

_NO_LINES: list[tuple[bytes, bytes]] = []
"""Of a head that is forgotten. Never mutated: what is read next begins a list of its own."""
_BODY_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


def too_large() -> UpstreamProtocolError:
    return UpstreamProtocolError("The upstream's header section is too large.", kind="protocol")


def _too_much_beside_body() -> UpstreamProtocolError:
    return UpstreamProtocolError(
        "The upstream's trailers or chunk extensions are too large.", kind="protocol"
    )


class ResponseReader:
    """What has been read of one answer; `reset` before the next one.

    `parser` is fed by the connection, with one call less for each piece of a
    stream. `complete` says that no more of the body comes than `take_body`
    returns, `surplus`, once that was asked, that something followed which
    nobody asked for. `is_head` and `upgrade` say what was asked.
    """

    __slots__ = (
        "_interims",
        "_overhead_bytes",
        "_own_parts",
        "_parts",
        "_trailer_bytes",
        "bodiless",
        "complete",
        "error",
        "head_bytes",
        "head_done",
        "is_head",
        "keep_alive",
        "on_body",
        "pairs",
        "parser",
        "passing",
        "reason",
        "status",
        "surplus",
        "until_close",
        "upgrade",
    )

    def __init__(self) -> None:
        self.parser: Any = None
        self._parts: list[bytes] = []
        """Body bytes that nobody has taken yet, and perhaps what follows the answer; the parser puts them here."""
        self.on_body = self._parts.append  # llhttp's callback: one call less for each chunk
        self.is_head = self.upgrade = False
        self.reset()

    def reset(self) -> None:
        """Forget the answer that was read, and expect the next one."""
        self.status = 0
        self.reason = b""
        self.pairs: list[tuple[bytes, bytes]] = []
        self.passing: list[tuple[bytes, bytes]] = []
        """The lines of the head without the hop-by-hop ones, once it has been judged."""
        self._parts.clear()
        self._own_parts = 0
        """Of a complete answer: how many of the parts are its own."""
        self.head_bytes = 0
        """Read until the head was whole; 0 if nothing has been read."""
        self.head_done = self.complete = self.keep_alive = self.surplus = False
        self.bodiless = False
        """The answer ends with its head, whatever that says of a body."""
        self.until_close = False
        """The body ends with the connection."""
        self.error: UpstreamError | None = None
        self._interims = 0
        self._trailer_bytes = 0
        self._overhead_bytes = 0

    def forget_head(self) -> None:
        """Let go of the head's lines, which somebody else has now, because the body may take long."""
        self.pairs = self.passing = _NO_LINES

    def make_parser(self) -> Any:
        self.parser = httptools.HttpResponseParser(self)
        # Some servers pad the size of a chunk with spaces (RFC 9112 §7.1.1, BWS); the body is framed anew for clients.
        self.parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        return self.parser

    def take_body(self) -> bytes:
        """Return what has come of the body and was not taken yet; often nothing."""
        parts = self._parts
        if self.complete and len(parts) > self._own_parts:
            self.surplus = True
            del parts[self._own_parts :]
        if len(parts) < 2:
            return parts.pop() if parts else b""
        body = b"".join(parts)
        parts.clear()
        return body

    def end(self) -> bool:
        """End the answer; return whether the connection may bring another one."""
        if self.bodiless:
            self.parser = None  # it may wait for a body
        return self.keep_alive and not self.surplus

    def judge_head(self) -> int | None:
        """Check what llhttp leaves open, and find what passes; return the body's length if the head announces one.

        Raises UpstreamProtocolError.
        """
        head = scan_response(self.pairs)
        if has_controls(self.reason):
            raise UpstreamProtocolError(kind="protocol")
        length = head.content_length
        if self.bodiless:
            length = 0
            self.keep_alive = self.keep_alive and not head.closing
        self.until_close = length is None and not head.chunked
        self.passing = self.pairs if self.status == 101 else head.forward
        return length

    def note_bodiless_read(self, size: int) -> None:
        """Note a read of `size` bytes inside a body that had none of the body: chunk extensions, trailers, a chunk's line."""
        self._overhead_bytes += max(0, size - CHUNK_LINE_BYTES)
        if self._overhead_bytes > CHUNK_OVERHEAD_BYTES:
            self.error = _too_much_beside_body()

    # ---- llhttp's callbacks

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True
        else:
            self.pairs = []
            self.reason = b""

    def on_status(self, reason: bytes) -> None:
        if not self.complete:  # else it is a surplus response's
            self.reason += reason
            if len(self.reason) > REASON_BYTES:
                self.error = too_large()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            self._drop_trailer(name, value)
            return
        self.pairs.append((name, value))

    def _drop_trailer(self, name: bytes, value: bytes) -> None:
        """Trailers go nowhere (RFC 9110 §6.5.1); nor does the head of a surplus response."""
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > CHUNK_OVERHEAD_BYTES and not self.complete:
            self.error = _too_much_beside_body()
            raise self.error

    def on_headers_complete(self) -> None:
        if self.complete or self.error is not None:
            return
        if len(self.pairs) > HEADER_COUNT:
            self.error = too_large()
            return
        status = self.parser.get_status_code()
        if status < 200:
            self._interims += 1
            if any(name.lower() in _BODY_FRAMING for name, _ in self.pairs):
                # Who reads that body as one, and who reads it as the next answer? (RFC 9110 §8.6, RFC 9112 §6.1)
                self.error = UpstreamProtocolError(
                    "The upstream sent an interim answer with a body.", kind="protocol"
                )
                raise self.error
            if self._interims > INTERIM_RESPONSES or status < 100 or (status == 101 and not self.upgrade):
                self.error = UpstreamProtocolError(
                    "The upstream sent interim answers nobody asked for.", kind="protocol"
                )
            return
        version = self.parser.get_http_version()
        if version != "1.1" and version != "1.0":
            self.error = UpstreamProtocolError(kind="protocol")
            return
        self.status = status
        self.head_done = True
        self.bodiless = self.is_head or status in (204, 304)
        if self.bodiless:
            # llhttp would wait for a HEAD's body: what it thinks of keep-alive does not count.
            self.keep_alive = version == "1.1"
            self.complete = True

    def on_message_complete(self) -> None:
        if not self.head_done:
            return  # an interim answer
        if not self.complete:
            self.keep_alive = self.parser.should_keep_alive()
            self.complete = True
            self._own_parts = len(self._parts)
