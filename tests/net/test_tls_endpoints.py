"""Ports of TLS from endpoint strings: Twisted's syntax, and the PROXY protocol's header before TLS or inside it."""

import ssl
from contextlib import suppress

import pytest
import trustme
from fakes import Transport
from net.receiver import Receiver
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import _parse as twisteds
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.net.endpoints import endpoint
from openai_proxy.net.listening import describe_port
from openai_proxy.net.proxy_protocol import UNKNOWN, proxied
from openai_proxy.net.tls_endpoints import _arguments as arguments

BALANCER = IPv4Address("TCP", "10.0.0.1", 4000)
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "ssl:8443",
        "ssl:8443:privateKey=k.pem:certKey=c.pem",
        r"ssl:port=8443:privateKey=C\:/k=1.pem",
        r"tls:/a\:b\\c:8443:interface=\:\:1",
        r"tls:/a\=b:backlog=5",
        "ssl:8443:interface=",
        r"ssl:8443:privateKey=a\b",
    ],
)
def test_arguments_are_read_as_twisted_reads_them(text):
    """Escapes, names and order."""
    words, named = twisteds(text)
    assert arguments(text[text.index(":") :]) == (words[1:], named)


class Site(Factory):
    """Makes Receivers; `speakers` may speak the PROXY protocol."""

    noisy = False
    protocol = Receiver
    speakers = (BALANCER,)

    def may_speak_proxy_protocol(self, address):
        return address in self.speakers


class TLSPort:
    """A connection to the port of a string, and a TLS client at the other end, in memory."""

    def __init__(self, tmp_path, kind="haproxy:ssl", peer=BALANCER):
        authority = trustme.CA()
        pem = tmp_path / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
        reactor = MemoryReactorClock()
        address = f"8443:privateKey={pem}" if kind.endswith("ssl") else f"{tmp_path}:8443"
        endpoint(reactor, f"{kind}:{address}", Site()).listen(Site())
        ((_, self.factory, _, self.interface),) = reactor.tcpServers
        self.transport = Transport()
        self.transport.peerAddr = peer
        self.connection = self.factory.buildProtocol(peer)
        self.connection.makeConnection(self.transport)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(client)
        self.bios = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(*self.bios, server_hostname="localhost")

    @property
    def receiver(self):
        protocol = self.connection
        while not isinstance(protocol, Receiver):
            protocol = getattr(protocol, "wrappedProtocol", None) or protocol.protocol
        return protocol

    def shake_hands(self):
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.send()

    def send(self, size=1 << 16):
        """Let what the client sent arrive, in pieces of `size`."""
        data = self.bios[1].read()
        for at in range(0, len(data), size):
            self.connection.dataReceived(data[at : at + size])
        self.bios[0].write(self.transport.take())


@pytest.mark.parametrize("kind", ["ssl", "tls"])
def test_a_port_of_tls(tmp_path, kind):
    """Where it listens by default, and what a channel knows of its connection."""
    port = TLSPort(tmp_path, kind)
    assert port.interface == ("" if kind == "ssl" else "::")
    port.shake_hands()
    port.client.write(b"GET /")
    port.send()
    assert port.receiver.received == b"GET /"
    assert ISSLTransport.providedBy(port.receiver.transport)
    assert port.receiver.transport.getPeer() is BALANCER


@pytest.mark.parametrize("kind", ["haproxy:ssl", "haproxy:tls"])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("position", ["before", "inside"])
def test_the_header_comes_before_tls_or_inside_it(tmp_path, kind, size, position):
    """Balancers that pass TLS on send it before; one that speaks TLS to us may send it inside."""
    port = TLSPort(tmp_path, kind)
    transport = port.receiver.transport
    assert transport.getPeer() is UNKNOWN
    if position == "before":
        for at in range(0, len(HEADER), size):
            port.connection.dataReceived(HEADER[at : at + size])
    port.shake_hands()
    port.client.write((HEADER if position == "inside" else b"") + b"GET /")
    port.send(size)
    assert port.receiver.received == b"GET /"
    assert ISSLTransport.providedBy(transport)
    assert (transport.getPeer().host, transport.getPeer().port) == ("192.0.2.1", 1000)
    assert transport.getHost().host == "192.0.2.2"
    assert proxied(transport).balancer is BALANCER


def test_a_header_after_another_is_none(tmp_path):
    """A client of the balancer cannot say that it is somebody else."""
    port = TLSPort(tmp_path)
    port.connection.dataReceived(HEADER)
    port.shake_hands()
    port.client.write(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")
    port.send()
    assert port.receiver.received == b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
    assert port.receiver.transport.getPeer().host == "192.0.2.1"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n"])
def test_what_is_neither_ends_the_connection(tmp_path, data):
    """Nothing of it reaches TLS."""
    port = TLSPort(tmp_path)
    port.connection.dataReceived(data)
    assert port.transport.ended == "aborted"


def test_a_stranger_may_not_speak(tmp_path):
    """`access.proxies` says who may: refused before TLS, with or without a header."""
    assert TLSPort(tmp_path, peer=IPv4Address("TCP", "10.9.9.9", 1)).transport.ended == "aborted"


def test_without_a_header_a_request_is_none(tmp_path):
    """TLS with no header at all: what is inside is none either."""
    port = TLSPort(tmp_path)
    port.shake_hands()
    port.client.write(b"GET / HTTP/1.1\r\n\r\n")
    port.send()
    assert port.transport.ended == "aborted"
    assert port.receiver.received == b""


def test_the_address_of_a_port_says_https(tmp_path):
    """Below the PROXY protocol's wrapper too."""

    class Port:
        factory = TLSPort(tmp_path).factory

        @staticmethod
        def getHost():
            return IPv4Address("TCP", "127.0.0.1", 8443)

    assert describe_port(Port) == "https://127.0.0.1:8443"
