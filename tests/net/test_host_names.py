"""Endpoints of names as they stand, for the client of Redis too."""

import pytest
import trustme
from fakes import Resolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.net.host_names import ascii_host
from openai_proxy.net.redis_connection import redis_endpoint
from openai_proxy.net.redis_url import parse_redis_url


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize("host", ["redis_cache", "ab--redis", "a.example"])
def test_redis_is_looked_up_as_its_name_stands(scheme, host):
    """`redis://redis_cache:6379` is what Compose makes."""
    reactor = MemoryReactorClock()
    reactor.nameResolver = resolver = Resolver()
    endpoint = redis_endpoint(
        reactor, parse_redis_url(f"{scheme}://{host}:6380/0"), trustme.CA().cert_pem.bytes()
    )
    endpoint.connect(Factory.forProtocol(Protocol))
    assert resolver.asked == [host]
    assert reactor.tcpClients[0][:2] == ("10.1.2.3", 6380)
    reactor.tcpClients[0][2].buildProtocol(None)


def test_an_address_is_not_looked_up():
    """A look-up takes a thread and a millisecond."""
    reactor = MemoryReactorClock()
    reactor.nameResolver = resolver = Resolver()
    redis_endpoint(reactor, parse_redis_url("redis://[::1]:6379")).connect(Factory.forProtocol(Protocol))
    assert resolver.asked == []
    assert reactor.tcpClients[0][:2] == ("::1", 6379)


@pytest.mark.parametrize("host", ["", ".", "a..b", "x" * 64, "b\u00fccher..x", "\u00fc" * 64])
def test_no_host_name(host):
    """RFC 1035 §2.3.4: a label has 1 to 63 bytes."""
    with pytest.raises(ValueError, match=r".+"):
        ascii_host(host)
