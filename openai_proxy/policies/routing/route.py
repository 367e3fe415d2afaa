"""Send a request to one of several upstreams; if that fails, to another.

Innermost: the stages outside see one answer or one failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as TwistedTimeout

from ...exchange.errors import NoUpstreamAvailable, UpstreamError
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.record import Exchange
from ...logs import logger
from ..authenticate.credentials import CredentialSwap
from ..bodies.decoded_body import decoded
from ..bodies.peeked_body import peek
from .attempt import Attempt, Judge, Task
from .health import UpstreamHealth
from .model_names import with_looked_up_model, with_model, with_path_model
from .table import RoutingTable, Upstream, choose, first_choice, model_in_path

log = logger(__name__)

LIST_BYTES = 4 * 1024 * 1024
LIST_PATIENCE_S = 5.0
"""How long the list of models waits for one of the upstreams beside the first."""


class Route:
    """Choose by model, priority, weight and health; fail over before the first byte.

    Requests that name a model are spread by weight; all others (files,
    stored answers) stay with the first usable upstream, which knows them.
    What another attempt might mend goes to another upstream at once, for
    every client and once for each upstream of an exchange; further attempts
    are the retry stage's. An open circuit only says where else to go first:
    if there is nothing else, what seems sick is asked. An upstream that takes
    no connections is told to `probe`; `health` is shared with the prober.
    """

    def __init__(
        self,
        table: RoutingTable,
        health: UpstreamHealth,
        *,
        probe: Callable[[Upstream], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        timers: Any,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._table = table
        self._clock = clock
        self._draw = draw
        self._timers = timers
        self._health = health
        self._judge = Judge(health, probe, clock, wall_clock, timers)
        self._swaps = {
            upstream.name: CredentialSwap(
                upstream.auth_header, upstream.key, remove_empty=True, further=upstream.caller_headers
            )
            for upstream in table.upstreams
            if upstream.key is not None
        }

    def describe(self) -> list[dict[str, Any]]:
        """Return the state of every upstream, for `/health`."""
        return self._health.describe(self._clock())

    def open_circuits(self) -> Iterator[tuple[str, str | None]]:
        """Yield upstream and model (None: the whole upstream) of each circuit that is not closed."""
        return self._health.open_circuits()

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        task = self._task(request)
        exchange = request.exchange
        failed: Collection[str] = exchange.failed_upstreams if exchange.attempts else ()
        upstream = self._choose(task, failed)
        held: Attempt | None = None
        try:
            while True:
                attempt = await self._ask(task, upstream, forward, held)
                if attempt.is_final:
                    return attempt.response  # type: ignore[return-value]  # a final one has one
                held = attempt.better_of(held)
                failed = exchange.failed_upstreams
                following = self._choose_another(task, failed, attempt) if attempt.may_move else None
                if following is None or not await attempt.may_send_again():
                    passed, held = held, None
                    return passed.result()
                log.debug(
                    "{id}: upstream {name} failed ({reason}); asking {other}",
                    id=exchange.id,
                    name=upstream.name,
                    reason=attempt.reason,
                    other=following.name,
                )
                exchange.retry_reasons.append("failover")
                upstream = following
        finally:
            if held is not None:
                held.discard()

    async def _ask(self, task: Task, upstream: Upstream, forward: Forward, held: Attempt | None) -> Attempt:
        """Make one attempt and judge it; `held` is what passes if it does no better."""
        key = task.key_for(upstream)
        began = self._clock()
        in_place = upstream.priority != task.candidates[0].priority or (
            held is not None and not held.no_substitute
        )
        self._health.begin(upstream, task.model, key, began)
        attempt = Attempt(task, upstream, key, began, in_place)
        try:
            response = await forward(self._addressed(task.request, upstream))
        except UpstreamError as error:
            self._judge.failure(attempt, error)
        else:
            await self._judge.answer(attempt, response)
        return attempt

    def _addressed(self, request: ProxyRequest, upstream: Upstream) -> ProxyRequest:
        addressed = request.evolve()
        addressed.route = upstream
        if upstream.key is not None and request.credential not in upstream.kept_keys:
            addressed.headers = self._swaps[upstream.name].on(request.headers)
            addressed.credential = upstream.key
        return addressed

    def _task(self, request: ProxyRequest) -> Task:
        model = request.model
        names_model = model is not None
        if model is not None:
            route = self._table.find(model)
            request = (with_model if request.path_model is None else with_path_model)(request, route)
        else:
            named = model_in_path(request.target)
            route = self._table.find(named) if named is not None else None
            request = with_looked_up_model(request, route)
        return Task(request, self._table.candidates(route), names_model)

    # ---- the list of models, which is of all upstreams

    async def ask_elsewhere(self, request: ProxyRequest, forward: Forward) -> list[bytes]:
        """Return what the upstreams that did not answer `request` say to it: bodies of 200, at most LIST_BYTES each.

        All are asked at the same time, and waited for at most LIST_PATIENCE_S.
        An upstream that is sick, late or too talkative adds nothing.
        """
        exchange = request.exchange
        task = self._task(request)
        others = [
            upstream
            for upstream in self._table.upstreams
            if upstream.name != exchange.upstream and self._usable(task, upstream)
        ]
        # Each has a record of its own: what an upstream is asked writes into it.
        records = [
            Exchange(exchange.started, exchange.timestamp, exchange.method, exchange.path) for _ in others
        ]
        for record in records:
            record.credential_id = exchange.credential_id
        began = self._clock()
        asking = [
            Deferred.fromCoroutine(self._list_of(self._addressed(task.request, upstream), record, forward))
            for upstream, record in zip(others, records, strict=True)
        ]
        try:
            bodies = await gatherResults(asking, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            exchange.upstream_s += self._clock() - began
            for record in records:
                exchange.attempts += record.attempts
                exchange.retry_reasons += record.retry_reasons
                exchange.upstream_error_kinds += record.upstream_error_kinds
        return [body for body in bodies if body]

    async def _list_of(self, request: ProxyRequest, record: Exchange, forward: Forward) -> bytes:
        request.exchange = record
        asking = Deferred.fromCoroutine(self._body_of(request, forward))
        asking.addTimeout(LIST_PATIENCE_S, self._timers)
        try:
            return await asking
        except (UpstreamError, TimeoutError, TwistedTimeout):
            return b""

    async def _body_of(self, request: ProxyRequest, forward: Forward) -> bytes:
        response, body = await peek(decoded(await forward(request)), LIST_BYTES)
        response.body.discard()
        return body if response.status == 200 else b""

    # ---- choosing

    def _choose(self, task: Task, failed: Collection[str]) -> Upstream:
        """Return where to go first: of those that failed least often in this exchange, the best.

        One that does not know the model failed less often only because it
        was no substitute: those that know it take turns without it.
        """
        candidates = task.candidates
        if not failed:  # nearly always, and nearly always the first is well
            first = first_choice(candidates, task.names_model)
            if first is not None and self._usable(task, first):
                return first
        else:
            times = [*failed]
            candidates = tuple(each for each in candidates if self._known(task, each)) or candidates
            least = min(times.count(upstream.name) for upstream in candidates)
            candidates = tuple(each for each in candidates if times.count(each.name) == least)
        for suits in (self._usable, self._promising, self._known, lambda task, upstream: True):
            chosen = self._choose_where(task, candidates, suits)
            if chosen is not None:
                return chosen
        raise NoUpstreamAvailable

    def _choose_another(self, task: Task, failed: Collection[str], attempt: Attempt) -> Upstream | None:
        """Return an upstream that has not been asked yet and may do better, None if there is none.

        After one that was no substitute, those that it was asked in place of
        are asked whatever state they are in.
        """
        candidates = tuple(each for each in task.candidates if each.name not in failed)
        if not candidates:
            return None
        for suits in (self._usable, self._promising, *((self._known,) if attempt.no_substitute else ())):
            chosen = self._choose_where(task, candidates, suits)
            if chosen is not None:
                return chosen
        return None

    def _choose_where(
        self, task: Task, candidates: tuple[Upstream, ...], suits: Callable[[Task, Upstream], bool]
    ) -> Upstream | None:
        draw = self._draw() if task.names_model else None
        return choose(candidates, lambda upstream: suits(task, upstream), draw)

    def _usable(self, task: Task, upstream: Upstream) -> bool:
        return self._health.usable(upstream, task.model, task.key_for(upstream), self._clock())

    def _promising(self, task: Task, upstream: Upstream) -> bool:
        """Its circuit is open, but nothing says that it cannot answer."""
        key_rested = self._health.key_rested(upstream, task.key_for(upstream), self._clock())
        return key_rested and self._health.reached(upstream) and self._known(task, upstream)

    def _known(self, task: Task, upstream: Upstream) -> bool:
        """It has not said that it does not know the model."""
        return not self._health.lacks(upstream, task.model, self._clock())
