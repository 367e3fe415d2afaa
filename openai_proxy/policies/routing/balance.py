"""Choose one of several upstreams of the same priority: by session, by load or by weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .sessions import first_of, ranked, seed_of
from .table import Upstream, by_weight

SPILL_LEAST = 4
"""The number of requests in flight below which no upstream is skipped."""
SPILL_SHARE = 1.25
"""How much more than its share of what is in flight an upstream may have before sessions skip it."""


class Balance:
    """Picks an upstream; returns the reason in one word.

    `in_flight` are the running requests by name. With `least_busy` two are
    drawn by weight, and the one with fewer in flight for its weight serves.
    """

    def __init__(
        self,
        in_flight: Mapping[str, int],
        draw: Callable[[], float],
        least_busy: bool = False,
    ) -> None:
        self._in_flight = in_flight
        self._draw = draw
        self._least_busy = least_busy
        self._seeds = {name: seed_of(name) for name in in_flight}

    def pick(self, best: Sequence[Upstream], session: int | None) -> tuple[Upstream, str]:
        """Return one of `best`, which is not empty, and the reason: `only`, `cache`, `spill`, `busy` or `weight`."""
        if len(best) == 1:
            return best[0], "only"
        if session is not None:
            return self._by_session(best, session)
        if self._least_busy:
            return self._by_load(best), "busy"
        return by_weight(best, self._draw()), "weight"

    def _by_session(self, best: Sequence[Upstream], session: int) -> tuple[Upstream, str]:
        first = first_of(session, best, self._seeds)
        if self._in_flight[first.name] >= SPILL_LEAST:
            running = sum(self._in_flight[each.name] for each in best)
            weights = sum(each.weight for each in best)
            for each in ranked(session, best, self._seeds):
                own = self._in_flight[each.name]
                if own < SPILL_LEAST or own <= SPILL_SHARE * running * each.weight / weights:
                    return each, "cache" if each is first else "spill"
        return first, "cache"

    def _by_load(self, best: Sequence[Upstream]) -> Upstream:
        first, second = by_weight(best, self._draw()), by_weight(best, self._draw())
        busy = self._in_flight
        return second if busy[second.name] / second.weight < busy[first.name] / first.weight else first
