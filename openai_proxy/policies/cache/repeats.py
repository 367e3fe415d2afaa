"""Answer a repeated request as the cache did, byte for byte the same.

Placed in front of what looks at requests and changes them; behind what
tells who asks, and behind what counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeAlias

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .hits import Hit, answer_with, at_once
from .known_requests import Answered, KnownRequests
from .rules import parse_cache_control
from .store import CacheStore

_KNOWN_BYTES = 4 * 1024 * 1024
"""What remembering requests may cost in memory."""
_LINE_BYTES = 150
"""What a header line costs besides its bytes: a tuple and two byte strings."""

_TRACING = frozenset(
    each
    for name in b"traceparent tracestate baggage sentry-trace x-request-id x-client-request-id x-correlation-id".split()
    for each in (name, name.title(), name.capitalize())
)
"""Lines that are others each time and that no stage reads, as clients spell them."""

_Repeat: TypeAlias = tuple[bytes, int, str | None, bool]
"""Key and serial number of the entry; what the exchange's record says of model and streaming."""


class AnswerRepeats:
    """Spare a repeated request the way to the cache and back.

    What is remembered: the lines (but those of tracing) and the body of a request, whose it is, and
    the entry that it was answered with, where no stage between here and the
    cache changed the answer. They decide by nothing else (what counts or
    looks at the clock must stand in front), so the same request and the same
    entry have the same answer. `store` has the entries: where one expired,
    was replaced or dropped, the request goes the long way. `clock` gives
    monotonic seconds.

    `answered` says which requests to look at: those that nobody asks twice
    cost no more than its hash of their body.
    """

    def __init__(self, store: CacheStore, clock: Callable[[], float], answered: Answered) -> None:
        self._answered = answered.hashes
        self._peek = store.peek
        self._clock = clock
        self._known: KnownRequests[_Repeat] = KnownRequests(_KNOWN_BYTES)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        lines, body, exchange = request.headers, request.body, request.exchange
        if body is not None and type(body) is not bytes:
            return forward(request)  # it still arrives
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
        known = self._known.get(asked, size_bytes)
        if known is not None:
            key, serial, model, streaming = known
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
        # Who asks for a certain age is not answered by the entry alone.
        if type(response) is Hit and parse_cache_control(lines).max_age_s is None:
            exchange = request.exchange
            repeat = (response.key, response.serial, exchange.model, exchange.streaming)
            self._known.remember(asked, size_bytes, repeat)
        return response
