"""What follows when a client's time is up.

The site's sweeper calls this for connections whose deadline has passed. Which
time that is stands in `client_clocks.py`; what the kernel knows is asked here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from ..exchange.errors import RequestTimeout, ShuttingDown
from ..net.sockets import cut, has_unread, is_gone, untaken_bytes
from .client_clocks import BETWEEN_REQUESTS, BODY, BODY_LATE, HEAD, LINGER, UNREAD, UPLOADING
from .closing import close
from .contract import Connection

_Connection = TypeVar("_Connection", bound=Connection)


def due(connections: Iterable[_Connection], now: float) -> list[_Connection]:
    """Return the connections to look at; one that is not read always, or nobody would hear that it is gone."""
    return [
        each
        for each in connections
        if each.clocks.deadline <= now or each.clocks.stall_check <= now or each.reading_paused
    ]


def sweep(connection: Connection, now: float) -> None:
    """Look at a connection that is due."""
    clocks, transport = connection.clocks, connection.transport
    # A half-close counts as leaving, as it does while we read; in a tunnel what came before it goes first.
    if connection.reading_paused and is_gone(transport, half_close=connection.tunnel is None):
        cut(transport)
        return
    if clocks.stall_check <= now and clocks.is_stalled(untaken_bytes(transport), now):
        cut(transport)
    if clocks.deadline > now:
        return
    state = clocks.state
    if state is BODY:
        _look_at_body(connection, now)
    elif state is LINGER:
        cut(transport)
    elif state in BETWEEN_REQUESTS:
        _look_at_head(connection, now)


def _look_at_head(connection: Connection, now: float) -> None:
    """End a connection whose time for a request, or for the rest of its head, is up."""
    if has_unread(connection.transport):
        # A request has arrived, and our close would take it away; or the rest has, and it is we who are late.
        connection.clocks.move(UNREAD, now)
    elif connection.clocks.state is HEAD and connection.reader.has_begun:
        connection.stop_reading(ShuttingDown() if connection.site.draining else RequestTimeout())
    else:
        close(connection)


def _look_at_body(connection: Connection, now: float) -> None:
    """Judge the pace of the body that arrives."""
    clocks, current = connection.clocks, connection.current
    clocks.move(UPLOADING, now)
    if current is None or clocks.rate is None:
        return
    body = current.incoming.body
    slow = clocks.rate.is_too_slow(body.received, connection.holds_client_back, now, body.kept)
    # If bytes wait to be read, the process did not run for a while, and the client is not slow.
    if slow and not has_unread(connection.transport):
        clocks.move(BODY_LATE, now)
        connection.stop_reading(RequestTimeout())
