"""TLS as a transport: the standard library's `ssl` over memory, above any stream transport.

`TLSTransport` is the protocol of the transport that has the socket, and the
transport of the protocol that speaks through it. The trust of a connection, and
the certificate that it shows, are in its `Side`: `client_tls` and `server_tls`
make them. Used by both edges and the client of Redis.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHandshakeListener,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from .tls_side import Side

RECORD_BYTES = 16384
"""A record holds at most this much (RFC 8446 §5.1): a read of this size returns all data of one record."""
PIECE_BYTES = RECORD_BYTES
"""Longer data are passed to OpenSSL in pieces, because a memory BIO never shrinks."""


class _State(Enum):
    HANDSHAKE = auto()
    OPEN = auto()
    HALF_CLOSED = auto()
    ENDED = auto()


@implementer(ISSLTransport, IPushProducer)
class TLSTransport(TwistedProtocol):
    """One TLS connection, of a client or of a server.

    States:

    - handshake: written data wait. Ends in open, or in ended if it fails
      or the peer is refused.
    - open: both sides may send.
    - half-closed: our close_notify is sent (`loseWriteConnection`). What the
      peer sends is still delivered, written data are dropped.
    - ended: no data are delivered or sent any more. The peer's close_notify
      came, TLS failed, or `loseConnection` or `abortConnection` was called.
      The protocol is notified when the transport below is lost.

    The protocol's end is a ConnectionDone if the peer said close_notify or we
    closed, the ssl.SSLError if TLS failed, and otherwise a ConnectionLost, even
    if TCP ended properly: the data may have been truncated (RFC 8446 §6.1).

    While it is paused nothing is delivered, and the transport below does not
    read. Data that it had already read stay encrypted, and are delivered in a
    later turn after `resumeProducing`, before more is read. The records of one
    read are delivered together.
    """

    transport: Any
    """The transport below."""

    def __init__(self, protocol: Any, side: Side, call_later: Callable[..., Any]) -> None:
        self.protocol = protocol
        """The protocol that uses this transport."""
        self._side = side
        self._call_later = call_later
        self._state = _State.HANDSHAKE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = side.begin(self._incoming, self._outgoing)
        self._waiting: list[bytes] = []
        """Data written before the handshake was complete."""
        self._closes = False
        """`loseConnection` was called while something waits for the handshake."""
        self._is_paused = False
        self._has_arrived = False
        self._end: Failure | None = None
        """Why the reading side ended; reported once everything before the end is delivered."""
        self._has_producer = False

    # ---- the transport below

    def connectionMade(self) -> None:
        self.protocol.makeConnection(self)
        if self._state is _State.HANDSHAKE:
            self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        if self._state is not _State.HANDSHAKE and not self._is_paused and len(data) > PIECE_BYTES:
            self._deliver(data)
            return
        self._incoming.write(data)
        if self._state is _State.HANDSHAKE:
            self._shake_hands()
        if not self._is_paused:
            self._deliver()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        if self._incoming.pending:  # these data came before the end
            self._is_paused = False
            self._deliver()
        if self._end is not None:
            reason = self._end
        elif self._state is not _State.ENDED and reason.check(ConnectionDone):
            reason = Failure(ConnectionLost())
        self._state = _State.ENDED
        protocol, self.protocol = self.protocol, None  # it refers to this object: avoid a cycle
        protocol.connectionLost(reason)

    # ---- the handshake

    def _shake_hands(self) -> None:
        try:
            self._side.shake_hands(self._tls)
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._side.failed(self._tls, error)
            self._fail(error)
            return
        try:
            self._side.check(self._tls)
        except ssl.SSLError as error:
            self._outgoing.read()  # drop the last flight, which may contain the client certificate
            self._fail(error)
            return
        self._state = _State.OPEN
        self._flush()
        if isinstance(self.transport, tcp.Connection):
            self.transport.protocol = self  # skip an endpoint's wrapper, which only passes data on
        waiting, self._waiting = self._waiting, []
        self.write(b"".join(waiting))
        if self._closes:
            self.loseConnection()
        elif self._state is _State.OPEN and IHandshakeListener.providedBy(self.protocol):
            self.protocol.handshakeCompleted()

    # ---- reading

    def _deliver(self, encrypted: bytes = b"") -> None:
        """Deliver the data of whole records, and then the end if it has come; `encrypted` comes after the held data."""
        if self._state is _State.OPEN or self._state is _State.HALF_CLOSED:
            data = self._read_long(encrypted) if encrypted else self._read()
            if self._outgoing.pending:
                self._flush()  # the answer to a key update
            if data:
                if not self._has_arrived:
                    self._has_arrived = True
                    self._side.arrived(self._tls)
                    self._free_write_buffer()
                self.protocol.dataReceived(data)
            if self._end is not None and not self._is_paused:
                self._finish()

    def _read(self) -> bytes:
        """Return the decrypted data of everything that has come; an end or an error after it is noted in `_end`."""
        read, incoming = self._tls.read, self._incoming
        parts: list[bytes] = []
        try:
            while True:
                data = read(RECORD_BYTES)
                if not data:
                    self._end = Failure(ConnectionDone())
                    break
                if not incoming.pending:
                    if not parts:
                        return data  # nearly always
                    parts.append(data)
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            pass  # a part of a record, or one without data
        except ssl.SSLZeroReturnError:
            self._end = Failure(ConnectionDone())
        except ssl.SSLError as error:
            self._end = Failure(error)
        return b"".join(parts)

    def _read_long(self, encrypted: bytes) -> bytes:
        """Return the same as `_read` if all of `encrypted` had been written into `_incoming`."""
        view = memoryview(encrypted)
        parts: list[bytes] = []
        for at in range(0, len(encrypted), PIECE_BYTES):
            self._incoming.write(view[at : at + PIECE_BYTES])
            if self._end is None:
                parts.append(self._read())
        return b"".join(parts)

    def _free_write_buffer(self) -> None:
        """Make OpenSSL free the 16 KiB that it allocates when session tickets come, and keeps until a write.

        A stream may be silent for a long time after its first bytes. Nothing is sent.
        """
        if self._state is _State.OPEN:
            with suppress(ssl.SSLError):
                self._tls.write(b"")

    def pauseProducing(self) -> None:
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if not self._is_paused:
            return
        self._is_paused = False
        if self._end is not None or self._incoming.pending:
            # In a later turn: the caller of `resumeProducing` does not expect data before it returns.
            self._call_later(0, self._deliver_held)
        else:
            self.transport.resumeProducing()

    def _deliver_held(self) -> None:
        """Deliver the data that came during the pause, then read on."""
        if self._is_paused or self._state is _State.ENDED:
            return
        if self._end is not None:
            self._finish()
            return
        self._deliver()
        if not self._is_paused and not self.disconnecting:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    # ---- writing

    def write(self, data: bytes) -> None:
        if self._state is not _State.OPEN or not data:
            if self._state is _State.HANDSHAKE:
                self._waiting.append(data)
            return
        if len(data) > PIECE_BYTES:
            self._write_long(data)
            return
        try:
            self._tls.write(data)  # all of it: a memory BIO accepts any number of records
        except ssl.SSLError as error:
            self._fail(error)
            return
        self.transport.write(self._outgoing.read())

    def _write_long(self, data: bytes) -> None:
        view = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            try:
                self._tls.write(view[at : at + PIECE_BYTES])
            except ssl.SSLError as error:
                self._fail(error)
                return
            self.transport.write(self._outgoing.read())
            if self._state is not _State.OPEN:
                return  # a failed write may end it

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume `producer` with the buffer below, because written data are encrypted at once."""
        if self._state is _State.ENDED:
            producer.stopProducing()
            return
        self._has_producer = True
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._has_producer:
            self._has_producer = False
            self.transport.unregisterProducer()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    # ---- the end

    def _finish(self) -> None:
        """Answer the peer's close_notify, and close."""
        if self._end is not None and self._end.check(ConnectionDone):
            self._say_goodbye()
        self._close()

    def _fail(self, error: ssl.SSLError) -> None:
        """End a failed TLS connection: send the alert, and close. The protocol receives `error`."""
        self._end = Failure(error)
        self._close()

    def loseConnection(self) -> None:
        """Send the written data and a close_notify, then close without waiting for the peer's (RFC 8446 §6.1)."""
        if self._state is _State.HANDSHAKE and self._waiting:
            self._closes = True
        elif self._state is _State.HANDSHAKE:
            self.abortConnection()
        elif self._state is not _State.ENDED:
            self._say_goodbye()
            self._close()

    def loseWriteConnection(self) -> None:
        """End the sending side, and read on; does nothing before the handshake is complete."""
        if self._state is _State.OPEN:
            self._say_goodbye()
            self._state = _State.HALF_CLOSED

    def abortConnection(self) -> None:
        """Cut the connection without a close_notify, which would mean that the data before it are complete."""
        self._state = _State.ENDED
        self._waiting.clear()
        self.transport.abortConnection()

    def _say_goodbye(self) -> None:
        """Send close_notify, once."""
        if self._state is _State.OPEN:
            held = self._incoming.read()  # otherwise it would search the undelivered data for the peer's
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # the peer's close_notify has not come yet
            if held:
                self._incoming.write(held)
            self._flush()

    def _close(self) -> None:
        """Close once all sent data have been written."""
        self._state = _State.ENDED
        self._flush()
        self.unregisterProducer()  # a paused one would keep the connection open
        self.transport.loseConnection()

    @property
    def disconnecting(self) -> bool:
        return self._state is _State.ENDED

    # ---- facts about the connection

    def getPeer(self) -> Any:
        return self.transport.getPeer()

    def getHost(self) -> Any:
        return self.transport.getHost()

    def getPeerCertificate(self) -> bytes | None:
        """Return the peer's certificate as DER, None if it showed none."""
        return self._tls.getpeercert(True)

    def getTcpNoDelay(self) -> bool:
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.transport.setTcpKeepAlive(enabled)
