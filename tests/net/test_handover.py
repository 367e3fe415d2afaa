"""Open sockets that one process gives to another."""

import os
import socket

import pytest
from fakes import SteppedReactor

from openai_proxy.net.handover import Handover, handover_pair


class HandoverPair:
    """Two processes' ends of a handover."""

    def __init__(self):
        self.reactor = SteppedReactor()
        ends = handover_pair()
        self.taken = []
        self.giver = Handover(self.reactor, ends[0], lambda note, sock: None)
        self.taker = Handover(self.reactor, ends[1], self._take)

    def _take(self, note, sock):
        self.taken.append((note, sock))

    def give(self, note):
        """Return the other end of the connection that is given."""
        kept, given = socket.socketpair()
        kept.setblocking(False)
        self.giver.give(note, given)
        return kept


@pytest.fixture
def pair():
    pair = HandoverPair()
    yield pair
    for _, sock in pair.taken:
        sock.close()
    pair.giver.close()
    pair.taker.close()
    pair.reactor.close()


def has_ended(sock):
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_socket_comes_with_its_note(pair):
    """It is the same connection, and no child process inherits it."""
    kept = pair.give(b"name")
    pair.reactor.until(lambda: pair.taken)
    ((note, sock),) = pair.taken
    assert (note, os.get_inheritable(sock.fileno())) == (b"name", False)
    kept.send(b"x")
    assert sock.recv(1) == b"x"
    kept.close()


def test_what_is_given_in_a_burst_comes_in_order(pair):
    """Many more than the kernel holds for who does not look; none is lost or taken for another."""
    kept = [pair.give(b"%d" % number) for number in range(400)]
    pair.reactor.until(lambda: len(pair.taken) == len(kept))
    for number, ((note, sock), other) in enumerate(zip(pair.taken, kept, strict=True)):
        other.send(note)
        assert (note, sock.recv(10)) == (b"%d" % number, b"%d" % number)
        other.close()


def test_a_socket_for_somebody_who_has_gone_is_closed(pair):
    """Whoever waits at its other end sees that."""
    early = [pair.give(b"early") for _ in range(400)]
    pair.taker.close()
    pair.reactor.until(lambda: all(has_ended(each) for each in early))
    late = pair.give(b"late")
    assert has_ended(late)
    pair.giver.close()
    closed = pair.give(b"closed")
    assert has_ended(closed)
    for each in (*early, late, closed):
        each.close()


def test_what_waits_is_closed_with_its_end(pair):
    """No descriptor stays open."""
    kept = [pair.give(b"waits") for _ in range(400)]
    pair.giver.close()
    pair.taker.close()
    assert all(has_ended(each) for each in kept)
    for each in kept:
        each.close()


def test_a_note_is_short(pair):
    """A longer one would be cut on its way."""
    kept, given = socket.socketpair()
    with pytest.raises(ValueError, match="too long"):
        pair.giver.give(b"x" * 1025, given)
    kept.close()
    given.close()
