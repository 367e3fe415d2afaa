"""A warning when an upstream refuses the key that is configured for it.

Clients see a 401 that looks like their own fault, while whoever runs the
proxy is the only one who can mend it.
"""

from __future__ import annotations

from collections.abc import Collection

from ..exchange.record import Exchange
from ..logs import logger

log = logger(__name__)

AGAIN_S = 3600.0
"""How long one warning of an upstream suffices."""


class RefusedKeys:
    """Notes each exchange that ended with an upstream's 401, or met one; warns once an hour for each upstream.

    `configured` are the names of the upstreams that get a key of the
    configuration; everywhere else the client's own key was refused.
    """

    def __init__(self, configured: Collection[str]) -> None:
        self._configured = frozenset(configured)
        self._warned_at: dict[str, float] = {}

    def note(self, exchange: Exchange) -> None:
        """Warn if an upstream refused a configured key in this exchange, which has ended."""
        refused = exchange.refused_keys
        if exchange.status != 401 and not refused:
            return
        if not refused and exchange.error_code is None and exchange.attempts and exchange.upstream:
            refused = (exchange.upstream,)
        for name in self._configured.intersection(refused):
            last = self._warned_at.get(name)
            if last is not None and exchange.started - last < AGAIN_S:
                continue
            self._warned_at[name] = exchange.started
            log.warn(
                "upstream {name} refuses the key that is configured for it (401, a request of {key}):"
                " clients see that 401 as if their own key was wrong",
                name=name,
                key=exchange.key or "a client",
            )
