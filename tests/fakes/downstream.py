"""A whole downstream edge in memory, and the connections of its clients."""

from __future__ import annotations

import json

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fakes.exchanges import Recorder
from fakes.transports import Transport
from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.downstream.proxy import ProxyResource
from openai_proxy.downstream.site import ProxySite, Root
from openai_proxy.pages.pages import JSONPage

ANYBODY = IPv4Address("TCP", "192.168.1.1", 54321)
LOCAL = IPv4Address("TCP", "127.0.0.1", 5000)


def parts(response):
    """Return the status, the headers by lower-case name and the body of a response as it was sent."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
    return int(status.split(b" ")[1]), headers, body


def error_of(response):
    """Return the status and the code of an error as it was sent."""
    status, _, body = parts(response)
    return status, json.loads(body)["error"]["code"]


class Downstream:
    """A whole downstream edge in memory: site, resource tree and clock.

    `forward` is what answers the API; `published` the ended exchanges.
    """

    def __init__(self, forward=None, in_flight=None, connections=1000, **limits):
        self.clock = Clock()
        self.forward = forward or Recorder()
        self.published = []
        self.api = ProxyResource(self.forward, in_flight)
        root = Root(self.api)
        root.putChild(b"", JSONPage(lambda: (200, {"service": "test"})))
        root.putChild(b"health", JSONPage(lambda: (200, {"status": "healthy"})))
        self.site = ProxySite(
            root,
            self.clock,
            DownstreamLimits(**limits),
            b"openai-proxy",
            self.clock.seconds,
            connections,
        )
        self.site.at_end = (self.published.append,)
        self.site.startFactory()

    def connect(self):
        return Connection(self.site.buildProtocol(None), self.clock)

    def request(self, target, *lines, method="GET", host="proxy.test", body=b"", peer=ANYBODY):
        """Send a request over a connection of its own, which is returned before anything is read from it."""
        connection = self.connect()
        connection.transport.peerAddr = peer
        length = [f"Content-Length: {len(body)}"] if body else []
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, *length, "", ""]
        connection.channel.dataReceived("\r\n".join(head).encode() + body)
        return connection

    def ask(self, target, *lines, **how):
        """Send a request; return the status, the headers by lower-case name and the body of the response."""
        return parts(self.request(target, *lines, **how).transport.take())

    @property
    def outcomes(self):
        return [ended.outcome.value for ended in self.published]

    def advance(self, seconds):
        """Let time pass, a quarter of a second at a time, as the sweeper sees it."""
        self.clock.pump([0.25] * int(seconds * 4))


class Connection:
    """One client's connection to a Downstream."""

    def __init__(self, channel, clock):
        self.channel = channel
        self.transport = Transport()
        self._clock = clock
        self._lost = False
        channel.makeConnection(self.transport)

    def send(self, *pieces):
        """Send each piece as one read; returns what came back since the last call."""
        for piece in pieces:
            if self.transport.ended is None:
                self.channel.dataReceived(piece)
        return self.transport.take()

    def lose(self, reason=None):
        """Tell the channel that the client is gone."""
        if not self._lost:
            self._lost = True
            self.channel.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def ended(self):
        return self.transport.ended
