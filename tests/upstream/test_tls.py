"""TLS towards an upstream is verified, in memory, against certificates of our own."""

import ssl

import pytest
import trustme
from fakes import Transport
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from openai_proxy.upstream.tls import ClientTLS, load_certificates


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@implementer(IHandshakeListener)
class Client(Protocol):
    """Remembers how its handshake ended."""

    verified = False
    lost = None

    def handshakeCompleted(self):
        self.verified = True

    def connectionLost(self, reason):
        self.lost = reason.value


def handshake(tls, host, certificate):
    """Shake hands with a server that has `certificate`; return (client, the server's TLS object)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(received, sent, server_side=True)
    client = Client()
    factory = Factory()
    factory.buildProtocol = lambda address: client
    wrapped = TLSMemoryBIOFactory(tls.for_host(host), True, factory).buildProtocol(None)
    transport = Transport()
    wrapped.makeConnection(transport)
    for _ in range(10):
        received.write(transport.take())
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # the client's alert
            break
        data = sent.read()
        if data and transport.ended is None:
            wrapped.dataReceived(data)
    return client, server


def test_a_certificate_of_a_further_ca_is_trusted(authority, ca_file):
    """`upstream.ca_file` adds to the system's store; HTTP/1.1 is what is spoken."""
    client, server = handshake(ClientTLS(ca_file), "localhost", authority.issue_cert("localhost"))
    assert client.verified
    assert client.lost is None
    assert server.selected_alpn_protocol() == "http/1.1"


def test_an_address_is_verified_as_an_address(authority, ca_file):
    """An upstream may be an IP address that its certificate names."""
    client, _ = handshake(ClientTLS(ca_file), "127.0.0.1", authority.issue_cert("127.0.0.1"))
    assert client.verified


@pytest.mark.parametrize(
    ("trusted", "host"), [(False, "localhost"), (True, "other.example"), (True, "127.0.0.1")]
)
def test_nobody_else_is_trusted(authority, ca_file, trusted, host):
    """Neither an unknown CA's certificate nor one for another host gets a request."""
    tls = ClientTLS(ca_file if trusted else None)
    client, _ = handshake(tls, host, authority.issue_cert("localhost"))
    assert not client.verified


def test_options_are_made_once_for_each_host(ca_file):
    """They are costly, and hosts are few."""
    tls = ClientTLS(ca_file)
    assert tls.for_host("a.example") is tls.for_host("a.example")
    assert tls.for_host("a.example") is not tls.for_host("b.example")


def test_all_certificates_of_a_file_are_read(authority, tmp_path):
    """A file may hold a chain, with words between."""
    path = tmp_path / "all.pem"
    pems = [ca.cert_pem.bytes() for ca in (authority, trustme.CA())]
    path.write_bytes(b"# first\n" + pems[0] + b"\n# second\n" + pems[1])
    assert len({certificate.get_serial_number() for certificate in load_certificates(path)}) == 2


@pytest.mark.parametrize("text", [b"", b"no certificate\n"])
def test_a_file_without_certificates_is_refused(tmp_path, text):
    """A mistake stops the start, not the first request."""
    path = tmp_path / "ca.pem"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="no certificate"):
        load_certificates(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """So is one that can not be read."""
    with pytest.raises(OSError, match=r"ca\.pem"):
        ClientTLS(tmp_path / "ca.pem")
