"""Host names as they are configured, and endpoints that connect to them.

Names that the system resolves are used unchanged, whatever IDNA 2008 says about
them: Compose makes `llm_server`, others `ab--cd`. Imported by the upstream
edge, the client of Redis and the settings.
"""

from __future__ import annotations

from typing import Any

import idna
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from .address_race import LikeliestFirst
from .dns_cache import DNSCache, tell_addresses

ATTEMPT_DELAY_S = 0.05
"""The delay between two addresses of a name (RFC 8305): `localhost` is often ::1 first and only IPv4 listens."""
_LABEL_BYTES = 63
_NAME_BYTES = 253
_UNUSED = "name.invalid"


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address, which certificates do not have as a name and which needs no look-up."""
    return isIPAddress(host) or isIPv6Address(host)


def ascii_host(host: str) -> str:
    """Return a host as it goes on the wire: ASCII labels unchanged, others encoded (UTS 46, RFC 5891).

    Raises ValueError for what no resolver accepts: an empty label, one above
    63 bytes, a name above 253 (RFC 1035 §2.3.4).
    """
    if isIPv6Address(host):
        return host
    name = ".".join(_ascii_label(label) for label in host.split("."))
    labels = name.removesuffix(".").split(".")
    if len(name) > _NAME_BYTES or not all(0 < len(label) <= _LABEL_BYTES for label in labels):
        raise ValueError("not a host name: it or one of its labels is empty or too long")
    return name


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return idna.encode(label, uts46=True).decode("ascii")
    except (
        idna.IDNAError
    ):  # for example an underscore next to an umlaut: use the result of Python's own codec
        return label.encode("idna").decode("ascii")


def host_endpoint(
    reactor: Any, host: str, port: int, timeout_s: float, names: DNSCache | None = None
) -> IStreamClientEndpoint:
    """Return the endpoint for an address or for a name that `ascii_host` returned.

    An address needs no look-up, which takes a thread and a millisecond; nor
    does a name that `names` has. Of a name's addresses, the one that connects
    first is used.
    """
    if is_address(host):
        return _at_address(reactor, host, port, timeout_s)
    addresses = names.addresses(host, port) if names is not None else ()
    if not addresses:
        return _at_name(reactor, _OneName(reactor, host, names), port, timeout_s)
    first = _at_address(reactor, addresses[0].host, port, timeout_s)
    if len(addresses) == 1:
        return first
    return LikeliestFirst(
        first,
        lambda: _at_name(reactor, _Listed(host, addresses[1:]), port, timeout_s),
        ATTEMPT_DELAY_S,
        reactor.callLater,
    )


def _at_address(reactor: Any, host: str, port: int, timeout_s: float) -> IStreamClientEndpoint:
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    return kind(reactor, host, port, timeout_s)


def _at_name(reactor: Any, resolver: IHostnameResolver, port: int, timeout_s: float) -> IStreamClientEndpoint:
    # HostnameEndpoint would check a name by IDNA 2008, so it gets a placeholder; the resolver has the real one.
    return HostnameEndpoint(
        _Resolving(reactor, resolver), _UNUSED, port, timeout=timeout_s, attemptDelay=ATTEMPT_DELAY_S
    )


@implementer(IHostnameResolver)
class _OneName:
    """Resolves one fixed name, whatever name it is given."""

    def __init__(self, reactor: Any, host: str, names: DNSCache | None) -> None:
        self._reactor = reactor
        self._host = host
        self._names = names

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *arguments: Any, **options: Any
    ) -> IHostResolution:
        resolver: IHostnameResolver = self._reactor.nameResolver
        host = self._host
        if self._names is None:
            return resolver.resolveHostName(resolutionReceiver, host, portNumber, *arguments, **options)
        return self._names.resolve(resolver, resolutionReceiver, host, portNumber, *arguments, **options)


@implementer(IHostnameResolver)
class _Listed:
    """Returns these addresses, whatever name it is given."""

    def __init__(self, host: str, addresses: tuple[Any, ...]) -> None:
        self._host = host
        self._addresses = addresses

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *arguments: Any, **options: Any
    ) -> IHostResolution:
        return tell_addresses(resolutionReceiver, self._host, self._addresses)


@implementer(IReactorPluggableNameResolver)
class _Resolving:
    """The reactor with another name resolver."""

    def __init__(self, reactor: Any, resolver: IHostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def __getattr__(self, name: str) -> Any:
        """Return timers and connections of the reactor itself."""
        return getattr(self._reactor, name)
