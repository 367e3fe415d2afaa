"""Retry requests that may be sent again.

The innermost stage except routing, so a cache hit never comes here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.task import deferLater

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.upstream_errors import UpstreamError
from ...logs import logger
from ...wire.backoff import backoff_s, maybe_retry_after_s, reconnect_s
from ..bodies.peeked_body import peek
from .error_answer import PEEK_BYTES
from .quota_error import NO_QUOTA, error_code
from .repeatable import creates_nothing, is_kept
from .rules import (
    LONGEST_WAIT_S,
    RetryBudget,
    failure_reason,
    further_attempts,
    repeats_by_itself,
    says_no_retry,
    status_may_be_retried,
)

log = logger(__name__)


class Timers(Protocol):
    """The part of IReactorTime that waiting needs."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any: ...


class Retry:
    """Make up to `max_retries` further attempts, and no more than the budget allows.

    Attempts at other upstreams, which routing makes by itself, count too;
    `exchange.retry_reasons` has one entry for each further attempt. A WebSocket
    handshake that was answered is never repeated, because its client waits for
    exactly this answer.

    `clock` gives monotonic seconds, `wall_clock` seconds since the epoch
    (for dates in `retry-after`), `jitter` a number in [0, 1).
    """

    def __init__(
        self,
        max_retries: int,
        *,
        timers: Timers,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._max_retries = max_retries
        self._timers = timers
        self._clock = clock
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._budget = RetryBudget()

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        self._budget.note_request(self._clock())
        body = request.body
        if not is_kept(body):
            return await forward(request)
        attempt = 1
        exchange = request.exchange
        while True:
            try:
                response = await forward(request)
            except UpstreamError as error:
                reason = failure_reason(error, request.method, request.headers)
                if reason is None or not self._may_repeat(further_attempts(exchange.retry_reasons)):
                    log.debug("{id}: the last attempt failed: {why}", id=exchange.id, why=error.log_text)
                    raise
                why = error.log_text
                delay_s = reconnect_s(attempt, self._jitter())
            else:
                if response.status < 400:
                    return response
                response, asked_s = await self._judge(
                    request, response, further_attempts(exchange.retry_reasons)
                )
                if asked_s is None:
                    log.debug(
                        "{id}: upstream {name} answered {status}",
                        id=request.exchange.id,
                        name=request.exchange.upstream,
                        status=response.status,
                    )
                    return response
                response.body.discard()
                reason = why = str(response.status)
                delay_s = max(asked_s, backoff_s(attempt, self._jitter()))
            exchange.retry_reasons.append(reason)
            log.debug(
                "{id}: an attempt failed: {why}; further attempt {number} in {delay:.2f} s",
                id=request.exchange.id,
                why=why,
                number=further_attempts(exchange.retry_reasons),
                delay=delay_s,
            )
            if delay_s:
                await deferLater(self._timers, delay_s)  # type: ignore[arg-type]  # only callLater is used
            if body is not None and not isinstance(body, bytes):
                body.rewind()
            attempt += 1

    def _may_repeat(self, made: int) -> bool:
        """Take one further attempt from the budget, after `made` attempts; return whether it was allowed."""
        return made < self._max_retries and self._budget.spend(self._clock())

    async def _judge(
        self, request: ProxyRequest, response: ProxyResponse, made: int
    ) -> tuple[ProxyResponse, float | None]:
        """Return the response, still to be delivered, and the wait it asks for; None to forward it."""
        if (
            made >= self._max_retries
            or request.upgrade
            or not status_may_be_retried(response.status, _creates_nothing(request))
            or says_no_retry(response.headers)
            or repeats_by_itself(request.headers)
        ):
            return response, None
        asked_s = maybe_retry_after_s(response.headers, self._wall_clock()) or 0.0
        if asked_s > LONGEST_WAIT_S:
            return response, None
        if response.status == 429:
            response, beginning = await peek(response, PEEK_BYTES)
            if error_code(beginning, response.headers) == NO_QUOTA:
                return response, None
        return response, asked_s if self._may_repeat(made) else None


def _creates_nothing(request: ProxyRequest) -> bool:
    return creates_nothing(request.method, request.exchange.endpoint, request.document, request.headers)
