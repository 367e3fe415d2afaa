"""The wrapper of connections that a balancer passes on, over transports in memory."""

import pytest
from fakes import Transport
from net.receiver import Receiver
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.policies import WrappingFactory

from openai_proxy.downstream.peers import may_speak, peer_of
from openai_proxy.exchange.bounded_memo import BoundedMemo
from openai_proxy.exchange.client_address import TrustedProxies
from openai_proxy.net.proxy_protocol import UNKNOWN, ProxyProtocolFactory, proxied, with_proxy_protocol

BALANCER = IPv4Address("TCP", "10.0.0.1", 4000)


class BalancedConnection:
    """A connection that a balancer passes on."""

    def __init__(self, proxies=(), peer=BALANCER):
        self.proxies = TrustedProxies.of(proxies)
        factory = ProxyProtocolFactory(
            Factory.forProtocol(Receiver), lambda address: may_speak(self.proxies, address)
        )
        self.transport = Transport()
        self.transport.peerAddr = peer
        self.connection = factory.buildProtocol(peer)
        self.connection.makeConnection(self.transport)
        self.receiver = self.connection.wrappedProtocol

    @property
    def peer(self):
        return peer_of(self.receiver.transport, self.proxies, BoundedMemo(1))


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 1000 80\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", None),
        (b"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00", None),
    ],
)
@pytest.mark.parametrize("cut", [1, 5, 8, 13, 1000])
def test_the_client_is_who_the_header_names(header, client, cut):
    """However TCP cuts it; a balancer that names nobody is not taken for its client."""
    balanced = BalancedConnection()
    data = header + b"GET /"
    for start in range(0, len(data), cut):
        balanced.connection.dataReceived(data[start : start + cut])
    assert balanced.receiver.received == b"GET /"
    assert balanced.transport.ended is None
    assert balanced.peer.client_address([]) == client
    assert balanced.peer.is_passed_on
    assert proxied(balanced.receiver.transport).balancer is BALANCER


def test_nobody_is_known_before_the_header():
    """The balancer's address is never the client's."""
    balanced = BalancedConnection()
    assert balanced.receiver.transport.getPeer() is UNKNOWN
    assert balanced.peer.client_address([]) is None


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n", b"\x16\x03\x01"])
def test_what_is_no_header_ends_the_connection(data):
    """Nothing of it reaches HTTP."""
    balanced = BalancedConnection()
    balanced.connection.dataReceived(data)
    balanced.connection.dataReceived(b"PROXY UNKNOWN\r\nGET /")
    assert balanced.transport.ended == "aborted"
    assert balanced.receiver.received == b""


@pytest.mark.parametrize(
    ("proxies", "peer", "allowed"),
    [
        ([], BALANCER, True),
        (["10.0.0.0/8"], BALANCER, True),
        (["192.0.2.1"], BALANCER, False),
        (["10.0.0.0/8"], UNIXAddress("/run/p.sock"), False),
        (["10.0.0.0/8", "unix:"], UNIXAddress("/run/p.sock"), True),
        ([], UNIXAddress("/run/p.sock"), True),
    ],
)
def test_who_may_speak(proxies, peer, allowed):
    """Those that `access.proxies` lists; all if it lists none."""
    balanced = BalancedConnection(proxies, peer)
    balanced.connection.dataReceived(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /")
    assert balanced.transport.ended == (None if allowed else "aborted")
    assert balanced.receiver.received == (b"GET /" if allowed else b"")


def test_forwarded_addresses_of_a_trusted_balancer_count():
    """Also if its header names nobody."""
    balanced = BalancedConnection(["10.0.0.0/8"])
    balanced.connection.dataReceived(b"PROXY UNKNOWN\r\n")
    assert balanced.peer.client_address([(b"X-Forwarded-For", b"203.0.113.9")]) == "203.0.113.9"


def test_twisteds_wrapper_is_replaced_wherever_it_stands():
    """An endpoint may put TLS around it, or it around itself."""

    class Endpoint:
        def listen(self, factory):
            return factory

    inner = Factory()
    twisteds = proxyEndpoint(Endpoint()).listen(inner)
    ours = with_proxy_protocol(twisteds, lambda address: True)
    assert (type(ours), ours.wrappedFactory) == (ProxyProtocolFactory, inner)
    around = with_proxy_protocol(WrappingFactory(twisteds), lambda address: True)
    assert type(around.wrappedFactory) is ProxyProtocolFactory
    assert with_proxy_protocol(inner, lambda address: True) is inner


def test_refusals_are_logged_once_in_a_while(caplog, monkeypatch):
    """Strangers do not fill the log."""
    lines = []
    monkeypatch.setattr(
        "openai_proxy.net.proxy_protocol.log.warn", lambda text, **values: lines.append(values)
    )
    factory = ProxyProtocolFactory(Factory(), lambda address: False)
    for _ in range(100):
        factory.tell_refusal(BALANCER)
    assert [line["count"] for line in lines] == [1]
