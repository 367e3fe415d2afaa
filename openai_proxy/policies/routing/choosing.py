"""Decide the first upstream for a request, and the next ones: by health, then by balance."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...exchange.errors import NoUpstreamAvailable
from .attempt import Task
from .balance import Balance
from .health import UpstreamHealth
from .table import Upstream, best_of, first_choice


class Choosing:
    """Chooses upstreams, and returns the reason in one word. `clock` gives monotonic seconds."""

    def __init__(self, health: UpstreamHealth, balance: Balance, clock: Callable[[], float]) -> None:
        self._health = health
        self._balance = balance
        self._clock = clock

    def first(self, task: Task, failed: Collection[str]) -> tuple[Upstream, str]:
        """Return the first upstream to ask: the best of those that failed least often in this exchange.

        An upstream that does not have the model has failed less often only
        because it was no substitute: those that have the model take turns
        without it.
        """
        candidates = task.candidates
        if not failed:  # nearly always, and then the first is nearly always healthy
            first = first_choice(candidates, task.names_model)
            if first is not None and self.usable(task, first):
                return first, "only"
        else:
            times = [*failed]
            candidates = tuple(each for each in candidates if self._may_have_model(task, each)) or candidates
            least = min(times.count(upstream.name) for upstream in candidates)
            candidates = tuple(each for each in candidates if times.count(each.name) == least)
        for suits in (self.usable, self._promising, self._may_have_model, lambda task, upstream: True):
            chosen = self._choose_where(task, candidates, suits)
            if chosen is not None:
                return chosen
        raise NoUpstreamAvailable

    def another(self, task: Task, failed: Collection[str], after_no_substitute: bool) -> Upstream | None:
        """Return an upstream that has not been asked yet and may do better, None if there is none.

        After one that was no substitute, the upstreams that it stood in for are
        asked whatever their state is.
        """
        candidates = tuple(each for each in task.candidates if each.name not in failed)
        if not candidates:
            return None
        for suits in (
            self.usable,
            self._promising,
            *((self._may_have_model,) if after_no_substitute else ()),
        ):
            chosen = self._choose_where(task, candidates, suits)
            if chosen is not None:
                return chosen[0]
        return None

    def usable(self, task: Task, upstream: Upstream) -> bool:
        """Return whether a request should go there now."""
        return self._health.usable(upstream, task.model, task.key_for(upstream), self._clock())

    def _choose_where(
        self, task: Task, candidates: tuple[Upstream, ...], suits: Callable[[Task, Upstream], bool]
    ) -> tuple[Upstream, str] | None:
        best = best_of(candidates, lambda upstream: suits(task, upstream))
        if not best:
            return None
        return self._balance.pick(best, task.session) if task.names_model else (best[0], "only")

    def _promising(self, task: Task, upstream: Upstream) -> bool:
        """Return whether its circuit is open although nothing says that it cannot answer."""
        key_rested = self._health.key_rested(upstream, task.key_for(upstream), self._clock())
        return key_rested and self._health.reached(upstream) and self._may_have_model(task, upstream)

    def _may_have_model(self, task: Task, upstream: Upstream) -> bool:
        """Return whether it has not said that it does not have the model."""
        return not self._health.lacks(upstream, task.model, self._clock())
