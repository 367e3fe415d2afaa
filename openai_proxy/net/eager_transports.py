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

if TYPE_CHECKING:
    _Base = tcp.Connection
else:
    _Base = object

PUT_OFF_BYTES = 64 * 1024
"""What is put off within a batch is sent before its end once it is more: only then can Twisted pause the producer."""


class EagerTransport(_Base):
    """States: with nothing put off, or in its group's list with the writes of this batch (`_put_off`)."""

    reactor: Any
    """The SocketGroup that serves it."""
    _put_off: list[bytes] | None = None
    _put_off_size = 0

    def write(self, data: bytes) -> None:
        if self._put_off is not None:
            self._put_off.append(data)
            self._put_off_size += len(data)
            if self._put_off_size > PUT_OFF_BYTES:
                self._send_at_once()
            return
        self._put_off = [data]
        self._put_off_size = len(data)
        group = self.reactor
        if group.serving:
            group.unsent.append(self)
        else:
            self.send_put_off()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def send_put_off(self) -> None:
        """Send what was put off, in order."""
        waiting, self._put_off = self._put_off, None
        if waiting is None or self._aborting:
            return
        data = waiting[0] if len(waiting) == 1 else b"".join(waiting)
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
        return sum(map(len, self._put_off or ()))

    def _send_at_once(self) -> None:
        """Send what was put off, in the middle of a batch."""
        if self._put_off is not None:
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


class EagerClient(EagerTransport, tcp.Client):
    """A connection that was made."""


class EagerUnixServer(EagerTransport, unix.Server):
    """A connection that was accepted from a Unix socket."""


_EAGER: dict[type, type] = {
    tcp.Server: EagerServer,
    tcp.Client: EagerClient,
    unix.Server: EagerUnixServer,
}


def become_eager(transport: tcp.Connection) -> None:
    """Make a transport of Twisted's, served by a SocketGroup, one of these; other kinds stay what they are."""
    kind = _EAGER.get(type(transport))
    if kind is not None:
        transport.__class__ = kind
