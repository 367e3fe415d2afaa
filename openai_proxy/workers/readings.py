"""Let one worker read the answer of another worker's call as it comes, over a connection of their own.

The head comes first, pickled (both ends are this program), then the pieces of
the body, each with its length before it, then an empty piece and how the body
ended. A connection that ends before that means a truncated answer. A slow
reader slows the writer down: only the buffers of a socket and a transport are
between the two.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from struct import Struct
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ..exchange.bodies import BODY_DONE
from ..exchange.messages import ResponseBody
from ..exchange.upstream_errors import UpstreamTimeout
from ..policies.cache.other_calls import OtherCallResponse

_SIZE = Struct(">I")
_WHOLE, _LATE = b"w", b"t"
_BUFFER_BYTES = 64 * 1024
"""The approximate size of the kernel's buffer between the two."""


def reading_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection. Raise OSError if there are no descriptors left."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ends


class ReadingServer(Protocol):
    """The end at the worker that has the call; the Deferred from `find` fires with its answer, or with None.

    States: built, waiting for the head, writing, over. If the other end leaves,
    the reading is given up. `begun` and `ended` are each called once.
    """

    transport: Any

    def __init__(
        self,
        find: Callable[[], Deferred[OtherCallResponse | None]],
        begun: Callable[[ReadingServer], object],
        ended: Callable[[ReadingServer], object],
    ) -> None:
        self._find = find
        self._begun = begun
        self._ended = ended
        self._finding: Deferred[OtherCallResponse | None]
        self._body: ResponseBody | None = None

    def connectionMade(self) -> None:
        self._begun(self)
        self._finding = self._find()
        self._finding.addCallbacks(self._found, self._not_found)

    def _not_found(self, failure: Failure) -> None:
        """Close the connection: the other worker has left, or will make the call itself and get the error."""
        if not failure.check(CancelledError):
            self.transport.loseConnection()

    def _found(self, answer: OtherCallResponse | None) -> None:
        if answer is None:
            self.transport.loseConnection()
            return
        self._body = body = answer.body
        head = pickle.dumps(
            (answer.status, answer.reason, answer.headers, body.length), pickle.HIGHEST_PROTOCOL
        )
        self.transport.writeSequence((_SIZE.pack(len(head)), head))
        body.deliverBody(_Pieces(self.transport))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._finding.cancel()
        if self._body is not None:
            self._body.discard()
        self._ended(self)


class _Pieces(Protocol):
    """Writes the pieces of a body, as its protocol."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def makeConnection(self, transport: Any) -> None:
        self._connection.registerProducer(transport, True)

    def dataReceived(self, data: bytes) -> None:
        if data:
            self._connection.writeSequence((_SIZE.pack(len(data)), data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        connection = self._connection
        if reason.check(ResponseDone):
            connection.writeSequence((_SIZE.pack(0), _WHOLE))
        elif reason.check(UpstreamTimeout):
            connection.writeSequence((_SIZE.pack(0), _LATE))
        connection.unregisterProducer()
        connection.loseConnection()


@implementer(IPushProducer)
class Reading(Protocol):
    """The end at the worker that reads: once the head is there, the body of the answer (a ResponseBody).

    `found` fires with the answer, or with None if the other end leaves before
    its head; it may be cancelled. States: waiting for the head, undelivered,
    flowing, paused, over.
    """

    transport: Any
    whole = None
    """The body comes piece by piece."""

    def __init__(self) -> None:
        self.found: Deferred[OtherCallResponse | None] = Deferred(lambda _: self._give_up())
        self.length: int | None = None
        self._data = b""
        self._left = 0
        """The number of bytes of the piece that are still to come."""
        self._has_head = False
        self._protocol: IProtocol | None = None
        self._paused = True
        self._is_lost = False
        self._over = False

    # ---- as a protocol

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._data += data
        if not self._has_head:
            self._read_head()
        elif self._protocol is not None:
            self._read_pieces()

    def _read_head(self) -> None:
        head = self._take_head()
        if head is None:
            return
        self._has_head = True
        self.transport.pauseProducing()
        status, reason, headers, self.length = pickle.loads(head)  # noqa: S301  # from this program itself
        self.found.callback(OtherCallResponse(status, reason, headers, self))

    def _take_head(self) -> bytes | None:
        if len(self._data) < _SIZE.size:
            return None
        end = _SIZE.size + _SIZE.unpack_from(self._data)[0]
        if len(self._data) < end:
            return None
        head, self._data = self._data[_SIZE.size : end], self._data[end:]
        return head

    def _read_pieces(self) -> None:
        """Pass on the pieces that have come: at most one read, also while paused."""
        data, at = self._data, 0
        while at < len(data) and not self._over:
            if not self._left:
                if len(data) - at <= _SIZE.size:
                    break  # a size comes with at least one byte after it
                (self._left,) = _SIZE.unpack_from(data, at)
                at += _SIZE.size
                if not self._left:
                    self._end(BODY_DONE if data[at:] == _WHOLE else Failure(UpstreamTimeout()))
                    return
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            assert self._protocol is not None
            self._protocol.dataReceived(piece)
        self._data = data[at:]

    def _end(self, reason: Failure) -> None:
        self._over = True
        self.transport.loseConnection()
        assert self._protocol is not None
        self._protocol.connectionLost(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report that there is no such call, if there is no head; or that the answer was cut, if there is no end."""
        self._is_lost = True
        if self._over:
            return
        if not self._has_head:
            self._over = True
            self.found.callback(None)
        elif self._protocol is not None:
            self._end(_cut())

    def _give_up(self) -> None:
        if not self._over:
            self._over = True
            self._data = b""
            if self.transport is not None:
                self.transport.abortConnection()

    # ---- as a body, and as its transport

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the pieces that are there, then those that come."""
        self._protocol = protocol
        self._paused = False
        protocol.makeConnection(self)  # type: ignore[arg-type]  # what a body's protocol needs of a transport
        self._read_pieces()
        if self._is_lost and not self._over:
            self._end(_cut())
        elif not (self._paused or self._over):
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        if not (self._paused or self._over):
            self._paused = True
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if self._paused and not self._over and self._protocol is not None:
            self._paused = False
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.discard()

    def discard(self) -> None:
        """Read no more; idempotent."""
        self._give_up()


def _cut() -> Failure:
    return Failure(ConnectionLost("The worker that made the call has ended."))
