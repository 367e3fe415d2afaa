"""Transports that send written data at once.

Twisted's own always wait for the next writable event: one more turn of the
reactor and two more epoll_ctl for every write. While a SocketGroup serves a
batch, writes are deferred to the end of the batch instead. Data that the kernel
does not accept goes through Twisted's own buffer, and so does everything while
that buffer is not empty: order and back-pressure are Twisted's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.python.failure import Failure

from ..exchange.attribute_names import share_names

if TYPE_CHECKING:
    _Base = tcp.Connection
else:
    _Base = object

PUT_OFF_BYTES = 64 * 1024
"""Deferred data above this size are sent before the end of the batch: only then can Twisted pause the producer."""


class PutOff:
    """The data written to one transport in this batch."""

    __slots__ = ("parts", "size_bytes")

    def __init__(self, data: bytes) -> None:
        self.parts = [data]
        self.size_bytes = len(data)


class EagerTransport(_Base):
    """States: with nothing deferred, or in its group's `unsent` with the writes of this batch.

    The transport itself stores nothing: one more attribute would more than
    double the size of its `__dict__`, for as long as it is open.
    """

    reactor: Any
    """The SocketGroup that serves it."""
    logstr = "openai-proxy"
    """A constant instead of the text that Twisted makes for each one."""

    def write(self, data: bytes) -> None:
        group = self.reactor
        put_off = group.unsent.get(self)
        if put_off is not None:
            put_off.parts.append(data)
            put_off.size_bytes += len(data)
            if put_off.size_bytes > PUT_OFF_BYTES:
                self._send_at_once()
        elif group.serving:
            group.unsent[self] = PutOff(data)
        else:
            self._send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def send_put_off(self) -> None:
        """Send the deferred data, in order."""
        put_off = self.reactor.unsent.pop(self, None)
        if put_off is not None:
            parts = put_off.parts
            self._send(parts[0] if len(parts) == 1 else b"".join(parts))

    def _send(self, data: bytes) -> None:
        if self._aborting:
            return
        if self.dataBuffer or self._tempDataBuffer or self.disconnecting or not self.connected:
            super().write(data)
            return
        try:
            sent = self.socket.send(data)
        except OSError:
            super().write(data)  # the reactor will find the error
            return
        if sent != len(data):
            super().write(data[sent:])

    def put_off_bytes(self) -> int:
        """Return the number of deferred bytes."""
        put_off = self.reactor.unsent.get(self)
        return 0 if put_off is None else put_off.size_bytes

    def _send_at_once(self) -> None:
        """Send the deferred data in the middle of a batch."""
        if self in self.reactor.unsent:
            self.reactor.begin_sending()
            self.send_put_off()

    def loseConnection(self, *args: Any) -> None:
        self._send_at_once()
        super().loseConnection(*args)

    def loseWriteConnection(self) -> None:
        self._send_at_once()
        super().loseWriteConnection()


class EagerServer(EagerTransport, tcp.Server):
    """An accepted connection."""

    repstr = "<a client's connection>"


class EagerClient(EagerTransport, tcp.Client):
    """An outgoing connection, which is never reconnected.

    Twisted's would keep a reference to its connector for as long as it is open,
    and so to all objects of the connection attempt.
    """

    connector: Any


class _Connected:
    """Replaces a connector whose work is done."""

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: the transport notifies the protocol."""


_CONNECTED = _Connected()


class EagerUnixServer(EagerTransport, unix.Server):
    """An accepted connection of a Unix socket."""

    repstr = "<a client's connection>"


# A burst makes dozens of them before the first is connected and has all of its attributes.
share_names(
    tcp.Client,
    """connector addr _requiresResolution reactor _tempDataBuffer _tempDataLen socket fileno protocol doWrite doRead
    realAddress connected logstr producer streamingProducer""",
)


_EAGER: dict[type, type] = {
    tcp.Server: EagerServer,
    tcp.Client: EagerClient,
    unix.Server: EagerUnixServer,
}


def become_eager(transport: tcp.Connection) -> None:
    """Turn a transport of Twisted's that a SocketGroup serves into one of these; other kinds stay unchanged."""
    kind = _EAGER.get(type(transport))
    if kind is not None:
        for name in ("logstr", "repstr"):
            transport.__dict__.pop(name, None)
        transport.__class__ = kind
        if isinstance(transport, EagerClient):
            transport.connector = _CONNECTED
