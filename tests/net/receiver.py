"""A protocol that keeps what arrives."""

from twisted.internet.protocol import Protocol


class Receiver(Protocol):
    """`received` has the bytes so far."""

    def __init__(self):
        self.received = b""

    def dataReceived(self, data):
        self.received += data
