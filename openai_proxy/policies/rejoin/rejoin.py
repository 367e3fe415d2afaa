"""Let a call go on when its client leaves, and let the client's retry join it.

By the cache's own mechanism: one call, one recording, several readers. Only
who says that it repeats a request joins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...wire.headers import get
from ..cache.key import cache_key
from ..cache.participants import Role
from ..cache.rules import Verdict
from ..cache.single_flight import SingleFlight
from .call import Call, Timers

HELD_BYTES = 256 * 1024 * 1024
"""What answers that wait for a retry may take together; beyond, the oldest go."""
_NAMED = b"rejoin"


def _judge(response: ProxyResponse) -> Verdict:
    # A body filter works for one client: what has one cannot be shared.
    if response.filters or 300 <= response.status < 400:
        return Verdict.PRIVATE
    return Verdict.STORE if response.status < 300 else Verdict.FAILED


class Rejoin:
    """Record the calls of requests that `finishes`, for `rejoin_s` and up to `rejoin_bytes` after their clients left.

    Stands like the cache: outside what costs, inside what changes an answer
    for its client.
    """

    def __init__(
        self, finishes: Callable[[ProxyRequest], bool], rejoin_s: float, rejoin_bytes: int, timers: Timers
    ) -> None:
        self._finishes = finishes
        self._rejoin_s = rejoin_s
        self._rejoin_bytes = rejoin_bytes
        self._timers = timers
        self._flights = SingleFlight(rejoin_bytes, _judge)
        self._calls: dict[bytes, Call] = {}
        """Those that can be joined, by the names of their requests."""
        self._held: dict[Call, None] = {}
        """Those that have ended, the oldest first."""

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        body = request.body
        if request.method != b"POST" or type(body) is not bytes or not self._finishes(request):
            return forward(request)
        return self._ride(request, body, forward)

    async def _ride(self, request: ProxyRequest, body: bytes, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        idempotency_key = get(request.headers, b"idempotency-key")
        key = cache_key(
            tenant=f"{exchange.credential_id}\n{request.caller!r}\n{idempotency_key!r}",
            origin=_NAMED,
            credential=request.credential,
            method=request.method,
            target=request.target,
            headers=request.headers,
            body=body,
        )
        is_repeated = idempotency_key is not None or _is_retry(request)
        call = self._calls.get(key) if is_repeated else None
        if call is not None:
            call.join()
            exchange.on_end(call.left)
        else:
            call = self._calls[key] = Call(self._rejoin_s, self._rejoin_bytes, self._timers, self._hold)
            exchange.finish_alone = call.client_left
            exchange.on_end(call.ended)
        own = call
        result = await self._flights.ride(
            key, request, forward, own.keep, lambda: self._closed(key, own), fresh=not is_repeated
        )
        response = result.response
        if response is None:
            exchange.finish_alone = None
            return await forward(request)
        if result.role is Role.FOLLOWER:
            exchange.rejoined = exchange.cached = True
            exchange.cost_usd = 0.0
        elif _judge(response) is not Verdict.STORE:
            exchange.finish_alone = None
        request.undelivered.append(response.body)
        return response

    def _closed(self, key: bytes, call: Call) -> None:
        """Nobody can join a call any more."""
        self._held.pop(call, None)
        if self._calls.get(key) is call:
            del self._calls[key]

    def _hold(self, call: Call) -> None:
        """Bound what is held."""
        held = self._held
        held[call] = None
        while sum(each.size_bytes for each in held) > HELD_BYTES:
            oldest = next(iter(held))
            held.pop(oldest)
            oldest.let_go()


def _is_retry(request: ProxyRequest) -> bool:
    """Whether a client announces that it sends a request again, as OpenAI's SDKs do."""
    count = get(request.headers, b"x-stainless-retry-count")
    return count is not None and count.isdigit() and count.strip(b"0") != b""
