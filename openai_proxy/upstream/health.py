"""Whether an upstream can be reached: a TCP and TLS connect, never a call."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

CACHED_S = 10.0


class Reachability:
    """The last answer to "can it be reached", asked again after CACHED_S.

    Askers that come while a probe runs share it.
    """

    def __init__(self, url: str, probe: Callable[[str], Deferred[None]], clock: Callable[[], float]) -> None:
        self.url = url
        self._probe = probe
        self._clock = clock
        self._reachable: bool | None = None
        self._checked_at = 0.0
        self._askers: list[Deferred[bool]] | None = None

    def ask(self) -> Deferred[bool]:
        """Fire with True or False; never fails."""
        if self._reachable is not None and self._clock() - self._checked_at < CACHED_S:
            return succeed(self._reachable)
        asker: Deferred[bool] = Deferred()
        if self._askers is not None:
            self._askers.append(asker)
            return asker
        self._askers = [asker]
        self._probe(self.url).addCallbacks(self._tell, self._unreachable)
        return asker

    @property
    def checked_s_ago(self) -> float:
        return self._clock() - self._checked_at

    def _unreachable(self, _: Failure) -> None:
        self._answer(False)

    def _tell(self, _: None) -> None:
        self._answer(True)

    def _answer(self, reachable: bool) -> None:
        self._reachable = reachable
        self._checked_at = self._clock()
        askers, self._askers = self._askers or [], None
        for asker in askers:
            asker.callback(reachable)
