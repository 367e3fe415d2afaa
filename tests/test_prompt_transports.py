"""What is written goes at once, or at the end of a batch; in order either way. Pairs of sockets, no network."""

import socket
from contextlib import suppress

import pytest
from twisted.internet import tcp, unix
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.prompt_transports import PromptServer, become_prompt
from openai_proxy.sockets import untaken_bytes


class Group(MemoryReactorClock):
    """As much of a SocketGroup as the transports ask."""

    def __init__(self):
        super().__init__()
        self.serving = False
        self.unsent = []

    def end_batch(self):
        self.serving = False
        for member in self.unsent:
            member.send_put_off()
        self.unsent = []


class Pair:
    """A connected transport and the socket of its peer."""

    def __init__(self, kind):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.group = Group()
        self.transport = kind(ours, Protocol(), ("x", 1), None, 0, self.group)
        become_prompt(self.transport)

    def arrived(self):
        """Return what the peer can read now."""
        data = b""
        with suppress(BlockingIOError):
            while more := self.peer.recv(1 << 20):
                data += more
        return data

    def fill(self):
        """Write until the kernel takes no more; return what was written."""
        data = b""
        while not self.transport._tempDataBuffer:
            chunk = b"%06d" % len(data) * 5000
            self.transport.write(chunk)
            data += chunk
        return data

    def drain(self, size):
        """Return `size` bytes, read while the transport writes as the reactor lets it."""
        data = self.arrived()
        while len(data) < size:
            assert not self.transport.doWrite()
            data += self.arrived()
        return data


@pytest.fixture(params=[tcp.Server, unix.Server])
def pair(request):
    pair = Pair(request.param)
    yield pair
    if hasattr(pair.transport, "socket"):
        pair.transport.socket.close()
    pair.peer.close()


def test_what_is_written_goes_at_once(pair):
    """No turn of the reactor is needed, and none is asked for."""
    pair.transport.write(b"one")
    pair.transport.writeSequence((b"t", b"wo"))
    assert pair.arrived() == b"onetwo"
    assert pair.group.getWriters() == []


def test_what_the_kernel_does_not_take_follows_in_order(pair):
    """Nothing is lost or overtaken, however full the socket is."""
    expected = pair.fill()
    pair.transport.write(b"more")
    assert pair.group.getWriters() == [pair.transport]
    assert pair.drain(len(expected) + 4) == expected + b"more"
    pair.transport.write(b"again at once")
    assert pair.arrived() == b"again at once"


def test_in_a_batch_writes_wait_for_its_end(pair):
    """They are counted, and go out in order, in one piece."""
    pair.group.serving = True
    pair.transport.write(b"one")
    pair.transport.writeSequence((b"t", b"wo"))
    assert pair.group.unsent == [pair.transport]
    assert pair.arrived() == b""
    assert untaken_bytes(pair.transport) == 6
    pair.group.end_batch()
    assert pair.arrived() == b"onetwo"
    assert untaken_bytes(pair.transport) == 0
    pair.group.serving = True
    pair.transport.write(b"next batch")
    pair.group.end_batch()
    assert pair.arrived() == b"next batch"


def test_what_waits_in_twisteds_buffer_goes_first(pair):
    """Also where the batch's writes come while the socket is full."""
    expected = pair.fill()
    pair.group.serving = True
    pair.transport.write(b"more")
    pair.group.end_batch()
    assert pair.drain(len(expected) + 4) == expected + b"more"


def test_closing_in_a_batch_sends_first(pair):
    """What was written before loseConnection arrives; the end comes after it."""
    pair.group.serving = True
    pair.transport.write(b"last words")
    pair.transport.loseConnection()
    pair.group.end_batch()
    assert pair.arrived() == b"last words"
    assert pair.transport.doWrite() is not None


def test_half_closing_in_a_batch_sends_first(pair):
    """The end that the peer sees is behind the bytes."""
    pair.group.serving = True
    pair.transport.write(b"last words")
    pair.transport.loseWriteConnection()
    pair.group.end_batch()
    pair.transport.doWrite()
    assert pair.peer.recv(100) == b"last words"
    assert pair.peer.recv(100) == b""


def test_aborting_in_a_batch_sends_nothing(pair):
    """What was put off is dropped, as what waits in the kernel is."""
    pair.group.serving = True
    pair.transport.write(b"never")
    pair.transport.abortConnection()
    pair.group.end_batch()
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
    assert pair.group.getWriters() == [pair.transport]
    assert isinstance(pair.transport.doWrite(), Exception)


@pytest.mark.parametrize("kind", [tcp.Connection, unix.Client])
def test_other_kinds_stay_what_they_are(kind):
    """Those that nobody needs, or knows."""
    transport = kind.__new__(kind)
    become_prompt(transport)
    assert type(transport) is kind


def test_only_once():
    """One that is prompt already stays so."""
    transport = PromptServer.__new__(PromptServer)
    become_prompt(transport)
    assert type(transport) is PromptServer
