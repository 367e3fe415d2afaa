"""Names that are looked up once for a while, and the address that serves comes first."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from zope.interface import implementer

from openai_proxy.net.dns_cache import DNSCache

TTL_S = 30.0


@implementer(IHostnameResolver)
class Resolver:
    """Answers at once with `hosts`, and counts how often."""

    def __init__(self, *hosts):
        self.hosts, self.asked = list(hosts), []

    def resolveHostName(self, receiver, name, portNumber=0, **options):
        self.asked.append((name, portNumber))
        receiver.resolutionBegan(self)
        for host in self.hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, portNumber))
        receiver.resolutionComplete()
        return self


@implementer(IResolutionReceiver)
class Receiver:
    """What an endpoint hears."""

    def __init__(self):
        self.resolution, self.addresses, self.complete = None, [], False

    def resolutionBegan(self, resolution):
        self.resolution = resolution

    def addressResolved(self, address):
        self.addresses.append((address.host, address.port))

    def resolutionComplete(self):
        self.complete = True


class CachedNames:
    """A cache of names before a resolver."""

    def __init__(self, *hosts, ttl_s=TTL_S):
        self.now = 0.0
        self.resolver = Resolver(*hosts)
        self.cache = DNSCache(ttl_s, lambda: self.now)

    def resolve(self, name="a.example", port=443):
        receiver = Receiver()
        returned = self.cache.resolve(self.resolver, receiver, name, port)
        assert receiver.complete
        assert receiver.resolution is returned
        returned.cancel() if returned is not self.resolver else None
        return [host for host, its_port in receiver.addresses if its_port == port]


def test_a_name_is_looked_up_once_for_a_while():
    """Each name and port has its own time."""
    names = CachedNames("10.0.0.1", "10.0.0.2")
    for _ in range(3):
        assert names.resolve() == ["10.0.0.1", "10.0.0.2"]
    names.resolve("b.example")
    names.resolve(port=80)
    assert names.resolver.asked == [("a.example", 443), ("b.example", 443), ("a.example", 80)]
    names.now = TTL_S
    names.resolver.hosts = ["10.0.0.9"]
    assert names.resolve() == ["10.0.0.9"]


def test_the_address_that_serves_comes_first():
    """`localhost` is ::1 first, and only IPv4 listens: that costs a wait once."""
    names = CachedNames("::1", "127.0.0.1", "127.0.0.2")
    names.resolve()
    names.cache.connected("a.example", 443, "127.0.0.1")
    assert names.resolve() == ["127.0.0.1", "::1", "127.0.0.2"]
    names.cache.connected("a.example", 443, "127.0.0.1")
    names.cache.connected("never.example", 443, "127.0.0.1")
    assert names.resolve() == ["127.0.0.1", "::1", "127.0.0.2"]


def test_a_name_that_served_nobody_is_asked_for_again():
    """A server that has moved is found before the time is over."""
    names = CachedNames("10.0.0.1")
    names.resolve()
    names.cache.forget("a.example", 443)
    names.cache.forget("a.example", 443)
    names.resolver.hosts = ["10.0.0.2"]
    assert names.resolve() == ["10.0.0.2"]


@pytest.mark.parametrize(
    "names", [CachedNames(), CachedNames("10.0.0.1", ttl_s=0)], ids=["no address", "no time"]
)
def test_what_is_not_kept(names):
    """A name that does not exist may exist in a moment; with 0 seconds nothing is kept."""
    names.resolve()
    names.resolve()
    assert len(names.resolver.asked) == 2
