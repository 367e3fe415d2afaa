"""The number of descriptors that this process may open, and the connections that they suffice for.

For Linux and macOS; on a system without that information, nothing is limited.
"""

from __future__ import annotations

import os
from typing import Any

from attrs import frozen

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

UNLIMITED = 1 << 30
RESERVE = 48
"""Descriptors that are neither a client's nor an upstream's connection: name look-ups (10), Redis, the state file,
log files, timers, links between workers, one for `accept`."""
EXCHANGE_LOG = 80
"""The files that an exchange log may hold open, including those for claims and deliveries."""
REFUSALS = 16
"""The number of connections beyond the limit that receive a 503 at a time."""
MOST_REFUSALS = 4096
_MAC_SOFT_LIMIT = 10240
"""OPEN_MAX of macOS: its kernel refuses a larger soft limit for an unlimited hard one."""
_SELECT_LIMIT = 1024
"""FD_SETSIZE: select() accepts no descriptor above."""


def raise_limit() -> None:
    """Raise the soft limit of descriptors to the hard one, as nginx, HAProxy and Go programs do. Never fails."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, _MAC_SOFT_LIMIT):
        if soft == hard or (
            soft != resource.RLIM_INFINITY and wanted != resource.RLIM_INFINITY and wanted <= soft
        ):
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        return


def usable(reactor: Any) -> int:
    """Return the number of descriptors that this process may have open under this reactor."""
    limit = UNLIMITED
    if resource is not None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = UNLIMITED if soft == resource.RLIM_INFINITY else min(soft, UNLIMITED)
    if type(reactor).__name__ == "SelectReactor":
        limit = min(limit, _SELECT_LIMIT)
    return limit


def open_now() -> int:
    """Return the number of descriptors that this process has open; 32 if the system does not say."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 32


@frozen
class Capacity:
    """The numbers of connections that the descriptors of a process suffice for."""

    connections: int
    """Client connections that are served; further ones get 503 `overloaded`."""
    sockets: int
    """Client connections that are open at once, including those that get the 503; more wait in the backlog."""
    upstream: int
    """Connections towards upstreams, idle ones included."""
    limit: int
    """The descriptors that the system allows."""


def capacity(limit: int, in_use: int, wanted: int, *, exchange_log: bool = False) -> Capacity:
    """Divide `limit` descriptors, of which `in_use` are taken, for `wanted` client connections.

    Each connection takes two (its own and its upstream's); the rest is a reserve.

    >>> capacity(1024, 20, 10_000).connections, capacity(65536, 20, 10_000).connections
    (470, 10000)
    """
    reserve = RESERVE + (EXCHANGE_LOG if exchange_log else 0)
    # if there is almost nothing to divide, a third of it serves clients
    free = max(limit - in_use - reserve - REFUSALS, (limit - in_use) // 3, 2)
    connections = min(wanted, free // 2)
    left = free - 2 * connections
    # the remainder is for refusals and idle upstream connections
    refusals = REFUSALS + min(left // 2, MOST_REFUSALS)
    return Capacity(connections, connections + refusals, connections + left // 2, limit)
