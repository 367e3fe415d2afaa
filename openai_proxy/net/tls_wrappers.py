"""A factory and an endpoint that add TLS below the protocols of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from .tls import TLSTransport
from .tls_side import Side


class TLSFactory(Factory):
    """Adds TLS below each protocol that `wrapped` makes; `side` is called for each connection."""

    noisy = False

    def __init__(self, wrapped: Any, side: Callable[[], Side], call_later: Callable[..., Any]) -> None:
        self.wrappedFactory = wrapped
        self._side = side
        self._call_later = call_later

    def logPrefix(self) -> str:
        return "openai-proxy"

    def doStart(self) -> None:
        self.wrappedFactory.doStart()

    def doStop(self) -> None:
        self.wrappedFactory.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self.wrappedFactory.buildProtocol(addr)
        return None if protocol is None else TLSTransport(protocol, self._side(), self._call_later)


@implementer(IStreamClientEndpoint)
class TLSClientEndpoint:
    """Connects through `below`, with TLS; `side` is called for each connection."""

    def __init__(
        self, below: IStreamClientEndpoint, side: Callable[[], Side], call_later: Callable[..., Any]
    ) -> None:
        self._below = below
        self._side = side
        self._call_later = call_later

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return self._below.connect(TLSFactory(protocolFactory, self._side, self._call_later))
