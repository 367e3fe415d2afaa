"""The connections that the descriptors of one process suffice for, as limits of its sites."""

from __future__ import annotations

from typing import Any

from ..downstream.site import ProxySite
from ..logs import logger
from ..net.descriptors import Capacity, capacity, open_now, usable
from ..settings import Settings
from ..upstream.agent import UpstreamAgent

log = logger("openai_proxy")

ADMIN_CONNECTIONS = 16
"""The number of connections to `admin.port` that are served at once if descriptors are few."""
ADMIN_REFUSALS = 4
"""The number of further connections that receive a refusal at a time."""


class ConnectionLimits:
    """Limits the connections of a process's sites, and those to upstreams; owned by `Serving`."""

    def __init__(self, reactor: Any, site: ProxySite, admin_site: ProxySite | None) -> None:
        self._reactor = reactor
        self._site, self._admin_site = site, admin_site
        self._in_use = 0
        """The number of descriptors that are open before the first client comes."""

    def note_start(self) -> None:
        """Count the descriptors that are open now, before the first client comes."""
        self._in_use = open_now()

    def capacity(self, settings: Settings) -> Capacity:
        """Return the capacity that the descriptors of this process suffice for."""
        in_use = (self._in_use or open_now()) + self._admin_sockets(settings)
        logs = settings.storage.type is not None or any("exchange-log" in each for each in settings.observers)
        return capacity(usable(self._reactor), in_use, settings.limits.connections, exchange_log=logs)

    def _admin_sockets(self, settings: Settings) -> int:
        """Return the number of connections to `admin.port` that may be open: few if descriptors are few."""
        if self._admin_site is None:
            return 0
        wanted = settings.limits.connections
        plenty = usable(self._reactor) > 8 * wanted + 1000
        return (wanted if plenty else min(wanted, ADMIN_CONNECTIONS)) + ADMIN_REFUSALS

    def apply(self, settings: Settings, agent: UpstreamAgent) -> None:
        """Limit the connections to those that there are descriptors for."""
        fits = self.capacity(settings)
        self._site.max_connections, self._site.max_sockets = fits.connections, fits.sockets
        if self._admin_site is not None:
            self._admin_site.max_sockets = self._admin_sockets(settings)
            self._admin_site.max_connections = self._admin_site.max_sockets - ADMIN_REFUSALS
        agent.max_open = fits.upstream


def log_capacity(fits: Capacity, wanted: int, processes: int = 1) -> None:
    """Log in one line that fewer connections are served than `limits.connections`; nothing if all fit."""
    if fits.connections * processes < wanted:
        log.warn(
            "warning: the system allows {limit} open files for a process: at most {connections} client connections "
            "are served at once, not limits.connections = {wanted} (raise LimitNOFILE= or ulimit -Hn)",
            limit=fits.limit,
            connections=fits.connections * processes,
            wanted=wanted,
        )
