"""What the metrics show of the configuration: when it was loaded, whether the last reload worked, its certificates."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..net.certificate_dates import ends_of
from ..observe.interfaces import Observer
from ..observe.metrics.daemon_state import DaemonState
from ..settings import Settings


class LoadedConfiguration:
    """The outcome of the last load of the configuration. Owned by `Serving`."""

    def __init__(self, settings: Settings) -> None:
        self.note(settings, worked=True)

    def note(self, settings: Settings, *, worked: bool) -> None:
        """Note that a reload has ended with these settings in use; `worked` is False if it was refused."""
        self._worked = worked
        if worked:
            self._loaded_at = time.time()
            self._certificates = ends_of(settings.ports)

    def state(self, observers: Iterable[Observer], redis_up: bool | None) -> DaemonState:
        """Return the daemon's own state for the metrics."""
        observers = list(observers)
        spools = [bytes for each in observers if (bytes := getattr(each, "spool_bytes", None)) is not None]
        return DaemonState(
            reload_worked=self._worked,
            loaded_at=self._loaded_at,
            redis_up=redis_up,
            lost_lines=sum(each.failures.lost_lines for each in observers if hasattr(each, "failures")),
            spool_bytes=sum(spools) if spools else None,
            certificates=self._certificates,
        )
