"""Decide which failures and answers may be retried, and how many retries are allowed in all.

The rules of docs/explain/retries.md. Pure: times are arguments.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from ...exchange.record import HeaderPairs
from ...exchange.upstream_errors import UpstreamError
from .repeatable import may_arrive_twice

_PASSING = frozenset((408, 409, 429))
"""Statuses below 500 for which another attempt may succeed."""
_NOT_ACTED_ON = frozenset((429, 503))
"""Statuses which say that the upstream has not acted on the request, whatever the request is."""
LONGEST_WAIT_S = 60.0
"""An upstream that asks for a longer wait is not retried: the client decides."""


def repeats_by_itself(headers: HeaderPairs) -> bool:
    """Return whether a client has announced its own retries, as OpenAI's SDKs do."""
    return any(name.lower() == b"x-stainless-retry-count" for name, _ in headers)


def failure_reason(error: UpstreamError, method: bytes, headers: HeaderPairs) -> str | None:
    """Return the reason for sending a request to the same upstream again after `error`, None if it must not be.

    `connect`: no connection could be made, and the next one may succeed.
    `reset`: a fresh one died before any byte of a response, and the request may
    be sent twice (its method says so, or an `Idempotency-Key`). Never after a
    first-byte timeout, an invalid response, or a truncated body. A stale
    connection is no reason: the edge has already replaced it, if the body could
    be sent again.
    """
    if error.sent == "no":
        return "connect" if error.may_heal else None
    if error.kind == "reset" and may_arrive_twice(method, headers):
        return "reset"
    return None


def may_go_elsewhere(error: UpstreamError, method: bytes, headers: HeaderPairs) -> bool:
    """Return whether a request may go to another upstream after `error`, which may persist at this one."""
    return error.sent == "no" or failure_reason(error, method, headers) is not None


def status_may_be_retried(status: int, creates_nothing: bool) -> bool:
    """Judge an answer by its status: after 408, 409, 429 and all from 500 on, another attempt may succeed.

    A request that may have created something (not `creates_nothing`, see
    `repeatable`) is sent again only after 429 and 503. The caller considers the
    hints in the answer.
    """
    if status < 500 and status not in _PASSING:
        return False
    return creates_nothing or status in _NOT_ACTED_ON


def says_no_retry(headers: HeaderPairs) -> bool:
    """Return whether an answer forbids another attempt (`x-should-retry: false`)."""
    return any(
        name.lower() == b"x-should-retry" and value.strip().lower() == b"false" for name, value in headers
    )


def further_attempts(retry_reasons: list[str]) -> int:
    """Return the number of further attempts, without replacements of stale connections."""
    return len(retry_reasons) - retry_reasons.count("stale")


@define(slots=True, eq=False)
class RetryBudget:
    """In any 10 seconds, retries may add at most 10 % to the number of requests; 10 are always allowed.

    So an outage is not answered with a multiple of the load. Owned by the retry
    stage; times are monotonic seconds.
    """

    ratio: float = 0.1
    least: int = 10
    window_s: int = 10
    _requests: int = field(default=0, init=False)
    _retries: int = field(default=0, init=False)
    _seconds: deque[list[int]] = field(factory=deque, init=False)
    """[second, requests, retries], oldest first; at most `window_s` of them."""

    def note_request(self, now: float) -> None:
        """Count a first attempt."""
        second = self._seconds[-1] if self._seconds else None
        if second is None or second[0] != int(now):
            second = self._second(now)
        second[1] += 1
        self._requests += 1

    def spend(self, now: float) -> bool:
        """Take one further attempt out of the budget; False if it is used up."""
        second = self._second(now)
        if self._retries >= max(self.least, self.ratio * self._requests):
            return False
        second[2] += 1
        self._retries += 1
        return True

    def _second(self, now: float) -> list[int]:
        seconds, current = self._seconds, int(now)
        if seconds and seconds[-1][0] == current:
            return seconds[-1]
        while seconds and seconds[0][0] <= current - self.window_s:
            _, requests, retries = seconds.popleft()
            self._requests -= requests
            self._retries -= retries
        seconds.append([current, 0, 0])
        return seconds[-1]
