"""How exchanges end. Pure."""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """How an exchange ended, as the logs and metrics spell it."""

    COMPLETE = "complete"
    """The whole response went to the client, whatever its status."""
    CLIENT_GONE = "client_gone"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    """The upstream left in the middle of a body."""
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    """Refused by this proxy: the request or its credentials were wrong."""
    REJOINED = "rejoined"
    """The whole response went to the client, from the call of an exchange whose client had left."""
    FINISHED_ALONE = "finished_alone"
    """The client left, and the whole response came without it."""
    LIMIT = "limit"
    """Refused by this proxy: a limit of the key or of the proxy was reached."""
    CANCELLED = "cancelled"
    """Stopped by the operator: charged like one whose client left."""
    WORKER_LOST = "worker_lost"
    """The process that ran it was killed or crashed; only the live view has this."""


ABANDONED = frozenset((Outcome.CLIENT_GONE, Outcome.CANCELLED))
"""Outcomes without a client at the end: the upstream's work is charged all the same."""
