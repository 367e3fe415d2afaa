"""A response body without the compression that it came in.

For stages that must read a body whose upstream compresses although it was
asked not to. Imports nothing of ours but the vocabulary.
"""

from __future__ import annotations

import zlib
from typing import Any, cast

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from .core.body_headers import media_type_and_coding
from .core.headers import without
from .messages import ProxyResponse, ResponseBody

STEP_BYTES = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16
_WINDOW_BITS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}


def decoded(response: ProxyResponse) -> ProxyResponse:
    """Return the response without its content coding, the very same one where it has none that we know."""
    _, coding = media_type_and_coding(response.headers)
    window_bits = _WINDOW_BITS.get(coding)
    if window_bits is None:
        return response
    return response.evolve(
        headers=without(response.headers, b"content-encoding", b"content-length"),
        body=DecodedBody(response.body, window_bits),
    )


class DecodedBody(Protocol):
    """Delivers what zlib makes of a body, at most `STEP_BYTES` at a time.

    States: undelivered, delivered, ended (the target has been told). However
    much the data expands to, only one read of it is held while the target is
    paused. Broken data, and data that ends before its own end, end as a
    connection that was cut.
    """

    length = None
    """Not known before the end."""

    def __init__(self, body: ResponseBody, window_bits: int) -> None:
        self._body = body
        self._window_bits = window_bits
        self._decoder: Any = None
        self._waiting = b""
        self._reason: Failure | None = None
        self._target: IProtocol | None = None
        self._paused = False
        self._pushing = False

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the decoded body."""
        self._target = protocol
        self._body.deliverBody(cast(IProtocol, self))

    def discard(self) -> None:
        """Free the connection; idempotent."""
        self._target = None
        self._body.discard()

    # ---- the transport that deliverBody gives

    def pauseProducing(self) -> None:
        self._paused = True
        if self._reason is None:
            cast(Any, self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        self._push()
        if not self._paused and self._reason is None:
            cast(Any, self.transport).resumeProducing()

    def stopProducing(self) -> None:
        if self._reason is None:
            cast(Any, self.transport).stopProducing()

    loseConnection = abortConnection = stopProducing

    # ---- fed by the body

    def connectionMade(self) -> None:
        if self._target is not None:
            self._target.makeConnection(cast(Any, self))

    def dataReceived(self, data: bytes) -> None:
        if self._target is not None:
            self._waiting += data
            self._push()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._reason = reason
        self._push()

    def _push(self) -> None:
        """Give the target what it takes; it may pause or discard us while it does."""
        if self._pushing:
            return
        self._pushing = True
        try:
            while not self._paused and self._target is not None:
                piece = self._next_piece()
                if not piece:
                    break
                self._target.dataReceived(piece)
        except zlib.error:
            self._cut()
        finally:
            self._pushing = False
        if self._reason is not None and not self._paused and self._target is not None:
            self._end(self._reason)

    def _next_piece(self) -> bytes:
        """Return the next bytes that are certain, empty where more data is needed."""
        while True:
            decoder = self._decoder
            if decoder is None:
                self._waiting = self._waiting.lstrip(b"\0")  # padding behind the last member
                if not self._waiting:
                    return b""
                decoder = self._decoder = zlib.decompressobj(self._bits())
            piece = cast(bytes, decoder.decompress(self._waiting, STEP_BYTES))
            self._waiting = decoder.unconsumed_tail
            if decoder.eof:
                self._waiting = decoder.unused_data  # another member, as RFC 1952 §2.2 allows
                self._decoder = None
            if piece or not decoder.eof:
                return piece

    def _bits(self) -> int:
        if self._window_bits == zlib.MAX_WBITS and self._waiting[0] & 0x0F != 8:
            return -zlib.MAX_WBITS  # RFC 9110 §8.4.1.2: some send deflate without its zlib wrapper
        return self._window_bits

    def _cut(self) -> None:
        if self._reason is None:
            self._body.discard()
        self._end(Failure(ConnectionLost("broken content coding")))

    def _end(self, reason: Failure) -> None:
        target, self._target = self._target, None
        if isinstance(reason.value, ResponseDone) and self._decoder is not None:
            reason = Failure(ConnectionLost("a content coding without its end"))
        if target is not None:
            target.connectionLost(reason)
