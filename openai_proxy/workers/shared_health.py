"""Share the health of upstreams among workers: open circuits, and keys that rest."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from ..policies.routing.health import UpstreamHealth
from ..policies.routing.health_news import KeyNews, News
from .link import Link
from .messages import HEALTH

MOST_NEWS = 1000
"""The number of news kept for workers that start later: clients choose the models that circuits are for."""


class SharedHealth:
    """The worker's side; `clock` gives monotonic seconds, which are the same in all processes of a machine."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._joined: WeakSet[UpstreamHealth] = WeakSet()
        """One for each configuration in use."""

    def join(self, health: UpstreamHealth) -> None:
        """Send the others what `health` finds out, and apply what they find out to `health`."""
        self._joined.add(health)
        health.publish = self._publish

    def _publish(self, news: News) -> None:
        self._link.send_now(HEALTH, news)

    def apply(self, news: News) -> None:
        """Apply news from another worker."""
        for health in self._joined:
            health.apply(news, self._clock())


class HealthServer:
    """The supervisor's side: news that are still valid, for workers that start later.

    `clock` gives monotonic seconds. It keeps at most `MOST_NEWS`; the oldest
    are dropped first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._news: dict[tuple[object, ...], News] = {}

    def note(self, news: News) -> None:
        """Note that a circuit has opened or closed, or that a key rests or is accepted again."""
        if isinstance(news, KeyNews):
            name: tuple[object, ...] = (news.upstream, news.key)
            holds = news.until is not None
        else:
            name = (news.upstream, news.model, news.is_of_connections)
            holds = news.opened
        self._news.pop(name, None)
        if not holds:
            return
        if len(self._news) >= MOST_NEWS:
            del self._news[next(iter(self._news))]
        self._news[name] = news

    def send_all(self, link: Link) -> None:
        """Send the news to a worker that is starting, before it serves."""
        now = self._clock()
        for news in self._news.values():
            if not (isinstance(news, KeyNews) and news.until is not None and news.until <= now):
                link.send(HEALTH, news)

    def forget(self) -> None:
        """Forget all news, because each worker starts from scratch with a new configuration."""
        self._news.clear()
