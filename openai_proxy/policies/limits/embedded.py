"""Limits of one process, in its memory."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from attrs import define

from .rules import Levels, Limits, maybe_refusal
from .store import Admission
from .token_bucket import TokenBucket


@define(slots=True, eq=False)
class _KeyState:
    """The buckets and running requests of one key; owned by its store."""

    limits: Limits
    requests: TokenBucket | None
    model_tokens: TokenBucket | None
    running: int = 0

    def idle(self, now: float) -> bool:
        """Say whether a fresh state would be the same."""
        return self.running == 0 and all(
            bucket is None or bucket.refill(now) >= bucket.capacity
            for bucket in (self.requests, self.model_tokens)
        )

    @property
    def in_debt(self) -> bool:
        """Whether it may take long until this is idle: the last refill left the level below zero."""
        return self.model_tokens is not None and self.model_tokens.level < 0

    def levels(self, now: float) -> Levels:
        requests, model_tokens = self.requests, self.model_tokens
        return Levels(
            inf if requests is None else requests.refill(now),
            inf if model_tokens is None else model_tokens.refill(now),
            self.running,
        )

    def charge(self, reserved: float) -> None:
        """Charge a request that was admitted at the present levels, which suffice."""
        if self.requests is not None:
            self.requests.level -= 1.0
        if self.model_tokens is not None:
            self.model_tokens.level -= reserved
        self.running += 1


def _resized(bucket: TokenBucket | None, limit_per_minute: int | None) -> TokenBucket | None:
    if limit_per_minute is None:
        return None
    if bucket is None:
        return TokenBucket.per_minute(limit_per_minute)
    if bucket.capacity != limit_per_minute:
        bucket.resize(limit_per_minute)
    return bucket


class EmbeddedStore:
    """Buckets in a dict, the longest unused first.

    Every admission drops up to two keys whose state equals a fresh one, so that
    memory follows the keys of the last minute or so. Above `max_keys`, the keys
    that were unused longest and have no running requests are dropped whatever
    their level. `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], max_keys: int = 100_000) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._states: dict[str, _KeyState] = {}

    def __len__(self) -> int:
        return len(self._states)

    async def admit(self, key: str, limits: Limits, model_tokens: float, slot: str) -> Admission:
        return self.decide(key, limits, model_tokens, slot)

    def decide(self, key: str, limits: Limits, model_tokens: float, slot: str = "") -> Admission:
        now = self._clock()
        state = self._state(key, limits)
        reserved = limits.reservation(model_tokens)
        levels = state.levels(now)
        admitted = maybe_refusal(limits, levels, reserved) is None
        if admitted:
            state.charge(reserved)
        if len(self._states) > 1 or not state.running:
            self._tidy(now)
        return Admission(key, limits, admitted, levels, reserved, slot)

    def finish(self, admission: Admission, model_tokens: float) -> None:
        state = self._states.get(admission.key)
        if state is None:
            self.settle(admission, model_tokens)
            return
        if state.running:
            state.running -= 1
        difference = model_tokens - admission.reserved
        if (
            difference
            and state.model_tokens is not None
            and admission.limits.model_tokens_per_minute is not None
        ):
            state.model_tokens.settle(difference, self._clock())

    def cancel(self, admission: Admission) -> None:
        self.finish(admission, 0.0)
        state = self._states.get(admission.key)
        if state is not None and state.requests is not None:
            state.requests.settle(-1.0, self._clock())

    def settle(self, admission: Admission, model_tokens: float) -> None:
        """Charge what was used beyond the reservation, or give back the rest."""
        difference = model_tokens - admission.reserved
        if difference and admission.limits.model_tokens_per_minute is not None:
            # do not call `_state(...)` if there is one: the limits may have changed since, and stay
            state = self._states.get(admission.key) or self._state(admission.key, admission.limits)
            bucket = state.model_tokens
            if bucket is not None:
                bucket.settle(difference, self._clock())

    def _state(self, key: str, limits: Limits) -> _KeyState:
        """Return the state of `key`, now the most recently used."""
        state = self._states.pop(key, None)
        if state is None:
            state = _KeyState(
                limits,
                _resized(None, limits.requests_per_minute),
                _resized(None, limits.model_tokens_per_minute),
            )
        elif state.limits is not limits:
            state.limits = limits
            state.requests = _resized(state.requests, limits.requests_per_minute)
            state.model_tokens = _resized(state.model_tokens, limits.model_tokens_per_minute)
        self._states[key] = state
        return state

    def _tidy(self, now: float) -> None:
        for _ in range(2):
            key, state = next(iter(self._states.items()))
            if state.idle(now) or (len(self._states) > self._max_keys and state.running == 0):
                del self._states[key]
                if not self._states:
                    return
            elif state.running or state.in_debt:
                self._states[key] = self._states.pop(key)  # examine others next time
            else:
                return
