"""Try again what may be tried again.

Innermost but for routing: a hit of the cache never comes here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.task import deferLater

from ..core.backoff import backoff_s, maybe_retry_after_s, reconnect_s
from ..core.errors import UpstreamError
from ..core.quota_error import PEEK_BYTES, error_code
from ..core.retry_rules import (
    LONGEST_WAIT_S,
    RetryBudget,
    failure_reason,
    repeats_by_itself,
    status_may_be_retried,
)
from ..messages import Forward, ProxyRequest, ProxyResponse
from ..peeked_body import peek


class Timers(Protocol):
    """The part of IReactorTime that waiting needs."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any: ...


class Retry:
    """Up to `max_retries` further attempts, and no more than the budget allows.

    `clock` gives monotonic seconds, `wall_clock` seconds since the epoch
    (for dates in `retry-after`), `jitter` a number in [0, 1). A kept
    connection that turns out dead at its first use is replaced in any case,
    once: that is no fault of an upstream, which never saw the request.
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
        if request.body is not None and not isinstance(request.body, bytes):
            return await forward(request)  # it can be sent once
        attempt = 1
        while True:
            try:
                response = await forward(request)
            except UpstreamError as error:
                reason = failure_reason(error, request.method, request.headers)
                if reason is None:
                    raise
                replaced = reason == "stale" and attempt == 1
                if not replaced and not self._may_repeat(attempt):
                    raise
                delay_s = 0.0 if replaced else reconnect_s(attempt, self._jitter())
            else:
                if response.status < 400:
                    return response
                response, asked_s = await self._judge(request, response, attempt)
                if asked_s is None:
                    return response
                response.body.discard()
                reason = str(response.status)
                delay_s = max(asked_s, backoff_s(attempt, self._jitter()))
            request.exchange.retry_reasons.append(reason)
            if delay_s:
                await deferLater(self._timers, delay_s)  # type: ignore[arg-type]  # only callLater is used
            attempt += 1

    def _may_repeat(self, attempt: int) -> bool:
        return attempt <= self._max_retries and self._budget.spend(self._clock())

    async def _judge(
        self, request: ProxyRequest, response: ProxyResponse, attempt: int
    ) -> tuple[ProxyResponse, float | None]:
        """Return the response, still deliverable, and the wait it asks for; None to pass it on."""
        if not status_may_be_retried(response.status, response.headers) or repeats_by_itself(request.headers):
            return response, None
        asked_s = maybe_retry_after_s(response.headers, self._wall_clock()) or 0.0
        if asked_s > LONGEST_WAIT_S or attempt > self._max_retries:
            return response, None
        if response.status == 429:
            response, beginning = await peek(response, PEEK_BYTES)
            if error_code(beginning, response.headers) == "insufficient_quota":
                return response, None
        return response, asked_s if self._may_repeat(attempt) else None
