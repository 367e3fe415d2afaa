"""What is written goes at once, or at the end of a batch; in order either way. Pairs of sockets, no network."""

import weakref
from contextlib import contextmanager

import pytest
from fakes import SocketPair
from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.net.eager_transports import EagerServer, become_eager
from openai_proxy.net.sockets import untaken_bytes


class Group(MemoryReactorClock):
    """As much of a SocketGroup as the transports ask."""

    def __init__(self):
        super().__init__()
        self.serving = False
        self.unsent = {}
        self.begin_sending = lambda: None

    @contextmanager
    def batch(self):
        """Serve a batch: what is written waits for its end."""
        self.serving = True
        yield
        self.serving = False
        for member in tuple(self.unsent):
            member.send_put_off()


@pytest.fixture(params=[tcp.Server, unix.Server])
def pair(request):
    pair = SocketPair(request.param, Group())
    become_eager(pair.transport)
    yield pair
    pair.close()


def test_what_is_written_goes_at_once(pair):
    """No turn of the reactor is needed, and none is asked for."""
    pair.transport.write(b"one")
    pair.transport.writeSequence((b"t", b"wo"))
    assert pair.arrived() == b"onetwo"
    assert pair.reactor.getWriters() == []


def test_what_the_kernel_does_not_take_follows_in_order(pair):
    """Nothing is lost or overtaken, however full the socket is."""
    expected = pair.fill()
    pair.transport.write(b"more")
    assert pair.reactor.getWriters() == [pair.transport]
    assert pair.drain(len(expected) + 4) == expected + b"more"
    pair.transport.write(b"again at once")
    assert pair.arrived() == b"again at once"


def test_in_a_batch_writes_wait_for_its_end(pair):
    """They are counted, and go out in order, in one piece."""
    with pair.reactor.batch():
        pair.transport.write(b"one")
        pair.transport.writeSequence((b"t", b"wo"))
        assert list(pair.reactor.unsent) == [pair.transport]
        assert pair.arrived() == b""
        assert untaken_bytes(pair.transport) == 6
    assert pair.arrived() == b"onetwo"
    assert untaken_bytes(pair.transport) == 0
    with pair.reactor.batch():
        pair.transport.write(b"next batch")
    assert pair.arrived() == b"next batch"


class Producer:
    """Writes until it is paused."""

    def __init__(self, transport):
        self.transport = transport
        self.paused = False
        self.written = 0

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def stopProducing(self): ...

    def produce(self):
        while not self.paused and self.written < 100_000_000:
            self.transport.write(b"x" * 50_000)
            self.written += 50_000


def test_a_batch_does_not_keep_a_producer_from_its_pause(pair):
    """One read that is unpacked into much stops when the socket is full, not at the batch's end."""
    producer = Producer(pair.transport)
    pair.transport.registerProducer(producer, True)
    with pair.reactor.batch():
        producer.produce()
        assert producer.paused
    taken = len(pair.arrived())
    assert producer.written - taken < 256 * 1024
    assert pair.drain(producer.written - taken) == b"x" * (producer.written - taken)


def test_what_waits_in_twisteds_buffer_goes_first(pair):
    """Also if the batch's writes come while the socket is full."""
    expected = pair.fill()
    with pair.reactor.batch():
        pair.transport.write(b"more")
    assert pair.drain(len(expected) + 4) == expected + b"more"


def test_closing_in_a_batch_sends_first(pair):
    """What was written before loseConnection arrives; the end comes after it."""
    with pair.reactor.batch():
        pair.transport.write(b"last words")
        pair.transport.loseConnection()
    assert pair.arrived() == b"last words"
    assert pair.transport.doWrite() is not None


def test_half_closing_in_a_batch_sends_first(pair):
    """The peer sees the end after the bytes."""
    with pair.reactor.batch():
        pair.transport.write(b"last words")
        pair.transport.loseWriteConnection()
    pair.transport.doWrite()
    assert pair.peer.recv(100) == b"last words"
    assert pair.peer.recv(100) == b""


@pytest.mark.parametrize("close", ["loseConnection", "loseWriteConnection"])
def test_what_comes_before_sending_comes_before_closing(pair, close):
    """Who wants to see an exchange before its client sees the end has seen it by then."""
    arrived = []
    pair.reactor.begin_sending = lambda: arrived.append(pair.arrived())
    with pair.reactor.batch():
        pair.transport.write(b"last words")
        getattr(pair.transport, close)()
        assert (arrived, pair.arrived()) == ([b""], b"last words")


def test_aborting_in_a_batch_sends_nothing(pair):
    """What was put off is dropped, as what waits in the kernel is."""
    with pair.reactor.batch():
        pair.transport.write(b"never")
        pair.transport.abortConnection()
    assert pair.arrived() == b""


def test_a_transport_that_closes_takes_nothing_more(pair):
    """As with Twisted's own write: what comes after loseConnection is not sent at once."""
    pair.transport.disconnecting = True
    pair.transport.write(b"late")
    pair.transport.disconnecting = False
    pair.transport.connected = False
    pair.transport.write(b"later")
    assert pair.arrived() == b""


def test_an_error_is_left_for_the_reactor_to_find(pair):
    """Writing to a peer that is gone raises nothing."""
    pair.peer.close()
    pair.transport.write(b"x")
    assert pair.reactor.getWriters() == [pair.transport]
    assert isinstance(pair.transport.doWrite(), Exception)


@pytest.mark.parametrize("kind", [tcp.Connection, unix.Client])
def test_other_kinds_stay_what_they_are(kind):
    """Those that nobody needs, or knows."""
    transport = kind.__new__(kind)
    become_eager(transport)
    assert type(transport) is kind


def test_only_once():
    """One that is eager already stays so."""
    transport = EagerServer.__new__(EagerServer)
    become_eager(transport)
    assert type(transport) is EagerServer


class Connector:
    """Of Twisted's, with all that an attempt to connect is made of."""


def test_a_connection_that_was_made_holds_nothing_of_the_attempt():
    """1.9 KiB for each open stream: connector, factories, endpoint, Deferreds, the timer. Its loss is reported as before."""
    client = tcp.Client.__new__(tcp.Client)
    client.connector = Connector()
    attempt = weakref.ref(client.connector)
    become_eager(client)
    assert attempt() is None
    client.connector.connectionLost(Failure(ConnectionDone()))
