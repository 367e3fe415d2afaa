"""Send a request to one of several upstreams; if that fails, to another.

The innermost stage: the stages outside see one answer or one failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from ...exchange.errors import NoUpstreamAvailable, StateElsewhere
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.upstream_errors import HomeUnreachable, UpstreamError
from ...logs import logger
from ..authenticate.credentials import CredentialSwap
from ..bodies.peeked_body import peek
from .affinity import Affinity, Located
from .attempt import Attempt, Judge, Task
from .balance import Balance
from .choosing import Choosing
from .collected_lists import collect_lists
from .error_answer import PEEK_BYTES
from .health import UpstreamHealth
from .in_flight import Passage
from .missing_state import STATUSES, says_missing
from .model_names import with_looked_up_model, with_model, with_path_model
from .references import Reference, makes_state, references_of
from .sessions import session_of
from .table import ModelRoute, RoutingTable, Upstream, model_in_path

log = logger(__name__)

_AWAY = "The conversation lives at {!r}, which is not available."


class Route:
    """Choose by model, priority, weight and health; fail over before the first byte.

    Requests that name a model are distributed by weight, by load or by session;
    all others (files, stored answers) go to the first usable upstream. Requests
    that refer to state go to the upstream that has it, according to `affinity`;
    if that is unknown, the upstreams are searched.

    A failure that another attempt might mend is followed at once by an attempt
    at another upstream, for every client and once for each upstream of an
    exchange; further attempts are made by the retry stage. An open circuit only
    means that other upstreams are preferred: if there is none, the unhealthy
    one is asked. An upstream that accepts no connections is handed to `probe`;
    `health` is shared with the prober.
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
        affinity: Affinity | None = None,
        sessions: bool = False,
        session_header: bytes | None = None,
        least_busy: bool = False,
    ) -> None:
        self._table = table
        self._clock = clock
        self._timers = timers
        self.affinity = self._affinity = affinity
        """Finds the upstream of a conversation; None if conversations are not followed."""
        self._sessions = sessions
        self._session_header = session_header
        self._in_flight = {upstream.name: 0 for upstream in table.upstreams}
        self._choosing = Choosing(health, Balance(self._in_flight, draw, least_busy), clock)
        self._health = health
        self._judge = Judge(health, probe, clock, wall_clock, timers)
        self._swaps = {
            upstream.name: CredentialSwap(
                upstream.auth_header, upstream.key, remove_empty=True, further=upstream.caller_headers
            )
            for upstream in table.upstreams
            if upstream.key is not None
        }

    def describe(self, combined_counts: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
        """Return the state of every upstream, for `/health`.

        `in_flight` is the number of requests there: of all workers if that is
        given, else of this process.
        """
        counts = {**self._in_flight, **(combined_counts or {})}
        return [{**each, "in_flight": counts[each["name"]]} for each in self._health.describe(self._clock())]

    @property
    def in_flight(self) -> Mapping[str, int]:
        """The number of requests that this process has at each upstream."""
        return self._in_flight

    @property
    def state_count(self) -> int | None:
        """The number of names of state in this process's memory; None if conversations are not followed."""
        return None if self._affinity is None else len(self._affinity)

    def open_circuits(self) -> Iterator[tuple[str, str | None]]:
        """Yield upstream and model (None: the whole upstream) of each circuit that is not closed."""
        return self._health.open_circuits()

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        affinity = self._affinity
        references = references_of(request) if affinity is not None else ()
        passage = Passage(self._in_flight)
        request.exchange.on_end(passage.end)
        try:
            if affinity is not None and references:
                attempt = await self._by_state(request, references, affinity, forward, passage)
            else:
                attempt = await self._spread(self._task(request), forward, passage)
            response = attempt.response
            if response is None:
                raise attempt.error  # type: ignore[misc]  # it has one of the two
        except BaseException:
            passage.leave()
            raise
        if response.status >= 300:
            passage.leave()
        elif affinity is not None and makes_state(request):
            return affinity.watch(request, response, attempt.upstream)
        return response

    async def _by_state(
        self,
        request: ProxyRequest,
        references: Sequence[Reference],
        affinity: Affinity,
        forward: Forward,
        passage: Passage,
    ) -> Attempt:
        """Ask the upstream that has the state that a request refers to; search for it if that is unknown."""
        located = await affinity.locate(references, request.credential)
        if located is not None:
            return await self._ask_home(self._task_at(request, located), forward, passage)
        attempt = await self._search(self._task(request, searches=True), forward, passage)
        if attempt.response is not None and attempt.response.status < 300:
            affinity.learn([name for name, _ in references], attempt.upstream, request.credential)
        return attempt

    async def _spread(self, task: Task, forward: Forward, passage: Passage) -> Attempt:
        """Ask the best upstream; if that fails, ask the others, each once."""
        exchange = task.request.exchange
        failed: Collection[str] = exchange.failed_upstreams if exchange.attempts else ()
        upstream, reason = self._choosing.first(task, failed)
        held: Attempt | None = None
        try:
            while True:
                attempt = await self._ask(task, upstream, forward, passage, reason, held)
                if attempt.is_final:
                    return attempt
                held = attempt.better_of(held)
                failed = exchange.failed_upstreams
                following = (
                    self._choosing.another(task, failed, attempt.no_substitute) if attempt.may_move else None
                )
                if following is None or not await attempt.may_send_again():
                    passed, held = held, None
                    return passed
                log.debug(
                    "{id}: upstream {name} failed ({reason}); asking {other}",
                    id=exchange.id,
                    name=upstream.name,
                    reason=attempt.reason,
                    other=following.name,
                )
                exchange.retry_reasons.append("failover")
                upstream, reason = following, "failover"
        finally:
            if held is not None:
                held.discard()

    async def _ask_home(self, task: Task, forward: Forward, passage: Passage) -> Attempt:
        """Ask only the upstream that has the state of a request: the others do not know it."""
        home = task.candidates[0]
        if not self._choosing.usable(task, home):
            raise NoUpstreamAvailable(_AWAY.format(home.name), retry_after_s=self._wait_s(task, home))
        attempt = await self._ask(task, home, forward, passage, "state")
        error = attempt.error
        if error is not None and error.sent == "no":
            raise HomeUnreachable(
                _AWAY.format(home.name), error, retry_after_s=self._wait_s(task, home)
            ) from error
        return attempt

    def _wait_s(self, task: Task, home: Upstream) -> int:
        """Return the number of seconds after which another request is worthwhile."""
        wait_s = self._health.usable_in_s(home, task.model, task.key_for(home), self._clock())
        return max(1, ceil(wait_s))

    async def _search(self, task: Task, forward: Forward, passage: Passage) -> Attempt:
        """Ask as if there was no state; if that upstream does not have the state, ask all others, each once.

        Those that do not have it did nothing for the request, so nothing is
        paid twice. If none has it, the first answer is forwarded.
        """
        first = await self._spread(task, forward, passage)
        exchange = task.request.exchange
        if not task.replayable or task.request.upgrade or not await self._is_missing(first):
            return first
        asked = {first.upstream.name, *exchange.failed_upstreams}
        try:
            for upstream in task.candidates:
                if upstream.name in asked or not self._choosing.usable(task, upstream):
                    continue
                if not await first.may_send_again():
                    break
                attempt = await self._ask(task, upstream, forward, passage, "search")
                if attempt.response is not None and attempt.response.status < 400:
                    found, first = first, attempt
                    found.discard()
                    break
                attempt.discard()
        except BaseException:
            first.discard()
            raise
        return first

    async def _is_missing(self, attempt: Attempt) -> bool:
        """Return whether an answer says that its upstream does not have the state."""
        response = attempt.response
        if response is None or response.status not in STATUSES:
            return False
        attempt.response, beginning = await peek(response, PEEK_BYTES)
        if response.status == 404 and "{id}" in attempt.task.request.endpoint:
            return True
        return says_missing(response.status, beginning, response.headers)

    async def _ask(
        self,
        task: Task,
        upstream: Upstream,
        forward: Forward,
        passage: Passage,
        reason: str,
        held: Attempt | None = None,
    ) -> Attempt:
        """Make one attempt and judge it; `held` is the answer if this one is no better."""
        key = task.key_for(upstream)
        began = self._clock()
        in_place = reason not in ("state", "search") and (
            upstream.priority != task.candidates[0].priority or (held is not None and not held.no_substitute)
        )
        self._health.begin(upstream, task.model, key, began)
        passage.move(upstream.name)
        exchange = task.request.exchange
        exchange.route_choices.append((upstream.name, reason))
        exchange.route_reason = reason
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

    def _task(self, request: ProxyRequest, searches: bool = False) -> Task:
        model = request.model
        names_model = model is not None
        session = None
        if model is not None:
            if self._sessions:
                session = session_of(request, self._session_header)
            route = self._table.find(model)
            request = _named_upstream(request, route)
        else:
            named = model_in_path(request.target)
            route = self._table.find(named) if named is not None else None
            request = with_looked_up_model(request, route)
        return Task(request, self._table.candidates(route), names_model, searches, session)

    def _task_at(self, request: ProxyRequest, located: Located) -> Task:
        """Return the task of a request whose state is at an upstream, regardless of the models' routes."""
        model, upstream = request.model, located.upstream
        if model is not None:
            may_serve, route = self._table.find_at(model, upstream.name)
            if not may_serve:
                raise StateElsewhere(
                    f"openai-proxy cannot send this request anywhere: what `{located.param}` refers to lives at"
                    f" {upstream.name!r}, which does not serve the model.",
                    param=located.param,
                )
            request = _named_upstream(request, route)
        return Task(request, (upstream,), model is not None)

    async def ask_elsewhere(self, request: ProxyRequest, forward: Forward) -> list[bytes]:
        """Return the answers of the other upstreams to `request`, which asks for the list of models.

        An upstream that is unhealthy is not asked.
        """
        task = self._task(request)
        others = [
            self._addressed(task.request, upstream)
            for upstream in self._table.upstreams
            if upstream.name != request.exchange.upstream and self._choosing.usable(task, upstream)
        ]
        began = self._clock()
        try:
            return await collect_lists(others, request.exchange, forward, self._timers)
        finally:
            request.exchange.upstream_s += self._clock() - began


def _named_upstream(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return the request with the upstream's name for its model."""
    return (with_model if request.path_model is None else with_path_model)(request, route)
