"""Two ends of a link without sockets: what one says, the other hears at once."""

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from openai_proxy.workers.link import Link


class Wire(StringTransport):
    """Hands everything to the other end, unless it is held back."""

    other = None
    held = False

    def write(self, data):
        super().write(data)
        self.deliver()

    def deliver(self):
        if not self.held:
            data = self.value()
            self.clear()
            if data:
                self.other.dataReceived(data)


def linked(first, second):
    """Connect two links."""
    for link, other in ((first, second), (second, first)):
        wire = Wire()
        wire.other = other
        link.makeConnection(wire)
    return first, second


def pair(on_message=(), on_request=(), lost=lambda: None):
    """Return (speaker, listener); the listener has these handlers."""
    return linked(Link({}, {}, lambda: None), Link(dict(on_message), dict(on_request), lost))


def lose(*links):
    """Cut the connection."""
    for link in links:
        link.connectionLost(Failure(ConnectionDone()))
