"""Send a request to one of several upstreams; where it fails, another.

Innermost: what stands outside sees one answer or one failure.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from ..core.backoff import maybe_retry_after_s
from ..core.body_headers import with_length
from ..core.credentials import CredentialSwap
from ..core.errors import NoUpstreamAvailable, UpstreamError
from ..core.json_members import replace_members
from ..core.paths import with_path_model
from ..core.quota_error import PEEK_BYTES, error_code
from ..core.retry_rules import repeats_by_itself, status_may_be_retried
from ..core.routing import (
    ModelRoute,
    RoutingTable,
    Upstream,
    choose,
    first_choice,
    model_in_path,
    with_model_in_path,
)
from ..core.upstream_health import UpstreamHealth
from ..messages import Forward, ProxyRequest, ProxyResponse
from ..peeked_body import peek


class _Task:
    """One request as all its attempts share it."""

    __slots__ = ("candidates", "names_model", "replayable", "request")

    def __init__(
        self, request: ProxyRequest, candidates: tuple[Upstream, ...], names_model: bool, replayable: bool
    ) -> None:
        self.request = request
        self.candidates = candidates
        self.names_model = names_model
        self.replayable = replayable

    def key_for(self, upstream: Upstream) -> bytes:
        return upstream.key_for(self.request.credential)


class Route:
    """Choose by model, priority, weight and health; fail over before the first byte.

    Requests that name a model are spread by weight; all others (files,
    stored answers) stay with the first usable upstream, which knows them.
    A failed connection goes to the next upstream at once; a status that may
    be retried too, where `failover_on_status` and the client does not retry
    by itself. Each upstream is asked once per call. One that takes no
    connections is told to `probe`, and gets requests only where no other can
    serve them; `health` is shared with the prober.
    """

    def __init__(
        self,
        table: RoutingTable,
        health: UpstreamHealth,
        *,
        probe: Callable[[Upstream], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        failover_on_status: bool = True,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._table = table
        self._clock = clock
        self._wall_clock = wall_clock
        self._failover_on_status = failover_on_status
        self._draw = draw
        self._health = health
        self._probe = probe
        self._swaps = {
            upstream.name: CredentialSwap(upstream.auth_header, upstream.key, remove_empty=True)
            for upstream in table.upstreams
            if upstream.key is not None
        }

    def describe(self) -> list[dict[str, Any]]:
        """Return the state of every upstream, for `/health`."""
        return self._health.describe(self._clock())

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        task = self._task(request)
        tried: tuple[str, ...] = ()
        upstream = self._choose(task, tried) or self._choose_for_want_of_another(task, tried)
        if upstream is None and request.exchange.attempts:
            upstream = self._last_resort(task)
        if upstream is None:
            wait_s = self._health.usable_in_s(task.candidates, task.key_for, self._clock())
            raise NoUpstreamAvailable(retry_after_s=wait_s)
        while True:
            key = task.key_for(upstream)
            self._health.begin(upstream, key, self._clock())
            try:
                response = await forward(self._addressed(task.request, upstream))
            except UpstreamError as error:
                if self._health.failed(upstream, error, self._clock()):
                    self._probe(upstream)
                if error.sent == "yes" or not task.replayable:
                    raise
                tried += (upstream.name,)
                following = self._choose(task, tried) or self._choose_for_want_of_another(task, tried)
                if following is None:
                    raise
            else:
                if response.status == 429:
                    response = await self._note_limit(upstream, key, response)
                else:
                    self._health.answered(upstream, key, response.status, "", None, self._clock())
                if response.status < 400:
                    return response
                tried += (upstream.name,)
                following = self._after(task, tried, response)
                if following is None:
                    return response
                response.body.discard()
            request.exchange.retry_reasons.append("failover")
            upstream = following

    def _addressed(self, request: ProxyRequest, upstream: Upstream) -> ProxyRequest:
        addressed = request.evolve()
        addressed.route = upstream
        if upstream.key is not None and request.credential not in upstream.kept_keys:
            addressed.headers = self._swaps[upstream.name].on(request.headers)
            addressed.credential = upstream.key
        return addressed

    def _task(self, request: ProxyRequest) -> _Task:
        model = request.model
        names_model = model is not None
        if model is not None:
            route = self._table.find(model)
            request = (_with_model if request.path_model is None else _with_path_model)(request, route)
        else:
            named = model_in_path(request.target)
            route = self._table.find(named) if named is not None else None
            request = _with_model_in_path(request, route)
        body = request.body
        replayable = body is None or isinstance(body, bytes)
        return _Task(request, self._table.candidates(route), names_model, replayable)

    def _choose(self, task: _Task, tried: tuple[str, ...]) -> Upstream | None:
        if not tried:  # nearly always, and nearly always the first is well
            first = first_choice(task.candidates, task.names_model)
            if first is not None and self._health.usable(first, task.key_for(first), self._clock()):
                return first
        return self._choose_where(self._health.usable, task, tried)

    def _choose_for_want_of_another(self, task: _Task, tried: tuple[str, ...]) -> Upstream | None:
        return self._choose_where(self._health.usable_for_want_of_another, task, tried)

    def _choose_where(
        self, usable: Callable[[Upstream, bytes, float], bool], task: _Task, tried: tuple[str, ...]
    ) -> Upstream | None:
        now = self._clock()
        return choose(
            task.candidates,
            lambda upstream: upstream.name not in tried and usable(upstream, task.key_for(upstream), now),
            self._draw() if task.names_model else None,
        )

    def _last_resort(self, task: _Task) -> Upstream | None:
        """Return where a request goes again although no upstream is well.

        Its client is owed what an upstream says, not that the circuit has
        opened since its first attempt; how often it may come, the retries
        have decided.
        """
        now = self._clock()
        candidates = [u for u in task.candidates if not self._health.unreachable(u)] or task.candidates
        rested = choose(candidates, lambda u: self._health.key_usable(u, task.key_for(u), now), None)
        return rested or choose(candidates, lambda _: True, None)

    async def _note_limit(self, upstream: Upstream, key: bytes, response: ProxyResponse) -> ProxyResponse:
        """Learn from a 429; return it still deliverable."""
        response, beginning = await peek(response, PEEK_BYTES)
        code = error_code(beginning, response.headers)
        asked_s = maybe_retry_after_s(response.headers, self._wall_clock())
        self._health.answered(upstream, key, response.status, code, asked_s, self._clock())
        return response

    def _after(self, task: _Task, tried: tuple[str, ...], response: ProxyResponse) -> Upstream | None:
        """Return the upstream to try instead of passing an error on."""
        if (
            not self._failover_on_status
            or not task.replayable
            or not status_may_be_retried(response.status, response.headers)
            or repeats_by_itself(task.request.headers)
        ):
            return None
        return self._choose(task, tried)


def _with_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return the request with the upstream's name of its model; else the very same one."""
    body, document = request.body, request.document
    if route is None or route.upstream_model is None or document is None or not isinstance(body, bytes):
        return request
    if route.upstream_model == document["model"]:
        return request
    body = replace_members(body, {"model": json.dumps(route.upstream_model).encode("ascii")})
    return request.evolve(
        body=body,
        document={**document, "model": route.upstream_model},
        headers=with_length(request.headers, len(body)),
    )


def _with_path_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a request of a deployment with the upstream's name of it; else the very same one.

    Its body stays as it is: the server goes by the path.
    """
    if route is None or route.upstream_model in (None, request.path_model):
        return request
    return request.evolve(target=with_path_model(request.target, route.upstream_model))


def _with_model_in_path(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a look-up of the model with the upstream's name of it; else the very same one.

    Only GET and HEAD: what deletes must name what it deletes.
    """
    if route is None or route.upstream_model is None or request.method not in (b"GET", b"HEAD"):
        return request
    return request.evolve(target=with_model_in_path(request.target, route.upstream_model))
