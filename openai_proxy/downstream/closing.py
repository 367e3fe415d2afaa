"""How a client's connection ends: closed, half-closed after a refused upload, or reset."""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport

from ..net.sockets import cut, has_unread, untaken_bytes
from .client_clocks import (
    BETWEEN_REQUESTS,
    CLOSE,
    CLOSING,
    DRAIN,
    DROPPED,
    EARLY,
    ENDED,
    FLUSH,
    HEAD,
    LINGER,
    LOST,
    Event,
)
from .contract import Connection


def close(connection: Connection) -> None:
    """Close once everything written is taken; the sweeper resets it if that never is."""
    if connection.clocks.state in ENDED:
        return
    _say_nothing_more(connection, CLOSE)
    connection.transport.loseConnection()


def linger(connection: Connection) -> None:
    """Half-close, and discard what still comes for a while.

    A close with unread bytes would reset the connection and could take
    the answer away from a client that is still sending (RFC 9112 §9.6).
    """
    _say_nothing_more(connection, EARLY)
    if connection.site.draining:
        connection.clocks.move(DRAIN, connection.clock())
    connection.drop_unread()
    transport = connection.transport
    if ITCPTransport.providedBy(transport):
        transport.loseWriteConnection()


def drop(connection: Connection, size_bytes: int) -> None:
    """While it lingers: more has been read of what nobody wants."""
    clocks = connection.clocks
    if clocks.linger is None or clocks.linger.is_enough(size_bytes):
        cut(connection.transport)
    else:
        clocks.move(DROPPED, connection.clock())


def abort_when_flushed(connection: Connection) -> None:
    """Break off so that nobody takes it for an end: everything written, then a reset."""
    state = connection.clocks.state
    if state is LOST:
        return
    if state is not CLOSING:
        _say_nothing_more(connection, CLOSE)
    if untaken_bytes(connection.transport):
        connection.site.call_later(0.01, connection.abort_when_flushed)
    else:
        cut(connection.transport)


def close_if_idle(connection: Connection) -> None:
    """For the drain: close if no request has begun; what is still taken of an answer goes out.

    Half a head gets a second to become whole, and a refused upload to end: nobody waits for them longer.
    """
    if connection.current is not None:
        return
    clocks, reader = connection.clocks, connection.reader
    state = clocks.state
    if state is LINGER or (state is HEAD and reader.has_begun):
        clocks.move(DRAIN, connection.clock())
    elif state in BETWEEN_REQUESTS and has_unread(connection.transport):
        clocks.move(DRAIN, connection.clock())  # its answer will say `Connection: close`
    elif not reader.head_bytes and (state in BETWEEN_REQUESTS or state is FLUSH):
        close(connection)


def _say_nothing_more(connection: Connection, event: Event) -> None:
    """Write nothing from here on; what is written already has a time to be taken."""
    now = connection.clock()
    connection.clocks.move(event, now)
    connection.clocks.start_stall(untaken_bytes(connection.transport), now)
    connection.transport.unregisterProducer()
