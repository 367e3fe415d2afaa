"""What the files of the upstream edge know of each other.

The agent owns connections, the pool keeps them, a connection feeds bodies:
each meets the others through these protocols, and imports none of them.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer

from ..net.origin import Origin

Key = tuple[Origin, bytes]
"""Requests share connections if they go to the same origin with the same credential."""


class BodySource(Protocol):
    """What a response's body asks of the connection that feeds it."""

    def pause_reading(self) -> None:
        """Stop reading from the upstream."""

    def resume_reading(self) -> None:
        """Continue reading from the upstream."""

    def abort(self) -> None:
        """Discard the rest, which nobody wants."""


class TunnelSource(BodySource, Protocol):
    """What a tunnel asks of its connection."""

    transport: Any

    def close_tunnel(self) -> None:
        """Send what is written, then close."""


class Connection(BodySource, Protocol):
    """A connection, as the agent and its pool know it."""

    key: Key
    payer: str
    """Who pays for the latest request, by `credential_id`; empty if nobody said."""
    is_last: bool
    """The request in hand is the last one of this connection."""
    was_warm: bool
    """It waited for its first request."""
    idle_since: float
    """Set by the pool; monotonic seconds."""
    transport: Any

    def send(
        self,
        head: bytes,
        body: IBodyProducer | None,
        is_head: bool,
        upgrade: bool,
        started: float,
        now: float,
    ) -> Deferred[Any]:
        """Send one request; the Deferred brings the response, or fails with an UpstreamError."""
        ...

    def go_on(self) -> None:
        """Read on after a rest."""

    def sweep(self, now: float) -> None:
        """Look at the deadlines."""


class ConnectionOwner(Protocol):
    """What a connection reports to the agent."""

    def adopt(self, transport: Any) -> None:
        """Note that TCP is connected: the owner may serve the transport's socket."""

    def connection_ready(self, connection: Connection) -> None:
        """Note that a request may be sent: it is connected, and with TLS the peer is verified."""

    def work_clock(self) -> float:
        """Return the seconds that this thread has worked."""

    def rest(self, connection: Connection, worked_s: float) -> None:
        """Call `go_on` of a connection whose last read took long, after others have had their turn."""

    def connection_free(self, connection: Connection) -> None:
        """Note that the connection may be pooled: its answer was read whole, and it has no request."""

    def connection_stale(self, connection: Connection) -> None:
        """Note that a pooled connection was dead when it was used, so others that were idle as long may be dead too."""

    def connection_aborted(self, connection: Connection) -> None:
        """Note that it is being aborted, which takes a turn of the reactor: no request may get it any more."""

    def connection_closed(self, connection: Connection, reason: Failure) -> None:
        """Note that it is lost, in whatever state it was."""
