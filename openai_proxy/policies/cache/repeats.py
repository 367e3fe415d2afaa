"""Answer a repeated request with the same bytes as the cache would.

Placed before the stages that look at requests and change them, and after those
that identify the caller and count requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeAlias

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .hits import Hit, answer_with, at_once
from .request_memo import Answered, RequestMemo
from .rules import parse_cache_control
from .store import CacheStore

_MEMO_BYTES = 4 * 1024 * 1024
"""The most memory for remembered requests."""
_LINE_BYTES = 150
"""The memory of a header line besides its bytes: a tuple and two byte strings."""

_TRACING = frozenset(
    each
    for name in b"traceparent tracestate baggage sentry-trace x-request-id x-client-request-id x-correlation-id".split()
    for each in (name, name.title(), name.capitalize())
)
"""Header lines that differ for each request and that no stage reads, as clients spell them."""

_Repeat: TypeAlias = tuple[bytes, int, str | None, bool]
"""Key and serial number of the entry; the model and streaming flag for the exchange's record."""


class AnswerRepeats:
    """Answer a repeated request without the stages up to the cache and back.

    What is remembered: the caller, the header lines (without those of tracing)
    and the body of a request, and the entry that it was answered with, if no
    stage between here and the cache changed the answer. The stages in between
    decide by nothing else (those that count or look at the clock must come
    before), so the same request and the same entry give the same answer.
    `store` has the entries; if one has expired, or was replaced or dropped, the
    request passes all stages. `clock` gives monotonic seconds.

    `answered` says which requests may be repeats: a request that is never
    repeated costs only a hash of its body.
    """

    def __init__(self, store: CacheStore, clock: Callable[[], float], answered: Answered) -> None:
        self._answered = answered.hashes
        self._peek = store.peek
        self._clock = clock
        self._memo: RequestMemo[_Repeat] = RequestMemo(_MEMO_BYTES)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        lines, body, exchange = request.headers, request.body, request.exchange
        if body is not None and type(body) is not bytes:
            return forward(request)  # its body is still arriving
        if hash(body or exchange.path) not in self._answered:
            return forward(request)
        decisive = tuple([pair for pair in lines if pair[0] not in _TRACING])
        size_bytes = sum([_LINE_BYTES + len(name) + len(value) for name, value in decisive]) + len(
            body or b""
        )
        asked = (
            decisive,
            body,
            request.method,
            request.target,
            request.azure,
            request.credential,
            request.caller,
            exchange.credential_id,
        )
        remembered = self._memo.get(asked, size_bytes)
        if remembered is not None:
            key, serial, model, streaming = remembered
            entry = self._peek(key)
            if entry is not None and entry.serial == serial:
                if body is not None:
                    exchange.request_body = body
                    exchange.request_bytes = len(body)
                exchange.model = model
                exchange.streaming = streaming
                now = exchange.timestamp + (self._clock() - exchange.started)
                return at_once(answer_with(entry, key, exchange, now))
        return self._learn(request, forward, asked, size_bytes)

    async def _learn(
        self, request: ProxyRequest, forward: Forward, asked: tuple[Hashable, ...], size_bytes: int
    ) -> ProxyResponse:
        lines = request.headers
        response = await forward(request)
        # A request that names an age is not answered by the entry only.
        if type(response) is Hit and parse_cache_control(lines).max_age_s is None:
            exchange = request.exchange
            repeat = (response.key, response.serial, exchange.model, exchange.streaming)
            self._memo.remember(asked, size_bytes, repeat)
        return response
