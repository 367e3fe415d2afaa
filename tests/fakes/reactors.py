"""A reactor over real socket pairs that turns only when a test says so: nothing happens between two lines of a test."""

from twisted.internet.error import ConnectionLost
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

ENOUGH = 1000
"""Turns after which a test waits for something that does not happen."""


class SteppedReactor(SelectReactor):
    """Its time stands still until `clock` is advanced."""

    def __init__(self):
        self.clock = Clock()
        super().__init__()
        self.seconds = self.clock.seconds
        self.connections = []

    def callLater(self, delay, function, *args, **kw):
        return self.clock.callLater(delay, function, *args, **kw)

    def adoptStreamConnection(self, *args):
        self.connections.append(super().adoptStreamConnection(*args))
        return self.connections[-1]

    def turn(self, times=20):
        """Let everything happen that can."""
        for _ in range(times):
            self.clock.advance(0)
            self.doIteration(0)

    def until(self, condition):
        """Turn until `condition()` is true."""
        for _ in range(ENOUGH):
            if condition():
                return
            self.turn(1)
        raise AssertionError("it did not happen")

    @property
    def open(self):
        """How many of the connections that it was given have not ended."""
        return sum(not each.disconnected for each in self.connections)

    def close(self):
        for each in {*self.removeAll(), *self.connections}:
            if not each.disconnected:
                each.connectionLost(Failure(ConnectionLost()))
        self.waker.connectionLost(None)
