"""A response body without the compression that it came in.

For stages that must read a body that the upstream compressed although it was
asked not to. Imports only the vocabulary of `exchange` and the decoders.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from ...exchange.messages import ProxyResponse, ResponseBody
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoder
from ...wire.decoders import CodingError, Decoder
from ...wire.headers import without

STEP_BYTES = 64 * 1024


def decoded(response: ProxyResponse) -> ProxyResponse:
    """Return the response without its content coding; the same object if it has none that can be decoded."""
    _, coding = media_type_and_coding(response.headers)
    decoder = maybe_decoder(coding) if coding else None
    if decoder is None:
        return response
    return response.evolve(
        headers=without(response.headers, b"content-encoding", b"content-length"),
        body=DecodedBody(response.body, decoder),
    )


class DecodedBody(Protocol):
    """Delivers what a body holds, about `STEP_BYTES` at a time.

    States: undelivered, delivered, ended (the target's `connectionLost` was
    called). However much the data expands to, only one read of it is held while
    the target is paused. Broken data, and data that stops before the coding's
    own end, end like a connection that was cut.
    """

    length = whole = None
    """Unknown before the end."""

    def __init__(self, body: ResponseBody, decoder: Decoder) -> None:
        self._body = body
        self._decoder = decoder
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
            self._decoder.put(data)
            self._push()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._reason = reason
        self._push()

    def _push(self) -> None:
        """Deliver as much as the target takes; it may pause or discard this body meanwhile."""
        if self._pushing:
            return
        self._pushing = True
        try:
            while not self._paused and self._target is not None:
                piece = self._decoder.next_piece(STEP_BYTES)
                if not piece:
                    break
                self._target.dataReceived(piece)
        except CodingError:
            self._cut()
        finally:
            self._pushing = False
        if self._reason is not None and not self._paused and self._target is not None:
            self._end(self._reason)

    def _cut(self) -> None:
        if self._reason is None:
            self._body.discard()
        self._end(Failure(ConnectionLost("broken content coding")))

    def _end(self, reason: Failure) -> None:
        target, self._target = self._target, None
        if isinstance(reason.value, ResponseDone) and not self._decoder.whole:
            reason = Failure(ConnectionLost("a content coding without its end"))
        if target is not None:
            target.connectionLost(reason)
