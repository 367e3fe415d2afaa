"""Transports that send at once what is written to them.

Twisted's own always wait for the next writable event: one more turn of the
reactor and two more epoll_ctl for every write. While a SocketGroup serves a
batch, what is written waits for the batch's end instead. What the kernel does
not take goes Twisted's way, and so does everything while something waits
there: order and back-pressure are Twisted's.
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
"""What is put off within a batch is sent before its end once it is more: only then can Twisted pause the producer."""


class PutOff:
    """What was written to one transport in this batch."""

    __slots__ = ("parts", "size_bytes")

    def __init__(self, data: bytes) -> None:
        self.parts = [data]
        self.size_bytes = len(data)


class EagerTransport(_Base):
    """States: with nothing put off, or in its group's `unsent` with the writes of this batch.

    Nothing is kept in the transport itself: one more attribute would more
    than double the size of its `__dict__`, for as long as it is open.
    """

    reactor: Any
    """The SocketGroup that serves it."""
    logstr = "openai-proxy"
    """In place of the text that Twisted makes for each one."""

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
        """Send what was put off, in order."""
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
            super().write(data)  # the reactor finds what is wrong
            return
        if sent != len(data):
            super().write(data[sent:])

    def put_off_bytes(self) -> int:
        """Return how many bytes are put off."""
        put_off = self.reactor.unsent.get(self)
        return 0 if put_off is None else put_off.size_bytes

    def _send_at_once(self) -> None:
        """Send what was put off, in the middle of a batch."""
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
    """A connection that was accepted."""

    repstr = "<a client's connection>"


class EagerClient(EagerTransport, tcp.Client):
    """A connection that was made; nobody connects it anew.

    Twisted's would hold on to its connector for as long as it is open, and
    so to everything that the attempt to connect was made of.
    """

    connector: Any


class _Connected:
    """In place of a connector whose work is done."""

    def connectionLost(self, reason: Failure) -> None:
        """The protocol is told by its transport."""


_CONNECTED = _Connected()


class EagerUnixServer(EagerTransport, unix.Server):
    """A connection that was accepted from a Unix socket."""

    repstr = "<a client's connection>"


# A burst makes dozens of them before the first is connected, and has the last of its attributes.
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
    """Make a transport of Twisted's, served by a SocketGroup, one of these; other kinds stay what they are."""
    kind = _EAGER.get(type(transport))
    if kind is not None:
        for name in ("logstr", "repstr"):
            transport.__dict__.pop(name, None)
        transport.__class__ = kind
        if isinstance(transport, EagerClient):
            transport.connector = _CONNECTED
