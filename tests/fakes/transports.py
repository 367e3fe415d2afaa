"""Transports in memory or over a pair of sockets, and names that resolve to one address."""

from __future__ import annotations

import socket
from contextlib import suppress

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from zope.interface import implementer


@implementer(ITCPTransport)
class Transport(StringTransport):
    """A TCP transport that remembers how it was ended.

    `ended` is None, "closed" or "aborted"; `half_closed` says that our side
    has nothing more to say.
    """

    def __init__(self):
        super().__init__(lenient=True)
        self.ended = None
        self.half_closed = False

    def loseConnection(self):
        super().loseConnection()
        self.ended = self.ended or "closed"

    def abortConnection(self):
        super().abortConnection()
        self.ended = "aborted"

    def loseWriteConnection(self):
        self.half_closed = True

    def unregisterProducer(self):
        self.producer = self.streaming = None

    def take(self):
        """Return what was written since the last call."""
        data = self.value()
        self.clear()
        return data

    def getTcpNoDelay(self):
        return True

    def setTcpNoDelay(self, enabled):
        """Nothing is delayed here."""

    def getTcpKeepAlive(self):
        return True

    def setTcpKeepAlive(self, enabled):
        """Nothing is kept alive here."""


class SocketPair:
    """A connected transport of Twisted's over a real socket, and the socket of its peer (`peer`); nothing turns.

    `kind` is a server's transport class, `reactor` whatever it should call.
    """

    def __init__(self, kind, reactor):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.reactor = reactor
        self.transport = kind(ours, Protocol(), ("x", 1), None, 0, reactor)

    def close(self):
        if hasattr(self.transport, "socket"):
            self.transport.socket.close()
        self.peer.close()

    def arrived(self):
        """Return what the peer can read now."""
        data = b""
        with suppress(BlockingIOError):
            while more := self.peer.recv(1 << 20):
                data += more
        return data

    def fill(self):
        """Write until the kernel takes no more; return what was written."""
        data = b""
        while not self.transport.dataBuffer:
            chunk = b"%06d" % len(data) * 5000
            self.transport.write(chunk)
            self.transport.doWrite()
            data += chunk
        return data

    def drain(self, size):
        """Return `size` bytes, read while the transport writes as a reactor lets it."""
        data = self.arrived()
        while len(data) < size:
            assert not self.transport.doWrite()
            data += self.arrived()
        return data


@implementer(IHostnameResolver)
class Resolver:
    """Resolves every name to one address, and keeps the names that it was asked for."""

    def __init__(self):
        self.asked = []

    def resolveHostName(self, receiver, name, portNumber, *arguments, **options):
        self.asked.append(name)
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", "10.1.2.3", portNumber))
        receiver.resolutionComplete()
        return self
