"""Sockets served in batches behave as those that a reactor serves."""

import socket

import pytest
from fakes import Transport
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Server
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from openai_proxy.socket_group import SocketGroup


class Reactor:
    """As much of a reactor as sockets need; nothing turns."""

    def __init__(self):
        self.readers, self.writers = [], []

    def addReader(self, reader):
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader):
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer):
        self.writers.append(writer)

    def removeWriter(self, writer):
        if writer in self.writers:
            self.writers.remove(writer)

    def seconds(self):
        return 7.0


class Peer(Protocol):
    """Remembers what came; raises where it is told to."""

    def __init__(self):
        self.received, self.lost, self.on_data = b"", [], lambda: None

    def dataReceived(self, data):
        self.received += data
        self.on_data()

    def connectionLost(self, reason):
        self.lost.append(reason.type)


class World:
    def __init__(self):
        self.reactor = Reactor()
        self.group = SocketGroup(self.reactor)
        self.others = []

    def connect(self, wrap=lambda protocol: protocol):
        """Return (the protocol of an adopted connection, the other end's socket)."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.others.append(theirs)
        protocol = Peer()
        outer = wrap(protocol)
        transport = Server(ours, outer, ("x", 1), None, 0, self.reactor)
        outer.makeConnection(transport)
        self.group.adopt(protocol.transport)
        return protocol, theirs

    def close(self):
        self.group.connectionLost(Failure(ConnectionDone()))
        for other in self.others:
            other.close()


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


def test_one_turn_serves_every_ready_socket(world):
    """The reactor knows the group alone."""
    first, one = world.connect()
    second, two = world.connect()
    assert world.reactor.readers == [world.group]
    one.send(b"a")
    two.send(b"b")
    world.group.doRead()
    assert (first.received, second.received) == (b"a", b"b")
    assert world.group.seconds() == 7.0


def test_a_paused_socket_is_not_read_and_a_full_one_is_written(world):
    """Both directions of back-pressure go through the group."""
    protocol, other = world.connect()
    protocol.transport.pauseProducing()
    other.send(b"a")
    world.group.doRead()
    assert protocol.received == b""
    assert world.group.getReaders() == []
    protocol.transport.write(b"x")
    assert world.group.getWriters() == [protocol.transport]
    world.group.doRead()
    assert other.recv(10) == b"x"
    protocol.transport.resumeProducing()
    world.group.doRead()
    assert protocol.received == b"a"


def test_a_peer_that_leaves_is_told_once(world):
    """At an orderly end; the descriptor is forgotten."""
    protocol, other = world.connect()
    other.close()
    world.group.doRead()
    world.group.doRead()
    assert protocol.lost == [ConnectionDone]
    assert world.group.removeAll() == []


def test_a_reset_of_a_writer_that_does_not_read_is_noticed(world):
    """As the reactor would: there is nothing to read first."""
    protocol, other = world.connect()
    protocol.transport.pauseProducing()
    protocol.transport.write(b"x" * 10_000_000)
    world.group.doRead()
    other.close()
    while not protocol.lost:
        world.group.doRead()
    assert protocol.lost[0] in (ConnectionDone, ConnectionLost)


def test_a_defect_ends_its_own_connection_alone(world, caplog):
    """The others of the same batch are served."""
    broken, one = world.connect()
    well, two = world.connect()

    def fail():
        raise RuntimeError("defect")

    broken.on_data = fail
    one.send(b"a")
    two.send(b"b")
    world.group.doRead()
    assert broken.lost == [RuntimeError]
    assert well.received == b"b"
    assert well.lost == []


def test_one_that_closes_another_of_the_same_batch(world):
    """Its event is passed over."""
    protocols = [world.connect() for _ in range(2)]
    for (protocol, other), (victim, _) in zip(protocols, reversed(protocols), strict=True):
        protocol.on_data = victim.transport.abortConnection
        other.send(b"a")
    world.group.doRead()
    assert sorted(len(protocol.received) for protocol, _ in protocols) == [0, 1]


def test_a_socket_below_a_wrapper_is_served_too(world):
    """As TLS and proxies' headers are: transports that pass on what is asked of the one below."""
    factory = WrappingFactory(Factory())
    factory.noisy = False
    factory.doStart()
    protocol, other = world.connect(lambda inner: ProtocolWrapper(factory, inner))
    other.send(b"a")
    world.group.doRead()
    assert protocol.received == b"a"


def test_what_has_no_socket_stays_where_it_is(world):
    """Transports in memory, and sockets of another reactor."""
    world.group.adopt(Transport())
    assert world.reactor.readers == []


def test_the_reactors_end_ends_them_all(world):
    """As its own sockets, one with a defect too."""
    broken, _ = world.connect()
    broken.lost = None
    protocol, _ = world.connect()
    world.group.connectionLost(Failure(ConnectionLost()))
    assert protocol.lost == [ConnectionLost]
    assert world.group.fileno() == -1
