"""Bounded label values: strangers choose model names, memory is ours.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ...exchange.record import Exchange
from ...wire.targets import USUAL_ENDPOINTS
from ..lines.record import shown

OTHER = "other"
NONE = "none"
LONGEST_LABEL = 200
MOST_ENDPOINTS = 200
"""Endpoints with a label of their own; the rest is `other`."""


def _no_names() -> Collection[str]:
    return ()


def _no_uses() -> Mapping[str, float]:
    return {}


class BoundedLabels:
    """Gives `limit` distinct values a label of their own; the rest is `other`.

    `configured` returns the names that always have one, even beyond
    `limit`. With `release`, a new value gets a label when all are taken,
    too, in place of the value that was used least: `uses` returns by label
    how often each was used, and `release` is called with the label that goes.
    """

    def __init__(
        self,
        limit: int = 200,
        *,
        configured: Callable[[], Collection[str]] = _no_names,
        uses: Callable[[], Mapping[str, float]] = _no_uses,
        release: Callable[[str], None] | None = None,
    ) -> None:
        self._limit = limit
        self._configured = configured
        self._uses = uses
        self._release = release
        self._labels: dict[str, str] = {}

    def label(self, value: str | None, *, admit: bool = True) -> str:
        """Return the label of `value`, `none` for None.

        With `admit=False` a new value gets no label of its own: requests
        that fail must not be able to use the labels up.
        """
        if not value:
            return NONE
        label = self._labels.get(value)
        if label is not None:
            return label
        if len(value) > LONGEST_LABEL:
            return OTHER
        configured = self._configured()
        if value not in configured:
            if not admit:
                return OTHER
            if len(self._labels) >= self._limit and not self._give_way(configured):
                return OTHER
        return self._labels.setdefault(value, shown(value))

    def _give_way(self, configured: Collection[str]) -> bool:
        """Take the label from the value that was used least; False if none may go."""
        if self._release is None:
            return False
        uses = self._uses()
        guests = [value for value in self._labels if value not in configured]
        if not guests:
            return False
        least = min(guests, key=lambda value: uses.get(self._labels[value], 0.0))
        self._release(self._labels.pop(least))
        return True

    def retain(self, labels: Collection[str]) -> None:
        """Forget every value whose label is not among `labels`."""
        self._labels = {value: label for value, label in self._labels.items() if label in labels}


def has_succeeded(exchange: Exchange) -> bool:
    """Whether the exchange shows that its model exists: the upstream answered with a 2xx, or opened a WebSocket."""
    status = exchange.status
    return status is not None and (200 <= status < 300 or status == 101)


class EndpointLabels:
    """Names of endpoints for metrics and spans: strangers can spell thousands that are none."""

    def __init__(self) -> None:
        self._labels = BoundedLabels(MOST_ENDPOINTS, configured=lambda: USUAL_ENDPOINTS)

    def of(self, exchange: Exchange) -> str:
        """Return the endpoint of an ended exchange, `other` if it is unusual and was never answered with a 2xx."""
        endpoint = exchange.endpoint
        return self._labels.label(endpoint, admit=has_succeeded(exchange)) if endpoint else OTHER
