"""Endpoint strings with what this daemon adds: backlog, our PROXY protocol, certificates read again."""

import pytest
import trustme
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.net.endpoints import MOST, endpoint, made_anew, why_unusable
from openai_proxy.net.proxy_protocol import ProxyProtocolFactory
from openai_proxy.net.tls_endpoints import has_certificates
from openai_proxy.net.tls_wrappers import TLSFactory


def factory():
    made = Factory()
    made.noisy = False
    return made


@pytest.fixture
def pair(tmp_path):
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "k.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))
    return tmp_path


def backlog_of(description):
    reactor = MemoryReactorClock()
    endpoint(reactor, description, factory()).listen(factory())
    (listening,) = reactor.tcpServers + reactor.unixServers
    return listening[2]


@pytest.mark.parametrize(
    "description",
    ["tcp:8080", "tcp:8080:interface=127.0.0.1", "tcp6:8080", "unix:/run/p.sock", "haproxy:tcp:80"],
)
def test_the_backlog_is_the_systems_maximum(description):
    """Unless the string has its own: Twisted's 50 let a burst of clients wait for seconds."""
    assert backlog_of(description) == MOST
    assert backlog_of(description + ":backlog=5") == 5
    assert backlog_of(description + ":backlog=50") == 50


def test_the_backlog_of_tls(pair):
    """Both kinds of it."""
    ssl = f"ssl:8443:privateKey={pair}/k.pem:certKey={pair}/c.pem"
    assert backlog_of(ssl) == MOST
    assert backlog_of(ssl + ":backlog=7") == 7
    (pair / "both.pem").write_bytes((pair / "k.pem").read_bytes() + (pair / "c.pem").read_bytes())
    (pair / "k.pem").unlink(), (pair / "c.pem").unlink()
    assert backlog_of(f"tls:{pair}:8443") == MOST


def test_our_proxy_protocol_takes_twisteds_place():
    """Below whatever the endpoint puts around it."""
    reactor = MemoryReactorClock()
    endpoint(reactor, "haproxy:tcp:80", factory()).listen(factory())
    assert type(reactor.tcpServers[0][1]) is ProxyProtocolFactory


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("ssl:8443", True),
        ("tls:/etc/pems:8443", True),
        ("haproxy:ssl:8443", True),
        ("haproxy:haproxy:tls:x:1", True),
        ("tcp:8443", False),
        ("haproxy:tcp:8443", False),
        ("unix:/ssl:x", False),
        ("systemd:domain=INET:index=0", False),
    ],
)
def test_strings_with_certificates(description, expected):
    """Their files are read again on SIGHUP."""
    assert has_certificates(description) is expected


def test_certificates_are_read_when_the_factory_is_made_anew(pair):
    """No port is opened; a broken pair raises, in words."""
    reactor, description = MemoryReactorClock(), f"ssl:8443:privateKey={pair}/k.pem:certKey={pair}/c.pem"
    assert isinstance(made_anew(reactor, description, factory()), TLSFactory)
    proxied = made_anew(reactor, f"haproxy:{description}", factory())
    assert type(proxied) is type(proxied.wrappedFactory.wrappedFactory) is ProxyProtocolFactory
    assert type(proxied.wrappedFactory) is TLSFactory
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(pair / "k.pem"))
    with pytest.raises(Exception) as caught:
        made_anew(reactor, description, factory())
    assert why_unusable(caught.value) == "Certificate public and private keys do not match."
    (pair / "k.pem").unlink()
    with pytest.raises(Exception) as caught:
        made_anew(reactor, description, factory())
    assert why_unusable(caught.value) == f"No such file or directory: {pair}/k.pem"
    assert reactor.tcpServers == []
