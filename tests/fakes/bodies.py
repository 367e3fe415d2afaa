"""Bodies fed and ended by hand, and both of their ends: who writes them, and who reads."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.downstream.body import IncomingBody

DONE = Failure(ResponseDone())


class Body:
    """A response body (messages.ResponseBody), fed and ended by hand."""

    whole = None

    def __init__(self, length=None):
        self.length = length
        self.protocol = None
        self.discards = 0
        self.paused = False

    def deliverBody(self, protocol):
        self.protocol = protocol
        protocol.makeConnection(self)

    def discard(self):
        self.discards += 1

    @property
    def discarded(self):
        return self.discards > 0

    def stopProducing(self):
        self.discard()

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def feed(self, *chunks):
        for chunk in chunks:
            self.protocol.dataReceived(chunk)

    def end(self):
        self.protocol.connectionLost(DONE)

    def cut(self):
        self.protocol.connectionLost(Failure(ConnectionLost()))


class ReadyBody(Body):
    """A body whose bytes are all there, in one piece or several; its length is not told if it is not `sized`."""

    def __init__(self, *pieces, sized=True):
        super().__init__(sum(map(len, pieces)) if sized else None)
        self.data = b"".join(pieces)
        self._pieces = pieces

    def deliverBody(self, protocol):
        super().deliverBody(protocol)
        self.feed(*self._pieces)
        self.end()


class Whole(ReadyBody):
    """A body that is there whole, and says so."""

    @property
    def whole(self):
        return self.data


class TunnelEnd(Body):
    """The upstream's side of a tunnel: a body that can also be written to."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.producer = None
        self.closed = False

    def write(self, data):
        self.written.append(data)

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def loseConnection(self):
        self.closed = True

    def end(self, error):
        self.protocol.connectionLost(Failure(error))


class Source:
    """The channel's part in a request's body: whether it is held back, how often it was, and 100 Continue."""

    def __init__(self):
        self.held = False
        self.holds = 0
        self.wanted = False

    def hold_body(self):
        self.held = True
        self.holds += 1

    def release_body(self):
        self.held = False

    def want_body(self):
        self.wanted = True


class Sink:
    """The upstream's part in a request's body: `data` is what was written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


def incoming(*parts, length=None, complete=True):
    """Return a request's body of which these parts have come, all there will be if it is `complete`."""
    body = IncomingBody(Source(), length, None)
    for part in parts:
        body.feed(part)
    if complete:
        body.end()
    return body


class Reader:
    """What a client receives of a body, and why it ended: `reason`, and `end`, the class of that.

    It pauses after every `window` chunks.
    """

    def __init__(self, window=None):
        self.chunks = []
        self.end = self.reason = None
        self.window = window

    @property
    def data(self):
        return b"".join(self.chunks)

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        assert self.end is None
        self.chunks.append(data)
        if self.window is not None and len(self.chunks) % self.window == 0:
            self.transport.pauseProducing()

    def connectionLost(self, reason):
        assert self.end is None
        self.end, self.reason = reason.type, reason.value


def delivered(body, window=None):
    """Return the Reader that a body, or a response of treq's, is delivered to."""
    reader = Reader(window)
    body.deliverBody(reader)
    return reader


def read(response):
    """Return the whole body that a client receives of a ProxyResponse, after its filters."""
    reader = delivered(response.body)
    assert reader.end is ResponseDone
    data = reader.data
    for each in response.filters:
        data = each.feed(data) + each.finish()
    return data
