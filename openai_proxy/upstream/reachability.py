"""Whether an upstream can be reached: a TCP and TLS connect, never a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

CACHED_S = 10.0


class Reachability:
    """The last answer to "can any of them be reached", asked again after CACHED_S.

    `url` is the preferred upstream, `probes` connect to each of them, the
    preferred one first. `reason` says why that one could not be reached,
    None if it was. Askers that come while a probe runs share it.
    """

    def __init__(
        self, url: str, probes: Sequence[Callable[[], Deferred[None]]], clock: Callable[[], float]
    ) -> None:
        self.url = url
        self.reason: str | None = None
        self._probes = tuple(probes)
        self._clock = clock
        self._reachable: bool | None = None
        self._checked_at = 0.0
        self._askers: list[Deferred[bool]] | None = None

    @property
    def checked_s_ago(self) -> float:
        return self._clock() - self._checked_at

    def ask(self) -> Deferred[bool]:
        """Fire with True or False; never fails."""
        if self._reachable is not None and self.checked_s_ago < CACHED_S:
            return succeed(self._reachable)
        asker: Deferred[bool] = Deferred()
        if self._askers is not None:
            self._askers.append(asker)
            return asker
        self._askers = [asker]
        probes: Deferred[Any] = DeferredList([probe() for probe in self._probes], consumeErrors=True)
        probes.addCallback(self._tell)
        return asker

    def _tell(self, results: list[tuple[bool, Any]]) -> None:
        self._reachable = any(succeeded for succeeded, _ in results)
        self._checked_at = self._clock()
        preferred = results[0][1]
        self.reason = preferred.getErrorMessage() if isinstance(preferred, Failure) else None
        askers, self._askers = self._askers or [], None
        for asker in askers:
            asker.callback(self._reachable)
