"""What one worker finds out of an upstream, the others know too: open circuits, and keys that rest."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from ..policies.routing.health import News, UpstreamHealth
from .link import Link
from .talk import HEALTH


class SharedHealth:
    """A worker's end; `clock` gives monotonic seconds, which are the same in all processes of a machine.

    A worker that starts later knows nothing yet, and learns as the first one did.
    """

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._known: WeakSet[UpstreamHealth] = WeakSet()
        """One for each configuration in use."""

    def join(self, health: UpstreamHealth) -> None:
        """Tell the others what `health` finds out, and `health` what they do."""
        self._known.add(health)
        health.tell = self._tell

    def _tell(self, news: News) -> None:
        self._link.tell_at_once(HEALTH, news)

    def hear(self, news: News) -> None:
        """Another worker has found something out."""
        for health in self._known:
            health.hear(news, self._clock())
