"""Who is at the other end of a client's connection.

The one place that turns transports into addresses: socket, PROXY protocol,
and what `access.proxies` makes of them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from ..exchange.bounded_memo import BoundedMemo
from ..exchange.client_address import Address, Peer, TrustedProxies, parse_address
from ..net.proxy_protocol import proxied


def peer_of(transport: Any, proxies: TrustedProxies, known_peers: BoundedMemo[str, Peer]) -> Peer:
    """Return the peer of a connection whose PROXY protocol header, if it has one, has arrived.

    Connections from one address share a Peer, for as long as `known_peers` has it.
    """
    address = transport.getPeer()
    connection = proxied(transport)
    if connection is None and isinstance(address, IPv4Address | IPv6Address):
        host: str = address.host
        peer = known_peers.get(host)
        if peer is None or peer.proxies is not proxies:
            peer = Peer(_ip_address(address), proxies, _trusted(proxies, address))
            known_peers.remember(host, peer, len(host))
        return peer
    known = _ip_address(address)
    if connection is not None and known is None:
        # a balancer that says nothing of its client; it may still forward for one, by X-Forwarded-For
        return Peer(None, proxies, _trusted(proxies, connection.balancer), is_passed_on=True)
    return Peer(known, proxies, _trusted(proxies, address), is_passed_on=connection is not None)


def may_speak(proxies: TrustedProxies, address: Any) -> bool:
    """Whether the peer at `address` may speak the PROXY protocol: all may if no proxies are listed."""
    return not proxies or _trusted(proxies, address)


def _trusted(proxies: TrustedProxies, address: Any) -> bool:
    if isinstance(address, UNIXAddress):
        return proxies.unix
    known = _ip_address(address)
    return known is not None and known in proxies


def _ip_address(address: Any) -> Address | None:
    return parse_address(address.host) if isinstance(address, IPv4Address | IPv6Address) else None
