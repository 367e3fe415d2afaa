"""Open sockets that one process gives to another."""

import os
import socket

import pytest
from workers.turns import Turns

from openai_proxy.net.handover import Handover, handover_pair


class World:
    def __init__(self):
        self.reactor = Turns()
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
def world():
    world = World()
    yield world
    for _, sock in world.taken:
        sock.close()
    world.giver.close()
    world.taker.close()
    world.reactor.close()


def has_ended(sock):
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_socket_comes_with_its_note(world):
    """It is the same connection, and no child process inherits it."""
    kept = world.give(b"name")
    world.reactor.until(lambda: world.taken)
    ((note, sock),) = world.taken
    assert (note, os.get_inheritable(sock.fileno())) == (b"name", False)
    kept.send(b"x")
    assert sock.recv(1) == b"x"
    kept.close()


def test_what_is_given_in_a_burst_comes_in_order(world):
    """Many more than the kernel holds for who does not look; none is lost or taken for another."""
    kept = [world.give(b"%d" % number) for number in range(400)]
    world.reactor.until(lambda: len(world.taken) == len(kept))
    for number, ((note, sock), other) in enumerate(zip(world.taken, kept, strict=True)):
        other.send(note)
        assert (note, sock.recv(10)) == (b"%d" % number, b"%d" % number)
        other.close()


def test_a_socket_for_somebody_who_has_gone_is_closed(world):
    """Whoever waits at its other end sees that."""
    early = [world.give(b"early") for _ in range(400)]
    world.taker.close()
    world.reactor.until(lambda: all(has_ended(each) for each in early))
    late = world.give(b"late")
    assert has_ended(late)
    world.giver.close()
    closed = world.give(b"closed")
    assert has_ended(closed)
    for each in (*early, late, closed):
        each.close()


def test_what_waits_is_closed_with_its_end(world):
    """No descriptor stays open."""
    kept = [world.give(b"waits") for _ in range(400)]
    world.giver.close()
    world.taker.close()
    assert all(has_ended(each) for each in kept)
    for each in kept:
        each.close()


def test_a_note_is_short(world):
    """A longer one would be cut on its way."""
    kept, given = socket.socketpair()
    with pytest.raises(ValueError, match="too long"):
        world.giver.give(b"x" * 1025, given)
    kept.close()
    given.close()
