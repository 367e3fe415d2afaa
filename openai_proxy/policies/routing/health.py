"""The health of several upstreams, their models and their keys, as their answers have shown it.

Pure: times are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import define, field

from ...exchange.bounded_memo import BoundedMemo
from ...exchange.upstream_errors import UpstreamError
from .circuit_breaker import CircuitBreaker
from .cooled_keys import CooledKeys
from .health_news import Change, KeyNews, News
from .table import Upstream

MOST_MODELS = 1000
LONGEST_MODEL = 256
"""Longer names of models are cut to this number of characters."""
LACKING_S = 60.0
"""How long an upstream that does not have a model is no substitute for one that does."""
SEVERAL = 2
"""If this number of models fails within `SEVERAL_S`, the whole upstream counts as failing."""
SEVERAL_S = 10.0
_NEUTRAL = frozenset((401, 403, 408, 409, 429))
"""Statuses that say nothing about a model."""


def _nobody(news: News) -> None:
    """Ignore a change."""


@define(eq=False)
class _State:
    """The state of one upstream.

    `reached` is False while connections to it fail: then the circuit
    `connecting` is open. `suspected`: the last connection failed.
    """

    connecting: CircuitBreaker = field(factory=lambda: CircuitBreaker(least=3, share=0.5))
    """Connections and TLS handshakes."""
    answering: CircuitBreaker = field(factory=lambda: CircuitBreaker(least=6, share=0.75))
    """Failures of several models with 503 or a time-out."""
    reached: bool = True
    suspected: bool = False
    failing: dict[str, float] = field(factory=dict)
    """Models that failed with 503 or a time-out, and when they did last; at most a handful."""

    @property
    def breakers(self) -> tuple[CircuitBreaker, CircuitBreaker]:
        return self.connecting, self.answering

    @property
    def closed(self) -> bool:
        return self.connecting.closed and self.answering.closed

    def several_fail(self, model: str, now: float) -> bool:
        """Note that `model` fails; return whether other models fail too."""
        self.failing.pop(model, None)
        while len(self.failing) >= SEVERAL:
            del self.failing[next(iter(self.failing))]
        self.failing[model] = now
        return sum(at > now - SEVERAL_S for at in self.failing.values()) >= SEVERAL


class UpstreamHealth:
    """A circuit for each (upstream, model), one for each upstream, and the keys that rest.

    A failed status opens the circuit of its model. The whole upstream is out
    only if connections to it fail, or if several models fail at once with 503
    or a time-out. `model` is any short name for what is requested. The routing
    stage reports requests, the prober reports probes; `changed` is called for
    each circuit that opens or closes. At most `MOST_MODELS` models are
    remembered. `publish` passes what this process finds out to the other processes
    of the daemon; `apply` applies what they found out.
    """

    def __init__(self, upstreams: Iterable[Upstream], changed: Callable[[Change], None] = _nobody) -> None:
        self._states = {upstream.name: _State() for upstream in upstreams}
        self._models: dict[tuple[str, str], CircuitBreaker] = {}
        self._lacking: BoundedMemo[tuple[str, str], float] = BoundedMemo(MOST_MODELS)
        self._keys = CooledKeys()
        self._noted = changed
        self.publish: Callable[[News], object] = _nobody

    def _changed(self, change: Change) -> None:
        self._noted(change)
        self.publish(change)

    # ---- questions before a request

    def usable(self, upstream: Upstream, model: str, key: bytes, now: float) -> bool:
        """Return whether a request for `model` with `key` should go to `upstream` now."""
        name = upstream.name
        state = self._states[name]
        if not state.reached or not (state.connecting.allows(now) and state.answering.allows(now)):
            return False
        breaker = self._models.get((name, model))
        if breaker is not None and not breaker.allows(now):
            return False
        if self._lacking and self.lacks(upstream, model, now):
            return False
        return self._keys.rested((name, key), now)

    def reached(self, upstream: Upstream) -> bool:
        """Return whether connections to `upstream` are not failing."""
        return self._states[upstream.name].reached

    def key_rested(self, upstream: Upstream, key: bytes, now: float) -> bool:
        """Return whether `upstream` accepts requests with `key`, as far as it has said."""
        return self._keys.rested((upstream.name, key), now)

    def lacks(self, upstream: Upstream, model: str, now: float) -> bool:
        """Return whether `upstream` said a moment ago that it does not have `model`."""
        return self._lacking.get((upstream.name, model), 0.0) > now

    def usable_in_s(self, upstream: Upstream, model: str, key: bytes, now: float) -> float:
        """Return how long it may take until `upstream` is usable again; 0.0 if that cannot be predicted."""
        state = self._states[upstream.name]
        until = [each.open_until for each in state.breakers]
        breaker = self._models.get((upstream.name, model))
        if breaker is not None:
            until.append(breaker.open_until)
        until.append(self._lacking.get((upstream.name, model), 0.0))
        until.append(self._keys.until((upstream.name, key)))
        return max(0.0, max(until) - now)

    # ---- reports of requests

    def begin(self, upstream: Upstream, model: str, key: bytes, now: float) -> None:
        """Note that a request is sent to `upstream`."""
        state = self._states[upstream.name]
        if not state.closed:
            for each in state.breakers:
                each.begin(now)
        breaker = self._models.get((upstream.name, model))
        if breaker is not None and not breaker.closed:
            breaker.begin(now)
        self._keys.begin((upstream.name, key), now)

    def failed(self, upstream: Upstream, model: str, error: UpstreamError, began: float, now: float) -> bool:
        """Note a request that got no answer; return whether the upstream should be probed.

        A stale connection says nothing about an upstream. Call it once for
        each exchange and upstream.
        """
        if error.sent == "stale":
            return False
        state = self._states[upstream.name]
        if error.sent == "no":
            state.suspected = True
            if state.connecting.fail(now, began, error.kind):
                reason = _no_connections(error.message)
                self._changed(Change(upstream.name, None, True, reason, is_of_connections=True))
            return True
        self._connected(upstream.name, state, began, now)
        self._model_failed(upstream, model, error.kind, began, now)
        self._maybe_several(upstream.name, state, model, error.kind, began, now)
        return not state.closed

    def broken(self, upstream: Upstream, model: str, reason: str, began: float, now: float) -> None:
        """Note an answer that is a failure: a status from 500 on (as text), or the code of an error sent with status 200."""
        state = self._states[upstream.name]
        self._connected(upstream.name, state, began, now)
        self._model_failed(upstream, model, reason, began, now)
        if reason == "503":
            self._maybe_several(upstream.name, state, model, reason, began, now)
        else:
            self._answered(upstream.name, state, began, now)

    def limited(
        self, upstream: Upstream, key: bytes, spent: bool, asked_s: float | None, began: float, now: float
    ) -> None:
        """Note a 429: whether the quota is `spent`, else the wait it asks for (None if it does not say)."""
        self._alive(upstream.name, began, now)
        until = self._keys.limit((upstream.name, key), spent, asked_s, now)
        if until is not None:
            self.publish(KeyNews(upstream.name, key, spent, until))

    def answered(
        self, upstream: Upstream, model: str, key: bytes, status: int, began: float, now: float
    ) -> None:
        """Note any other answer, of a status below 500."""
        self._alive(upstream.name, began, now)
        if self._keys.answer((upstream.name, key)):
            self.publish(KeyNews(upstream.name, key, spent=False, until=None))
        breaker = self._models.get((upstream.name, model))
        if breaker is None:
            if status >= 300:
                return  # anybody can make up names
            breaker = self._breaker(upstream.name, model)
        if status not in _NEUTRAL and breaker.succeed(now, began):
            self._changed(Change(upstream.name, model, False, "it answers again"))

    def unknown_model(self, upstream: Upstream, model: str, now: float) -> None:
        """Note that `upstream`, asked in place of another one, does not have `model`."""
        self._lacking.remember((upstream.name, model), now + LACKING_S, len(model))

    # ---- reports of probes

    def wants_probe(self, upstream: Upstream) -> bool:
        """Return whether the result of a connection to `upstream` would change anything."""
        state = self._states[upstream.name]
        return state.suspected or not state.closed

    def probed(self, upstream: Upstream, reached: bool, now: float, reason: str = "") -> None:
        """Note whether `upstream` accepted a connection, and why not; does nothing while all is well.

        If a request could not connect and a probe cannot either, that is proof.
        A probe that connects allows a trial at once. How a trial is judged, and
        for how long its failure counts, stays the same, because an upstream
        that only accepts connections may still fail.
        """
        state = self._states[upstream.name]
        if reached:
            state.suspected = False
            if not state.reached:
                state.reached = True
                for each in state.breakers:
                    each.may_try_now(now)
            return
        if not self.wants_probe(upstream):
            return
        state.reached = False
        if state.connecting.closed:
            state.connecting.open(now, "connect")
            self._changed(Change(upstream.name, None, True, _no_connections(reason), is_of_connections=True))

    # ---- reports from other processes

    def apply(self, news: News, now: float) -> None:
        """Apply what another process has found out. A circuit that opened there is tried here as if it had opened here."""
        state = self._states.get(news.upstream)
        if state is None:  # its settings are older or newer than ours
            return
        if isinstance(news, KeyNews):
            self._keys.apply((news.upstream, news.key), news.spent, news.until)
            return
        if news.model is not None:
            breaker = self._breaker(news.upstream, news.model)
        else:
            breaker = state.connecting if news.is_of_connections else state.answering
        if not news.opened:
            breaker.close()
        elif breaker.closed:
            breaker.open(now, news.reason)
        if news.is_of_connections and not news.opened:
            state.reached, state.suspected = True, False

    # ---- what others are told

    def open_circuits(self) -> Iterator[tuple[str, str | None]]:
        """Yield upstream and model (None: the whole upstream) of each circuit that is open or half-open."""
        yield from ((name, None) for name, state in self._states.items() if not state.closed)
        yield from (entry for entry, breaker in self._models.items() if not breaker.closed)

    def describe(self, now: float) -> list[dict[str, Any]]:
        """Return name, state (`closed`, `open`, `half-open`), reachability and number of cooled keys of each.

        `reachable` is False while connections fail: then probes decide.
        `models` are those whose circuit is not closed.
        """
        sick = list(self.open_circuits())
        return [
            {
                "name": name,
                "state": _state_name(state, now),
                "reachable": state.reached,
                "cooled_keys": self._keys.count(name, now),
                "models": [model for upstream, model in sick if upstream == name and model],
            }
            for name, state in self._states.items()
        ]

    # ---- internal

    def _alive(self, name: str, began: float, now: float) -> None:
        state = self._states[name]
        self._connected(name, state, began, now)
        self._answered(name, state, began, now)

    def _connected(self, name: str, state: _State, began: float, now: float) -> None:
        closes = state.connecting.succeed(now, began)
        if state.connecting.closed:
            state.reached, state.suspected = True, False
        if closes:
            self._changed(Change(name, None, False, "it takes connections again", is_of_connections=True))

    def _answered(self, name: str, state: _State, began: float, now: float) -> None:
        if state.answering.succeed(now, began):
            self._changed(Change(name, None, False, "it answers again"))

    def _maybe_several(
        self, name: str, state: _State, model: str, reason: str, began: float, now: float
    ) -> None:
        several = state.several_fail(model, now)
        if state.answering.fail(now, began, reason, may_open=several):
            self._changed(Change(name, None, True, f"{reason} for several models"))

    def _model_failed(self, upstream: Upstream, model: str, reason: str, began: float, now: float) -> None:
        if self._breaker(upstream.name, model).fail(now, began, reason):
            self._changed(Change(upstream.name, model, True, reason))

    def _breaker(self, name: str, model: str) -> CircuitBreaker:
        breaker = self._models.get((name, model))
        if breaker is None:
            if len(self._models) >= MOST_MODELS:
                self._models = {entry: each for entry, each in self._models.items() if not each.closed}
                if len(self._models) >= MOST_MODELS:
                    self._models.clear()
            breaker = self._models[name, model] = CircuitBreaker()
        return breaker


def _no_connections(reason: str) -> str:
    return f"it takes no connections ({reason})" if reason else "it takes no connections"


def _state_name(state: _State, now: float) -> str:
    if state.closed and state.reached:
        return "closed"
    trial = state.reached and all(each.allows(now) for each in state.breakers)
    return "half-open" if trial else "open"
