"""Determine the client address of a request: its connection's, or the one that trusted proxies report. Pure.

Only this module decides. A peer's address is taken from the connection (or the
PROXY protocol); `X-Forwarded-For` counts only as far as proxies listed in
`access.proxies` have written it.
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
"""The number of addresses of `X-Forwarded-For` that are read, from its end: no chain of proxies is longer."""
_LONGEST = 64
"""The most characters of an address with zone, brackets and port."""
UNIX = "unix:"
"""The entry of `access.proxies` for peers on Unix sockets."""

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
    """Return whether a header, in any case, says that a proxy forwarded the request: its client may be anybody."""
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

    Accepts the forms that proxies write: with a port, in brackets, in quotes,
    with a zone. An IPv4 address in IPv6 form is an IPv4 address.
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
    """The proxies whose client addresses are believed: `access.proxies`. Empty: none."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    """Whether peers on Unix sockets are trusted too."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> TrustedProxies:
        """Make it from addresses, CIDR ranges and `unix:`. Raises ValueError."""
        entries = list(entries)
        networks = tuple(parse_network(entry) for entry in entries if entry != UNIX)
        return cls(networks, UNIX in entries)

    def __bool__(self) -> bool:
        return bool(self.networks) or self.unix

    def __contains__(self, address: Address | None) -> bool:
        """Return whether an address is trusted; None is a peer on a Unix socket."""
        if address is None:
            return self.unix
        return any(address in network for network in self.networks)


@frozen
class Peer:
    """The other end of a connection, made once for each.

    `address` is None if it has none, or if it is unknown.
    """

    address: Address | None
    proxies: TrustedProxies = field(repr=False)
    is_proxy: bool
    """Whether it is one of `proxies`: what it says of its client counts."""
    is_passed_on: bool = False
    """Whether the connection came by a `haproxy:` port: its client may be anybody, whatever the header says."""
    text: str | None = field(init=False, eq=False, repr=False)
    """`address` as text."""

    @text.default
    def _text(self) -> str | None:
        return None if self.address is None else str(self.address)

    def client_address(self, headers: HeaderPairs) -> str | None:
        """Return the address of the client of a request with these headers; None if it is unknown.

        That is the last address in `X-Forwarded-For` that is not itself a
        trusted proxy: the sender may have invented those before it.
        """
        text = self.text
        if self.is_proxy:
            for hop in _hops_backwards(headers):
                address_of_hop = parse_address(hop)
                if address_of_hop is None:
                    break  # that address is unknown, and so are those before it
                text = str(address_of_hop)
                if address_of_hop not in self.proxies:
                    break
        return text


def _hops_backwards(headers: HeaderPairs) -> list[str]:
    lines = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
    hops: list[str] = []
    for line in reversed(lines):
        for hop in reversed(line.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]):
            if len(hops) == MAX_HOPS:
                return hops
            # text that is too long for an address is none, and is not kept
            hops.append(hop.decode("latin-1").strip() if len(hop) <= _LONGEST else "?")
    return hops
