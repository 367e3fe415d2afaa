"""A client's bytes to requests, parsed by llhttp.

Sizes, framing, and what llhttp leaves open. Takes notes only: what follows
from them, and when, is the channel's affair.
"""

from __future__ import annotations

from typing import Any

import httptools
from attrs import evolve
from twisted.python.failure import Failure

from ..exchange.bodies import WholeBody
from ..exchange.errors import (
    HeadersTooLarge,
    InternalError,
    MalformedRequest,
    MethodNotAllowed,
    ProxyError,
    URITooLong,
)
from ..logs import logger
from ..wire.headers import RequestHead, scan_request
from ..wire.request_line import WHOLE_LINE, has_line
from ..wire.targets import API_METHODS
from .body import BodySource, IncomingBody
from .contract import DownstreamLimits, IncomingRequest
from .first_line import FirstLine

log = logger(__name__)

CHUNK_OVERHEAD_BYTES = 16384
"""Chunk extensions and trailers of one body may add this much in all."""

_END_OF_HEAD = b"\r\n\r\n"
"""llhttp takes no other: a bare line feed ends no line of a head."""
_NOTHING_YET = WholeBody(b"")


class _Refused(Exception):
    """Stops llhttp from inside a callback; the error stands in the reader."""


class RequestReader:
    """The requests of one connection, as far as they have been read.

    `queue` has those whose heads are whole, in order; `receiving` is the one
    whose body still arrives; `broken` says why nothing can be read any more.
    Bytes and end of the body of `active`, the request that is being
    answered, wait in `body_parts` and `body_ended`: given on from inside
    llhttp's callbacks they could end the request there. Those of requests
    after it go to their bodies, which nobody reads yet.

    llhttp is given a head, a body of known length, and the next head apart,
    so that the first line of every message is looked at before llhttp reads
    it. Only llhttp finds the end of a chunked body: of a message that follows
    one in the same read the first line is looked for afterwards.
    """

    __slots__ = (
        "_at_end",
        "_at_hand",
        "_body_left",
        "_chunks",
        "_first_line",
        "_in_trailers",
        "_limits",
        "_overhead_bytes",
        "_pairs",
        "_parser",
        "_pseudonym",
        "_replaying",
        "_source",
        "_tail",
        "_target",
        "_trailer_bytes",
        "_unsplit",
        "active",
        "behind_upgrade",
        "body_ended",
        "body_parts",
        "broken",
        "head_bytes",
        "inside_message",
        "queue",
        "receiving",
    )

    def __init__(self, source: BodySource, limits: DownstreamLimits, pseudonym: bytes) -> None:
        self.queue: list[
            IncomingRequest
        ] = []  # a deque takes 800 bytes, and a connection has one request at a time
        self.receiving: IncomingRequest | None = None
        self.active: IncomingRequest | None = None
        self.broken: ProxyError | None = None
        self.body_parts: list[bytes] = []
        self.body_ended = False
        self.inside_message = False
        self.behind_upgrade = b""
        """What followed a WebSocket's handshake; whoever takes it resets it."""
        self._source: Any = source
        self._limits = limits
        self._pseudonym = pseudonym
        self._parser: Any = None
        self._replaying = False
        self._first_line = FirstLine(limits)
        self._tail = b""
        """The last bytes of a head that llhttp was given: the empty line after it may be cut."""
        self._body_left = 0
        """Of a body whose length is known, while it arrives."""
        self._at_hand = 0
        """Bytes that have been read after the head that llhttp is reading."""
        self._unsplit: list[bytes] | None = None
        """Reads in which a message began after a chunked one; None if llhttp was given the messages apart."""
        self._reset_head()

    def _reset_head(self) -> None:
        self._pairs: list[tuple[bytes, bytes]] = []
        self._target = b""
        self.head_bytes = 0
        """Read of a head that is not whole yet."""
        self._in_trailers = False
        self._at_end = False
        self._overhead_bytes = 0
        """Read after the head of a chunked message, as far as it is surely of that message: with its body."""
        self._chunks = 0
        self._trailer_bytes = 0

    @property
    def has_begun(self) -> bool:
        """Whether part of a message has been read, and not all of it."""
        return self.inside_message or self.head_bytes > 0

    def close(self) -> None:
        """Forget what was read, and whose reader this is: no cycles for the collector."""
        self.queue.clear()
        self.receiving = self.active = None
        self._parser = self._source = None

    def rest(self) -> None:
        """Let go of the parser, of 1 KiB, if it stands between two messages: the answer may take long."""
        if self.receiving is None and not self.inside_message:
            self._parser = None

    def feed(self, data: bytes) -> None:
        """Read on. Not to be called again once `broken`.

        Of what one read has of several messages each is cut out by its
        place: a copy of all that follows for each would add up.
        """
        at = 0
        while at < len(data) and self.broken is None:
            if not self.inside_message:
                data, at = self._first_line.look(data, at)
                self.head_bytes = len(self._first_line.held)
                if at == len(data):
                    self.broken = self._first_line.error
                    return
            at = self._feed_parser(data, at, self._end_of_piece(data, at))

    def _end_of_piece(self, data: bytes, at: int) -> int:
        """Return where the head, or the body of known length, that is read at `at` ends in `data`."""
        if self.receiving is not None:
            if self.receiving.head.chunked:
                return len(data)
            return min(len(data), at + self._body_left)
        tail = self._tail  # only ever at the beginning of a read
        found = (tail + data).find(_END_OF_HEAD) if tail else data.find(_END_OF_HEAD, at)
        if found < 0:
            self._tail = (tail + data[at:])[-3:]
            return len(data)
        self._tail = b""
        return found + len(_END_OF_HEAD) - len(tail)

    def _feed_parser(self, read: bytes, at: int, end: int) -> int:
        """Let llhttp read `read` between two positions; returns where to read on."""
        data = read[at:end]
        receiving = self.receiving
        if receiving is None:
            self.head_bytes += len(data)
            if self._unsplit is not None:
                self._unsplit.append(data)
        else:
            self._overhead_bytes += len(data)
            if receiving.head.chunked:
                self._unsplit = [data]
        self._at_hand = len(read) - end
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            end = self._leave_http(read, at + upgrade.args[0])
        except _Refused:
            pass
        except httptools.HttpParserCallbackError as error:
            if self.broken is None:
                log.failure("defect in a parser callback", Failure(error.__context__ or error))
                self.broken = InternalError()
        except httptools.HttpParserError as error:
            if self.broken is None:
                self.broken = self._diagnose(error, data)
        else:
            if self.receiving is None and self.broken is None:
                self._check_head()
        if self.receiving is not None and self.receiving.head.chunked:
            self._look_beside_body(self.receiving)
        if self._unsplit is not None:
            if self.receiving is not None or not self.inside_message:
                self._unsplit = None
            elif receiving is not None:
                self._tail = data[-3:]
        return end

    def broken_request(self) -> IncomingRequest:
        """Return what is known of the request that broke: an error of ours answers it."""
        head = RequestHead([], None, None, keep_alive=False)
        body = IncomingBody(self._source, None, None)  # never complete: the connection will linger and close
        return IncomingRequest(b"-", self._target[:256] or b"-", True, [], head, body)

    def _diagnose(self, error: Exception, data: bytes) -> ProxyError:
        """Say what is wrong. After the last request of a connection nobody will hear it."""
        if self.receiving is None and self._head_is_too_large():
            return self._header_too_large()
        if isinstance(error, httptools.HttpParserInvalidMethodError) and self._unsplit is None:
            line = WHOLE_LINE.match(data)
            if line is not None:
                self._target = line[2]
                return MethodNotAllowed(API_METHODS)
        return MalformedRequest()

    def _check_head(self) -> None:
        """Refuse a head that is too large before it is whole."""
        if len(self._pairs) > self._limits.header_count:
            self.broken = self._too_many_lines()
        elif self._head_is_too_large():
            self.broken = self._header_too_large()

    def _too_many_lines(self) -> HeadersTooLarge:
        return HeadersTooLarge.above(self._limits.header_count, "lines", "limits.header_count")

    def _header_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge.above(self._limits.header_bytes, "bytes", "limits.header_bytes")

    def _head_is_too_large(self) -> bool:
        return self.head_bytes - len(self._target) - 32 > self._limits.header_bytes

    def _look_beside_body(self, receiving: IncomingRequest) -> None:
        """Check what came besides a chunked body; end the message if that was all of it."""
        whole = self.broken is not None  # if at its end: what is broken follows it
        if not whole:
            self._check_chunk_overhead(receiving)
        if self._at_end and (whole or self.broken is None):
            self._end_message(receiving)

    def _check_chunk_overhead(self, receiving: IncomingRequest) -> None:
        received = receiving.body.received + sum(map(len, self.body_parts))
        # A chunk's own line takes at most 20 bytes; the rest are extensions and trailers.
        if self._overhead_bytes - received > CHUNK_OVERHEAD_BYTES + 20 * self._chunks:
            self.broken = MalformedRequest("Too much in chunk extensions or trailers.")

    # ---- llhttp's callbacks

    def on_message_begin(self) -> None:
        self.inside_message = True
        if self._at_end and self.receiving is not None:
            self._end_message(self.receiving)

    def on_url(self, url: bytes) -> None:
        if self._replaying:
            return
        self._target += url
        if len(self._target) > self._limits.target_bytes:
            self.broken = URITooLong.above(self._limits.target_bytes)
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_trailers:
            self._drop_trailer(name, value)
            return
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        if self._replaying:
            self._replaying = False
            return
        pairs, limits = self._pairs, self._limits
        if len(pairs) > limits.header_count:
            self.broken = self._too_many_lines()
            raise _Refused
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self.broken = MalformedRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
            raise _Refused
        if self.head_bytes > limits.header_bytes and (
            sum([len(name) + len(value) + 4 for name, value in pairs]) > limits.header_bytes
        ):
            self.broken = self._header_too_large()
            raise _Refused
        method = self._parser.get_method()
        if self._unsplit is not None and not has_line(b"".join(self._unsplit), method, self._target):
            self.broken = MalformedRequest()
            raise _Refused
        http11 = version == "1.1"
        try:
            head = scan_request(pairs, http11, self._pseudonym)
        except ProxyError as error:
            self.broken = error
            raise _Refused from None
        incoming = IncomingRequest(method, self._target, http11, pairs, head, self._make_body(head))
        behind = self._read_behind(incoming) if head.chunked and self._unsplit is not None else 0
        self._body_left = head.content_length or 0
        self._reset_head()
        self._overhead_bytes = behind
        self._in_trailers = True
        self.receiving = incoming
        self.queue.append(incoming)

    def _make_body(self, head: RequestHead) -> IncomingBody | WholeBody:
        """Return the body that follows `head`: if all of it has been read already, an empty one, to be replaced."""
        if head.chunked:
            return IncomingBody(self._source, None, self._limits.body_bytes)
        length, limit = head.content_length or 0, self._limits.body_bytes
        arrived = self._unsplit is None and length <= self._at_hand and (limit is None or length <= limit)
        return _NOTHING_YET if arrived else IncomingBody(self._source, length, limit)

    def _read_behind(self, incoming: IncomingRequest) -> int:
        """Return how many bytes were read together with a head, after it; 0 if the read began with another message."""
        lines = sum([len(name) + len(value) + 4 for name, value in incoming.pairs])
        first = len(incoming.method) + len(incoming.target) + len("  HTTP/1.1\r\n")
        return max(0, self.head_bytes - first - lines - len("\r\n"))

    def _drop_trailer(self, name: bytes, value: bytes) -> None:
        """Request trailers go nowhere (RFC 9110 §6.5.1), but may not be without end."""
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > CHUNK_OVERHEAD_BYTES:
            self.broken = HeadersTooLarge("The request's trailer section is larger than this proxy accepts.")
            raise _Refused

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, data: bytes) -> None:
        receiving = self.receiving
        if receiving is None:
            return
        self._body_left -= len(data)
        if receiving is self.active:
            self.body_parts.append(data)
        elif isinstance(receiving.body, WholeBody):
            receiving.body = WholeBody(receiving.body.data + data)
        else:
            receiving.body.feed(data)

    def on_message_complete(self) -> None:
        self.inside_message = False
        receiving = self.receiving
        if receiving is None:
            return
        if self._parser.should_upgrade() and receiving.head.has_body:
            return  # llhttp skips the body of what it takes for an upgrade: `_leave_http` reads it
        if receiving.head.chunked:
            self._at_end = True  # `feed` looks first at what came besides the body
        else:
            self._end_message(receiving)

    def _end_message(self, receiving: IncomingRequest) -> None:
        self._at_end = False
        if receiving is self.active:
            self.body_ended = True
        elif isinstance(receiving.body, IncomingBody):
            receiving.body.end()
        self.receiving = None
        self._in_trailers = False

    # ---- after a head that asks for another protocol

    def _leave_http(self, read: bytes, at: int) -> int:
        """llhttp stopped at `at`, after a head that asks for an upgrade, or a CONNECT; return where to read on."""
        incoming = self.queue[-1] if self.queue else None
        if incoming is None:
            return len(read)
        if incoming.method == b"CONNECT":
            incoming.head = evolve(incoming.head, keep_alive=False)
            return len(read)
        if incoming.head.has_body:
            self._expect_body_after_upgrade(incoming)
        elif incoming.method == b"GET" and incoming.head.upgrade == b"websocket":
            self.behind_upgrade = read[at:]
            return len(read)
        return at

    def _expect_body_after_upgrade(self, incoming: IncomingRequest) -> None:
        """Read on as if Upgrade had not been sent: it may be ignored (RFC 9110 §7.8).

        Java's client sends `Upgrade: h2c` with every first request. A fresh
        parser gets the framing from a head of our own.
        """
        self._parser = httptools.HttpRequestParser(self)
        self._replaying = True
        self._overhead_bytes = 0  # what follows the head is fed once more
        framing = (
            b"Transfer-Encoding: chunked"
            if incoming.head.chunked
            else b"Content-Length: %d" % (incoming.head.content_length or 0)
        )
        closing = b"" if incoming.head.keep_alive else b"Connection: close\r\n"
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n" + closing + framing + b"\r\n\r\n")
