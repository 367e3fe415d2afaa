"""The connection after a 101: the other protocol's bytes, both ways.

Nothing is parsed here; the downstream edge's tunnel joins the two ends.
"""

from __future__ import annotations

from typing import Any

from ..exchange.record import HeaderPairs
from ..net.sockets import keep_alive
from ..wire.headers import HOP_BY_HOP
from .contract import TunnelSource
from .response import UpstreamBody

_OF_THE_SWITCH = frozenset((b"connection", b"upgrade"))


def switched_lines(pairs: HeaderPairs) -> HeaderPairs:
    """Return a 101's lines for the client: of the hop-by-hop ones those that say what is switched to."""
    dropped = HOP_BY_HOP - _OF_THE_SWITCH
    return [pair for pair in pairs if pair[0].lower() not in dropped]


class SwitchedBody(UpstreamBody):
    """A 101's "body": the other protocol's bytes come from it, and it can be written to."""

    def __init__(self, source: TunnelSource) -> None:
        super().__init__(source, None)
        self._tunnel: TunnelSource = source

    @property
    def _transport(self) -> Any:
        """The upstream's transport; None once the tunnel is over."""
        return None if self._source is None else self._tunnel.transport

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def keep_alive(self, idle_s: int) -> None:
        """Notice an upstream that vanished; see `sockets.keep_alive`."""
        if self._transport is not None:
            keep_alive(self._transport, idle_s)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._transport is not None:
            self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._transport is not None:
            self._transport.unregisterProducer()

    def loseConnection(self) -> None:
        """Send what was written, and then close the connection."""
        source, self._source = self._source, None
        if source is not None:
            self._tunnel.close_tunnel()
