"""Whose address a request has: its connection's, or what trusted proxies say. Pure.

The one place that decides. A peer's address is believed as the connection
(or the PROXY protocol) gives it; `X-Forwarded-For` counts only as far as
proxies that `access.proxies` lists have written it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from attrs import field, frozen

from .bounded_memo import short_memo

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"
HeaderPairs: TypeAlias = "Sequence[tuple[bytes, bytes]]"

MAX_HOPS = 32
"""Addresses of `X-Forwarded-For` that are looked at, from its end: no chain of proxies is longer."""
_LONGEST = 64
"""Characters of an address with zone, brackets and port."""
UNIX = "unix:"
"""In `access.proxies`: whoever connects by a Unix socket."""

FORWARDED = frozenset(
    (
        b"cdn-loop",
        b"client-ip",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"forwarded",
        b"forwarded-for",
        b"proxy-client-ip",
        b"remote-addr",
        b"true-client-ip",
        b"via",
        b"wl-proxy-client-ip",
        b"x-appengine-user-ip",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-envoy-external-address",
        b"x-nf-client-connection-ip",
        b"x-original-for",
        b"x-original-forwarded-for",
        b"x-original-host",
        b"x-originating-ip",
        b"x-proxyuser-ip",
        b"x-real-ip",
        b"x-remote-addr",
        b"x-remote-ip",
        b"x-true-client-ip",
    )
)
_FORWARDED_PREFIXES = (b"x-forwarded", b"cf-", b"cloudfront-")


def is_forwarded(names: Iterable[bytes]) -> bool:
    """Whether a header says that a proxy passed the request on: its client may be anybody. Any case."""
    return any(
        name in FORWARDED or name.startswith(_FORWARDED_PREFIXES) for name in (each.lower() for each in names)
    )


def parse_network(text: str) -> Network:
    """Return an address or CIDR range as a network. Raises ValueError.

    >>> parse_network("10.1.2.3"), parse_network("10.0.0.0/8")
    (IPv4Network('10.1.2.3/32'), IPv4Network('10.0.0.0/8'))
    """
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


@short_memo(1024)
def parse_address(text: str) -> Address | None:
    """Return the address in `text`, None if there is none.

    As proxies write them: with a port, in brackets, in quotes, with a zone;
    an IPv4 address in IPv6 form is an IPv4 address.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@frozen
class TrustedProxies:
    """Who may say for whom a request comes: `access.proxies`. Empty: nobody."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    """Peers on Unix sockets are trusted too."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> TrustedProxies:
        """Make it of addresses, CIDR ranges and `unix:`. Raises ValueError."""
        entries = list(entries)
        networks = tuple(parse_network(entry) for entry in entries if entry != UNIX)
        return cls(networks, UNIX in entries)

    def __bool__(self) -> bool:
        return bool(self.networks) or self.unix

    def __contains__(self, address: Address | None) -> bool:
        """Whether an address is trusted; None is a peer on a Unix socket."""
        if address is None:
            return self.unix
        return any(address in network for network in self.networks)


@frozen
class Peer:
    """The other end of a connection, made once for each.

    `address` is None if it has none, or if nobody knows it.
    """

    address: Address | None
    proxies: TrustedProxies = field(repr=False)
    is_proxy: bool
    """It is one of `proxies`: what it says of its client counts."""
    is_passed_on: bool = False
    """The connection came by a `haproxy:` port: its client may be anybody, whatever the header says."""
    text: str | None = field(init=False, eq=False, repr=False)
    """`address` as it is shown."""

    @text.default
    def _text(self) -> str | None:
        return None if self.address is None else str(self.address)

    def client_address(self, headers: HeaderPairs) -> str | None:
        """Return the address of the client of a request with these headers; None if nobody knows it.

        The last address in `X-Forwarded-For` that is not itself one of the
        trusted proxies: what stands before it, its sender may have invented.
        """
        text = self.text
        if self.is_proxy:
            for hop in _hops_backwards(headers):
                known = parse_address(hop)
                if known is None:
                    break  # nobody knows who that was, or who came before
                text = str(known)
                if known not in self.proxies:
                    break
        return text


def _hops_backwards(headers: HeaderPairs) -> list[str]:
    lines = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
    hops: list[str] = []
    for line in reversed(lines):
        for hop in reversed(line.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]):
            if len(hops) == MAX_HOPS:
                return hops
            # what is too long for an address is none, and is not kept
            hops.append(hop.decode("latin-1").strip() if len(hop) <= _LONGEST else "?")
    return hops
