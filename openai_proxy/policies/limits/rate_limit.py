"""Refuse requests above the limits of a client key.

Decides by what a store of limits says. Adds nothing to the answers of admitted
requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.task import deferLater

from ...exchange.errors import ConcurrencyLimitReached, RateLimited, RequestLimitReached, TokenLimitReached
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.outcome import ABANDONED, Outcome
from ...exchange.record import Exchange
from ...wire.headers import get
from ..usage.estimate import reserved_model_tokens
from ..usage.prompt_estimate import estimated_prompt
from .headers import refusal_headers
from .rules import GroupScope, Limits, Refusal, maybe_refusal
from .store import Admission, LimitStore
from .words import limit_words

_ERRORS: dict[str, type[RateLimited]] = {
    "requests": RequestLimitReached,
    "tokens": TokenLimitReached,
    "concurrent": ConcurrencyLimitReached,
}

POLL_S = 0.05
"""How often a waiting request looks for a free slot."""


class Timers(Protocol):
    """The part of IReactorTime that waiting needs."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any: ...


class RateLimit:
    """Charge each request to its key before it is forwarded; settle when its exchange ends.

    `limits` apply to everybody, `own` to single keys by `credential_id`
    (already merged with `limits`), `groups` to the groups that a key belongs
    to, each of which must have room as well. `max_wait_s` (default 0) is how
    long a request may wait instead of being refused. `clock` gives monotonic
    seconds. `estimate` returns the number of model tokens to reserve, from
    method, body, document, model and the estimate of the prompt.
    """

    def __init__(
        self,
        store: LimitStore,
        limits: Limits,
        own: Mapping[str, Limits],
        *,
        groups: Mapping[str, Sequence[GroupScope]] | None = None,
        timers: Timers,
        clock: Callable[[], float],
        max_wait_s: float = 0.0,
        estimate: Callable[
            [bytes, object, dict[str, Any] | None, str | None, int | None, str], int
        ] = reserved_model_tokens,
    ) -> None:
        self._store = store
        self._decide: Callable[[str, Limits, float], Admission] | None = getattr(store, "decide", None)
        """The store's `admit` without a wait, if it need not ask another machine (`EmbeddedStore`)."""
        # None if all limits are off: decided once here, not for each request
        self._limits = limits or None
        self._own = {key: its or None for key, its in own.items()}
        self._groups = dict(groups or {})
        self._timers = timers
        self._clock = clock
        self._max_wait_s = max_wait_s
        self._estimate = estimate

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        limits = self._own.get(exchange.credential_id, self._limits)
        if exchange.inspection is not None:  # each turn of that WebSocket counts by itself
            return await forward(request)
        groups = self._groups.get(exchange.credential_id)
        if groups is not None:
            return await self._through_groups(request, forward, limits, groups)
        if limits is None:
            return await forward(request)
        cost = self._cost(request) if limits.model_tokens_per_minute is not None else 0
        decide = self._decide
        admission = decide(exchange.credential_id, limits, cost) if decide is not None else None
        if admission is None or not admission.admitted:
            admission = await self._admit(exchange, limits, cost, admission)

        def finish(ended: Exchange) -> None:
            self._store.finish(admission, used_model_tokens(ended, admission.reserved))

        try:
            return await forward(request)
        finally:
            # registered after the inner stages registered theirs: what they do at the end,
            # completing the usage above all, comes before this reads it
            exchange.on_end(finish)

    def _cost(self, request: ProxyRequest) -> int:
        """Return the number of model tokens to reserve."""
        exchange = request.exchange
        prompt = estimated_prompt(request) if isinstance(request.body, bytes) else None
        return self._estimate(
            request.method, request.body, request.document, exchange.model, prompt, exchange.endpoint
        )

    async def _through_groups(
        self, request: ProxyRequest, forward: Forward, limits: Limits | None, groups: Sequence[GroupScope]
    ) -> ProxyResponse:
        """Charge the key and each of its groups, or none of them."""
        exchange = request.exchange
        scopes = _scopes(exchange, limits, groups)
        counts = any(each.limits.model_tokens_per_minute is not None for each in scopes)
        admissions = await self._admit_everywhere(exchange, scopes, self._cost(request) if counts else 0)

        def finish(ended: Exchange) -> None:
            for admission in admissions:
                self._store.finish(admission, used_model_tokens(ended, admission.reserved))

        try:
            return await forward(request)
        finally:
            exchange.on_end(finish)

    async def _admit_everywhere(
        self, exchange: Exchange, scopes: Sequence[_Scope], cost: int
    ) -> list[Admission]:
        """Return an admission for each scope; if one refuses, undo the others and raise."""
        taken: list[Admission] = []
        try:
            for scope in scopes:
                admission = await self._admit(exchange, scope.limits, cost, None, scope)
                taken.append(admission)
        except BaseException:  # also when the client left
            for admission in taken:
                self._store.cancel(admission)
            raise
        return taken

    async def count(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        """Charge a turn that the server of a WebSocket begins by itself: it cannot be refused any more."""
        exchange = request.exchange
        limits = self._own.get(exchange.credential_id, self._limits)
        admissions: list[Admission] = []

        def finish(ended: Exchange) -> None:
            for admission in admissions:
                used = used_model_tokens(ended, admission.reserved)
                (self._store.finish if admission.admitted else self._store.settle)(admission, used)

        try:
            for scope in _scopes(exchange, limits, self._groups.get(exchange.credential_id, ())):
                admissions.append(await self._store.admit(scope.key, scope.limits, 0, exchange.id))  # noqa: PERF401  # one by one: a cancel between two must find the first
            return await forward(request)
        finally:
            exchange.on_end(finish)

    def look_ahead(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        """Refuse early, before the body is requested, what would be refused anyway; charge nothing.

        A separate stage before those that read JSON bodies and look into forms,
        for clients that wait for `100 Continue`. With `max_wait_s` nothing is
        refused here: there may be room once the body has arrived.
        """
        arriving = request.body is not None and type(request.body) is not bytes
        if not arriving or self._max_wait_s or get(request.headers, b"expect") is None:
            return forward(request)
        return self._look_ahead(request, forward)

    async def _look_ahead(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        limits = self._own.get(exchange.credential_id, self._limits)
        for scope in _scopes(exchange, limits, self._groups.get(exchange.credential_id, ())):
            limits = scope.limits
            # A limit of no concurrent requests admits nobody, so this only reports the levels.
            nobody = evolve(limits, concurrent_requests=0)
            look = await self._store.admit(scope.key, nobody, 0.0, exchange.id)
            least = limits.reservation(1.0 if request.required else 0.0)
            refusal = maybe_refusal(limits, look.levels, least)
            if refusal is not None:
                raise _refused(exchange, limits, look, refusal, least, scope.group)
        return await forward(request)

    async def _admit(
        self,
        exchange: Exchange,
        limits: Limits,
        cost: int,
        admission: Admission | None,
        scope: _Scope | None = None,
    ) -> Admission:
        """Return an admission, or raise; `admission` is the store's decision, if it was made at once.

        `scope` is what is charged; None means the key itself.
        """
        key, group = (exchange.credential_id, None) if scope is None else (scope.key, scope.group)
        wait_until: float | None = None
        while True:
            if admission is None:
                admission = await self._store.admit(key, limits, cost, exchange.id)
            if admission.admitted:
                if wait_until is not None:
                    exchange.queued_s = self._clock() - (wait_until - self._max_wait_s)
                return admission
            refusal = maybe_refusal(limits, admission.levels, admission.reserved)
            assert refusal is not None
            if self._max_wait_s:
                now = self._clock()
                if wait_until is None:
                    wait_until = now + self._max_wait_s
                exchange.queued_s = now - (wait_until - self._max_wait_s)
                wait_s = POLL_S if refusal.kind == "concurrent" else refusal.wait_s
                if now + wait_s <= wait_until:
                    exchange.is_queued = True
                    await deferLater(self._timers, wait_s)  # type: ignore[arg-type]  # only callLater is used
                    exchange.is_queued = False
                    admission = None
                    continue
            raise _refused(exchange, limits, admission, refusal, admission.reserved, group)


@frozen
class _Scope:
    """The bearer of a charge for a request: its key (`group` is None), or a group."""

    key: str
    limits: Limits
    group: str | None = None


def _scopes(exchange: Exchange, limits: Limits | None, groups: Sequence[GroupScope]) -> list[_Scope]:
    own = [] if limits is None else [_Scope(exchange.credential_id, limits)]
    return own + [_Scope(group.key, group.limits, group.name) for group in groups]


def _refused(
    exchange: Exchange,
    limits: Limits,
    look: Admission,
    refusal: Refusal,
    reserved: float,
    group: str | None = None,
) -> RateLimited:
    exchange.rate_limited = refusal.kind
    return _ERRORS[refusal.kind](
        limit_words(limits, look.levels, refusal, reserved, group),
        headers=tuple(refusal_headers(limits, look.levels, refusal)),
    )


def used_model_tokens(exchange: Exchange, reserved: float) -> float:
    """Return the model tokens that an ended exchange used.

    That is its usage if there is one, and 0 for an answer from the cache, an
    error, or an exchange that reached no upstream. In all other cases (the
    client left before the head, a body was truncated, an upstream does not
    report usage) it is what was reserved, unless no model was named: such calls
    use no tokens.
    """
    if exchange.cached or exchange.is_error_behind_200:
        return 0.0
    if exchange.usage is not None:
        return float(exchange.usage.total_tokens)
    if exchange.status is None or exchange.status >= 400:
        refused = exchange.outcome is Outcome.CANCELLED and exchange.error_code is not None
        unanswered = exchange.status is None or refused
        abandoned = exchange.outcome in ABANDONED and exchange.attempts
        return reserved if unanswered and abandoned else 0.0
    return reserved if exchange.model is not None else 0.0
