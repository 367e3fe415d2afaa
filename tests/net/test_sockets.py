"""What is asked of sockets beside Twisted's transports: pairs of sockets, no network."""

import socket

import pytest
from fakes import SocketPair, Transport
from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.net.sockets import bottom, is_gone, keep_alive, untaken_bytes


@pytest.fixture
def pair():
    pair = SocketPair(tcp.Server, MemoryReactorClock())
    yield pair
    pair.close()


class Wrapper:
    """What TLS and proxies' headers look like from above: a transport over a transport, whose words it passes on."""

    def __init__(self, transport, name="transport"):
        setattr(self, name, transport)
        self._below = transport
        self.written = []

    def __getattr__(self, name):
        return getattr(self._below, name)

    def write(self, data):
        self.written.append(data)


def test_transport_without_a_socket():
    """If nothing can be known nothing waits."""
    transport = Transport()
    assert bottom(transport) is None
    assert untaken_bytes(transport) == 0
    assert not is_gone(transport, half_close=True)


@pytest.mark.parametrize("name", ["transport", "wrappedTransport"])
def test_wrapped_transport_is_looked_through(pair, name):
    """However deep, the one with the socket is found; a wrapper without one below ends the search."""
    assert bottom(Wrapper(Wrapper(pair.transport, name), name)) is pair.transport
    assert bottom(Wrapper(Transport(), name)) is None
    assert untaken_bytes(Wrapper(Transport(), name)) == 0


def test_a_wrapper_of_itself_ends_the_search():
    """A transport that names itself has no socket."""
    wrapper = Wrapper(None)
    wrapper.transport = wrapper
    wrapper.wrappedTransport = wrapper
    assert bottom(wrapper) is None


def test_bytes_that_the_peer_has_not_taken_are_counted(pair):
    """Those in the kernel and those that wait for it; none once the peer has read them all."""
    assert untaken_bytes(pair.transport) == 0
    written = pair.fill()
    pair.transport.write(b"x" * 1000)
    waiting = untaken_bytes(pair.transport)
    assert waiting >= 1000
    assert waiting == untaken_bytes(Wrapper(pair.transport))
    arrived = 0
    while arrived < len(written) + 1000:
        arrived += len(pair.arrived())
        pair.transport.doWrite()
    assert untaken_bytes(pair.transport) == 0


def test_a_closed_socket_has_nothing_to_count(pair):
    """It may be closed a moment before anybody hears of it."""
    pair.transport.socket.close()
    assert untaken_bytes(pair.transport) == 0


def test_a_peer_that_is_gone_is_noticed_without_reading(pair):
    """Also below a wrapper; a quiet one is not gone. A half-close counts if it is asked for."""
    assert not is_gone(pair.transport, half_close=True)
    pair.peer.send(b"unread")
    pair.peer.shutdown(socket.SHUT_WR)
    assert not is_gone(pair.transport, half_close=False)
    assert is_gone(pair.transport, half_close=True)
    pair.peer.close()
    assert is_gone(pair.transport, half_close=False)
    assert is_gone(Wrapper(pair.transport), half_close=False)


def test_without_pollrdhup_a_peer_that_is_gone_is_noticed(pair, monkeypatch):
    """macOS has none: a look at the next byte shows it, except for an end after unread ones."""
    monkeypatch.delattr("select.POLLRDHUP")
    assert not is_gone(pair.transport, half_close=True)
    pair.peer.send(b"unread")
    pair.peer.shutdown(socket.SHUT_WR)
    assert not is_gone(pair.transport, half_close=True)
    assert pair.transport.socket.recv(10) == b"unread"
    assert is_gone(pair.transport, half_close=True)
    assert not is_gone(pair.transport, half_close=False)


def test_without_fcntl_the_kernels_queue_is_unknown(pair, monkeypatch):
    """What Twisted holds is still counted."""
    monkeypatch.setattr("openai_proxy.net.sockets.fcntl", None)
    pair.fill()
    assert untaken_bytes(pair.transport) >= 0


@pytest.fixture
def tcp_pair():
    listening = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listening.getsockname())
    ours, _ = listening.accept()
    listening.close()
    ours.setblocking(False)
    yield tcp.Server(ours, Protocol(), ("127.0.0.1", 1), None, 0, MemoryReactorClock())
    ours.close()
    peer.close()


def test_the_kernel_asks_a_silent_peer(tcp_pair):
    """After 30 s and three times more; below any wrapper."""
    keep_alive(Wrapper(tcp_pair), 30)
    option = tcp_pair.socket.getsockopt
    assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [option(socket.IPPROTO_TCP, name) for name in names] == [30, 10, 3]


def test_what_is_no_tcp_connection_is_not_asked(pair):
    """Neither a Unix socket nor a transport in memory."""
    keep_alive(pair.transport, 30)
    keep_alive(Transport(), 30)
