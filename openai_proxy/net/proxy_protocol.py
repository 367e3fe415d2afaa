"""Connections that a load balancer forwards with the PROXY protocol's header.

Replaces Twisted's wrapper for `haproxy:` endpoints, which drops `PROXY UNKNOWN`
and a header that arrives in pieces, logs a traceback for a bad port, and shows
a balancer's own address as its client's.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.address import IPv4Address as TCP4
from twisted.internet.address import IPv6Address as TCP6
from twisted.internet.interfaces import IAddress
from twisted.protocols.haproxy import _wrapper as stock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from ..logs import logger
from ..wire.proxy_protocol import Address, BadHeader, ProxyHeader, maybe_header
from .once_in_a_while import OnceInAWhile

log = logger(__name__)


@implementer(IAddress)
class UnknownAddress:
    """The address of a connection whose client the balancer does not name."""

    def __repr__(self) -> str:
        return "UnknownAddress()"


UNKNOWN = UnknownAddress()


_TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection, with which no PROXY protocol header begins."""


class ProxiedConnection(ProtocolWrapper):
    """States: waiting for the header, passing on (`header` is None if it comes inside TLS), refused (`is_refused`).

    Balancers send the header before the TLS handshake that they forward, so at
    a TLS port there is one of these below TLS. There is another above it, for a
    header inside TLS; it uses the header that came before, if there was one.
    """

    header: ProxyHeader | None = None
    is_refused = False
    _passes_on = False
    _before: ProxiedConnection | None = None
    """The wrapper below TLS, if there is one."""

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._arrived = bytearray()

    def makeConnection(self, transport: Any) -> None:
        self._before = proxied(transport)
        super().makeConnection(transport)
        factory: ProxyProtocolFactory = self.factory
        if self._before is None and not factory.may_speak(transport.getPeer()):
            factory.tell_refusal(transport.getPeer())
            self._refuse()

    def dataReceived(self, data: bytes) -> None:
        if not self._passes_on:
            if self.is_refused:
                return
            data = self._behind_header(data)
        if data:
            self.wrappedProtocol.dataReceived(data)

    def _behind_header(self, data: bytes) -> bytes:
        """Return the data after the header, once it is complete."""
        if self._before is not None and self._before.header is not None:
            self.header = self._before.header
            self._passes_on = True
            return data
        factory: ProxyProtocolFactory = self.factory
        if factory.is_below_tls and not self._arrived and data.startswith(_TLS_HANDSHAKE):
            self._passes_on = True
            return data
        self._arrived += data
        try:
            self.header = maybe_header(self._arrived)
        except BadHeader as error:
            log.debug("a connection without a PROXY protocol header is closed: {error}", error=error)
            self._refuse()
        if self.header is None:
            return b""
        rest, self._arrived = bytes(self._arrived[self.header.length :]), bytearray()
        self._passes_on = True
        return rest

    def _refuse(self) -> None:
        self.is_refused = True
        self._arrived = bytearray()
        self.abortConnection()

    def getPeer(self) -> Any:
        """Return the client's address; UNKNOWN before the header, and if it names none."""
        if self._passes_on and self.header is None and self.transport is not None:
            return self.transport.getPeer()
        return UNKNOWN if self.header is None else _address(self.header.source) or UNKNOWN

    def getHost(self) -> Any:
        """Return the address that the client connected to; this end's if the header names none."""
        named = None if self.header is None else _address(self.header.destination)
        assert self.transport is not None
        return named or self.transport.getHost()

    @property
    def balancer(self) -> Any:
        """The address of the peer that sent the header."""
        if self._before is not None and self._before.header is not None:
            return self._before.balancer
        assert self.transport is not None
        return self.transport.getPeer()


def _address(named: tuple[Address, int] | None) -> Any:
    if named is None:
        return None
    kind = TCP4 if isinstance(named[0], IPv4Address) else TCP6
    return kind("TCP", str(named[0]), named[1])


class ProxyProtocolFactory(WrappingFactory):
    """Makes a ProxiedConnection for each connection; `may_speak(address)` says whose header is believed.

    `is_below_tls`: what follows the header is TLS, which may also come without it.
    """

    protocol = ProxiedConnection
    noisy = False

    def __init__(self, wrapped: Any, may_speak: Callable[[Any], bool], *, is_below_tls: bool = False) -> None:
        super().__init__(wrapped)
        self.is_below_tls = is_below_tls
        self.may_speak = may_speak
        self._telling = OnceInAWhile()

    def logPrefix(self) -> str:
        return "openai-proxy"

    def tell_refusal(self, address: Any) -> None:
        """Log that a peer may not send the header, at most once in ten seconds, because clients choose how often."""
        count = self._telling.count()
        if count:
            log.warn(
                "{count} connections to a haproxy: port were refused since the last such line: "
                "{address} is not in access.proxies",
                count=count,
                address=getattr(address, "host", "a Unix socket"),
            )


def with_proxy_protocol(factory: Any, may_speak: Callable[[Any], bool]) -> Any:
    """Replace Twisted's wrapper in `factory`, made by an endpoint, by this one."""
    if isinstance(factory, stock.HAProxyWrappingFactory):
        return ProxyProtocolFactory(with_proxy_protocol(factory.wrappedFactory, may_speak), may_speak)
    inner = getattr(factory, "wrappedFactory", None)
    if inner is not None:
        factory.wrappedFactory = with_proxy_protocol(inner, may_speak)
    return factory


def proxied(transport: Any) -> ProxiedConnection | None:
    """Return the PROXY protocol's wrapper among the transports below a client's protocol, None without one."""
    below = transport
    while below is not None and not isinstance(below, ProxiedConnection):
        inner = getattr(below, "transport", None)
        below = None if inner is below else inner
    return below
