"""Sockets served in batches behave as those that a reactor serves."""

import socket
from contextlib import suppress

import pytest
from fakes import Transport
from twisted.internet import unix
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Server
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from openai_proxy.net.eager_transports import EagerClient, EagerUnixServer
from openai_proxy.net.socket_group import SocketGroup


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
    """Remembers what came; raises if it is told to."""

    def __init__(self):
        self.received, self.lost, self.on_data = b"", [], lambda: None

    def dataReceived(self, data):
        self.received += data
        self.on_data()

    def connectionLost(self, reason):
        self.lost.append(reason.type)


class GroupedSockets:
    """A group, and connections of which it serves our ends."""

    def __init__(self):
        self.reactor = Reactor()
        self.group = SocketGroup(self.reactor)
        self.others = []

    def connect(self, wrap=lambda protocol: protocol, kind=Server):
        """Return (the protocol of an adopted connection, the other end's socket)."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.others += (ours, theirs)
        protocol = Peer()
        outer = wrap(protocol)
        transport = kind(ours, outer, ("x", 1), None, 0, self.reactor)
        outer.makeConnection(transport)
        self.group.adopt(protocol.transport)
        return protocol, theirs

    def close(self):
        self.group.connectionLost(Failure(ConnectionDone()))
        for other in self.others:
            other.close()


@pytest.fixture
def sockets():
    sockets = GroupedSockets()
    yield sockets
    sockets.close()


def test_one_turn_serves_every_ready_socket(sockets):
    """The reactor knows only the group."""
    first, one = sockets.connect()
    second, two = sockets.connect()
    assert sockets.reactor.readers == [sockets.group]
    one.send(b"a")
    two.send(b"b")
    sockets.group.doRead()
    assert (first.received, second.received) == (b"a", b"b")
    assert sockets.group.seconds() == 7.0


def test_a_paused_socket_is_not_read_and_a_full_one_is_written(sockets):
    """Both directions of back-pressure go through the group."""
    protocol, other = sockets.connect()
    protocol.transport.pauseProducing()
    other.send(b"a")
    sockets.group.doRead()
    assert protocol.received == b""
    assert sockets.group.getReaders() == []
    protocol.transport.write(b"x" * 10_000_000)
    assert sockets.group.getWriters() == [protocol.transport]
    size = 0
    while size < 10_000_000:
        size += len(other.recv(1 << 20))
        sockets.group.doRead()
    assert sockets.group.getWriters() == []
    protocol.transport.resumeProducing()
    sockets.group.doRead()
    assert protocol.received == b"a"


def test_a_peer_that_leaves_is_reported_once(sockets):
    """At an orderly end; the descriptor is forgotten."""
    protocol, other = sockets.connect()
    other.close()
    sockets.group.doRead()
    sockets.group.doRead()
    assert protocol.lost == [ConnectionDone]
    assert sockets.group.removeAll() == []


def test_a_reset_of_a_writer_that_does_not_read_is_noticed(sockets):
    """As the reactor would: there is nothing to read first."""
    protocol, other = sockets.connect()
    protocol.transport.pauseProducing()
    protocol.transport.write(b"x" * 10_000_000)
    sockets.group.doRead()
    other.close()
    while not protocol.lost:
        sockets.group.doRead()
    assert protocol.lost[0] in (ConnectionDone, ConnectionLost)


def test_a_defect_ends_only_its_own_connection(sockets, caplog):
    """The others of the same batch are served."""
    broken, one = sockets.connect()
    well, two = sockets.connect()

    def fail():
        raise RuntimeError("defect")

    broken.on_data = fail
    one.send(b"a")
    two.send(b"b")
    sockets.group.doRead()
    assert broken.lost == [RuntimeError]
    assert well.received == b"b"
    assert well.lost == []


@pytest.mark.parametrize("kind", [Server, unix.Server])
def test_a_batch_is_read_then_worked_on_then_written(sockets, kind):
    """What the work on one writes to another has not left when the next is worked on, and leaves in order."""
    first, one = sockets.connect(kind=kind)
    second, two = sockets.connect(kind=kind)
    third, three = sockets.connect(kind=kind)
    three.setblocking(False)
    seen = []

    def write(data):
        third.transport.write(data)
        with pytest.raises(BlockingIOError):
            three.recv(10)
        seen.append(data)

    first.on_data = lambda: write(b"a")
    second.on_data = lambda: write(b"b")
    one.send(b"1")
    two.send(b"2")
    sockets.group.doRead()
    assert sorted(seen) == [b"a", b"b"]
    assert three.recv(10) == b"".join(seen)


def test_what_comes_before_sending_comes_when_all_was_worked_on(sockets, caplog):
    """Once for the batch, whatever one of them does; a call made by a call counts too."""
    first, one = sockets.connect()
    second, two = sockets.connect()
    calls = []

    def fail():
        calls.append("fail")
        raise RuntimeError("defect")

    def note():
        for other in (one, two):
            with pytest.raises(BlockingIOError):
                other.recv(10)
        calls.append((first.received, second.received))
        sockets.group.before_sending(fail)

    for protocol, other in ((first, one), (second, two)):
        other.setblocking(False)
        other.send(b"a")
        protocol.on_data = lambda protocol=protocol: [
            protocol.transport.write(b"x"),
            calls.append(sockets.group.before_sending(note)) if protocol is first else None,
        ]
    sockets.group.doRead()
    assert calls == [True, (b"a", b"a"), "fail"]
    assert (one.recv(10), two.recv(10)) == (b"x", b"x")


def test_outside_a_batch_nothing_waits(sockets):
    """Nor if a single socket is ready: what it writes goes at once."""
    protocol, other = sockets.connect()
    taken = []
    protocol.on_data = lambda: taken.append(sockets.group.before_sending(lambda: None))
    other.send(b"a")
    sockets.group.doRead()
    assert taken == [False]
    assert sockets.group.before_sending(lambda: None) is False
    protocol.transport.socket.close()
    sockets.close()


class Slow(unix.Server):
    """A transport of a kind that the group leaves as it is."""


def test_what_comes_before_sending_comes_before_a_reactors_write(sockets):
    """Transports of other kinds send when the kernel is ready, which may be inside a batch."""
    plain, one = sockets.connect(kind=Slow)
    _, two = sockets.connect()
    seen = []

    def look():
        with pytest.raises(BlockingIOError):
            one.recv(100)
        seen.append("nothing was sent")

    def end():
        plain.transport.write(b"the end")
        sockets.group.before_sending(look)

    one.setblocking(False)
    plain.transport.write(b"begun, ")
    plain.on_data = end
    one.send(b"a")
    two.send(b"b")
    sockets.group.doRead()
    assert seen == ["nothing was sent"]
    assert one.recv(100) == b"begun, the end"


def test_ends_are_reported_first_then_answers_come_then_requests(sockets):
    """A request must not get a connection that this batch knows to be closed, or not to be asked any more."""
    order = []
    for name, kind in (("request", EagerUnixServer), ("answer", EagerClient), ("end", EagerClient)):
        protocol, other = sockets.connect(kind=unix.Server if kind is EagerUnixServer else Server)
        protocol.transport.__class__ = kind  # a client's would connect
        protocol.on_data = lambda name=name: order.append(name)
        protocol.connectionLost = lambda reason, name=name: order.append(name)
        if name == "end":
            other.close()
        else:
            other.send(b"x")
    sockets.group.doRead()
    assert order == ["end", "answer", "request"]


def test_more_than_are_read_together_are_served_in_one_turn(sockets):
    """In parts: what a batch holds is bounded, so some are written to before the last are read."""
    peers = [sockets.connect() for _ in range(150)]
    written = []
    for protocol, other in peers:
        other.setblocking(False)
        protocol.on_data = lambda protocol=protocol: protocol.transport.write(b"x")
        other.send(b"a")

    def look():
        for _, other in peers:
            with suppress(BlockingIOError):
                written.append(other.recv(10))

    peers[-1][0].on_data = look
    sockets.group.doRead()
    assert all(protocol.received == b"a" for protocol, _ in peers)
    assert 0 < len(written) < 149


def test_a_defect_while_writing_ends_only_its_own_connection(sockets, caplog):
    """The writes of the others go out."""
    broken, one = sockets.connect()
    well, two = sockets.connect()

    class Producer:
        """Pauses badly."""

        def pauseProducing(self):
            raise RuntimeError("defect")

        def stopProducing(self):
            """Lost."""

    broken.transport.registerProducer(Producer(), True)
    broken.on_data = lambda: broken.transport.write(b"x" * 10_000_000)
    well.on_data = lambda: well.transport.write(b"y")
    one.send(b"a")
    two.send(b"b")
    sockets.group.doRead()
    assert broken.lost == [RuntimeError]
    assert two.recv(10) == b"y"
    assert well.lost == []


def test_one_that_closes_another_of_the_same_batch(sockets):
    """Its event is passed over."""
    protocols = [sockets.connect() for _ in range(2)]
    for (protocol, other), (victim, _) in zip(protocols, reversed(protocols), strict=True):
        protocol.on_data = victim.transport.abortConnection
        other.send(b"a")
    sockets.group.doRead()
    assert sorted(len(protocol.received) for protocol, _ in protocols) == [0, 1]


def test_a_socket_below_a_wrapper_is_served_too(sockets):
    """As TLS and proxies' headers are: transports that pass on what is asked of the one below."""
    factory = WrappingFactory(Factory())
    factory.noisy = False
    factory.doStart()
    protocol, other = sockets.connect(lambda inner: ProtocolWrapper(factory, inner))
    other.send(b"a")
    sockets.group.doRead()
    assert protocol.received == b"a"


def test_what_has_no_socket_stays_where_it_is(sockets):
    """Transports in memory, and sockets of another reactor."""
    sockets.group.adopt(Transport())
    assert sockets.reactor.readers == []


def test_the_reactors_end_ends_them_all(sockets):
    """As its own sockets, one with a defect too."""
    broken, _ = sockets.connect()
    broken.lost = None
    protocol, _ = sockets.connect()
    sockets.group.connectionLost(Failure(ConnectionLost()))
    assert protocol.lost == [ConnectionLost]
    assert sockets.group.fileno() == -1


def test_without_epoll_a_socket_stays_with_its_reactor(monkeypatch):
    """macOS has none: Twisted's own transport serves the socket, under the reactor that accepted it."""
    monkeypatch.delattr("select.epoll")
    sockets = GroupedSockets()
    protocol, other = sockets.connect()
    assert type(protocol.transport) is Server
    assert protocol.transport.reactor is sockets.reactor
    assert sockets.reactor.readers == [protocol.transport]
    other.send(b"a")
    protocol.transport.doRead()
    assert protocol.received == b"a"
    assert sockets.group.before_sending(lambda: None) is False
    protocol.transport.socket.close()
    sockets.close()
