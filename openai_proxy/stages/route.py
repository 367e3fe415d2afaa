"""Send a request to one of several upstreams, and to another where that fails.

Innermost: what stands outside sees one answer or one failure.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from attrs import frozen

from ..core.backoff import maybe_retry_after_s
from ..core.credentials import replace_credentials
from ..core.errors import NoUpstreamAvailable, UpstreamError
from ..core.json_members import replace_members
from ..core.quota_error import PEEK_BYTES, error_code
from ..core.retry_rules import repeats_by_itself, status_may_be_retried
from ..core.routing import (
    ModelRoute,
    RoutingTable,
    Upstream,
    choose,
    model_in_path,
    with_model_in_path,
)
from ..core.upstream_health import UpstreamHealth
from ..messages import Forward, ProxyRequest, ProxyResponse
from ..peeked_body import peek


@frozen(eq=False)
class _Task:
    """One request as all its attempts share it."""

    request: ProxyRequest
    candidates: tuple[Upstream, ...]
    names_model: bool
    replayable: bool

    def key_for(self, upstream: Upstream) -> bytes:
        return upstream.key_for(self.request.credential)

    def addressed(self, upstream: Upstream) -> ProxyRequest:
        request = self.request
        if upstream.key is None or request.credential in upstream.kept_keys:
            return request.evolve(route=upstream)
        key = upstream.key
        headers = replace_credentials(request.headers, upstream.auth_header, key)
        if not key:
            empty = (b"authorization", upstream.auth_header.lower())
            headers = [pair for pair in headers if pair[0].lower() not in empty]
        return request.evolve(route=upstream, headers=headers, credential=key)


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

    def describe(self) -> list[dict[str, Any]]:
        """Return the state of every upstream, for `/health`."""
        return self._health.describe(self._clock())

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        task = self._task(request)
        tried: set[str] = set()
        upstream = self._choose(task, tried) or self._choose_for_want_of_another(task, tried)
        if upstream is None and request.exchange.attempts:
            upstream = self._last_resort(task)
        if upstream is None:
            wait_s = self._health.usable_in_s(task.candidates, task.key_for, self._clock())
            raise NoUpstreamAvailable(retry_after_s=wait_s)
        while True:
            tried.add(upstream.name)
            self._health.begin(upstream, task.key_for(upstream), self._clock())
            try:
                response = await forward(task.addressed(upstream))
            except UpstreamError as error:
                if self._health.failed(upstream, error, self._clock()):
                    self._probe(upstream)
                if error.sent == "yes" or not task.replayable:
                    raise
                following = self._choose(task, tried) or self._choose_for_want_of_another(task, tried)
                if following is None:
                    raise
            else:
                response = await self._note(task, upstream, response)
                following = self._after(task, tried, response)
                if following is None:
                    return response
                response.body.discard()
            request.exchange.retry_reasons.append("failover")
            upstream = following

    def _task(self, request: ProxyRequest) -> _Task:
        model = request.document.get("model") if request.document is not None else None
        names_model = isinstance(model, str)
        if isinstance(model, str):
            route = self._table.find(model)
            request = _with_model(request, route)
        else:
            named = model_in_path(request.target)
            route = self._table.find(named) if named is not None else None
            request = _with_model_in_path(request, route)
        return _Task(
            request=request,
            candidates=self._table.candidates(route),
            names_model=names_model,
            replayable=request.body is None or isinstance(request.body, bytes),
        )

    def _choose(self, task: _Task, tried: set[str]) -> Upstream | None:
        return self._choose_where(self._health.usable, task, tried)

    def _choose_for_want_of_another(self, task: _Task, tried: set[str]) -> Upstream | None:
        return self._choose_where(self._health.usable_for_want_of_another, task, tried)

    def _choose_where(
        self, usable: Callable[[Upstream, bytes, float], bool], task: _Task, tried: set[str]
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

    async def _note(self, task: _Task, upstream: Upstream, response: ProxyResponse) -> ProxyResponse:
        """Learn from an answer; return it still deliverable."""
        code, asked_s = "", None
        if response.status == 429:
            response, beginning = await peek(response, PEEK_BYTES)
            code = error_code(beginning, response.headers)
            asked_s = maybe_retry_after_s(response.headers, self._wall_clock())
        self._health.answered(upstream, task.key_for(upstream), response.status, code, asked_s, self._clock())
        return response

    def _after(self, task: _Task, tried: set[str], response: ProxyResponse) -> Upstream | None:
        """Return the upstream to try instead of passing `response` on."""
        if (
            response.status < 400
            or not self._failover_on_status
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
    length = b"%d" % len(body)
    return request.evolve(
        body=body,
        document={**document, "model": route.upstream_model},
        headers=[(n, length if n.lower() == b"content-length" else v) for n, v in request.headers],
    )


def _with_model_in_path(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a look-up of the model with the upstream's name of it; else the very same one.

    Only GET and HEAD: what deletes must name what it deletes.
    """
    if route is None or route.upstream_model is None or request.method not in (b"GET", b"HEAD"):
        return request
    return request.evolve(target=with_model_in_path(request.target, route.upstream_model))
