"""Let a call continue when its client leaves, and let the client's retry join it.

Uses the cache's mechanism: one call, one recording, several readers. Only
requests that announce themselves as retries join.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from ...exchange.buffered_bytes import BufferedBytes
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.record import Exchange
from ...wire.headers import get
from ..cache.key import cache_key
from ..cache.other_calls import OtherCalls
from ..cache.participants import Role
from ..cache.recording_memory import RecordingMemory
from ..cache.rules import Verdict
from ..cache.single_flight import SingleFlight
from .call import Call, Timers

HELD_BYTES = 256 * 1024 * 1024
"""The most memory for answers that wait for a retry; above it, the oldest are dropped."""
_NAMED = b"rejoin"


def _judge(response: ProxyResponse) -> Verdict:
    # A body filter works for one client, so a response with one cannot be shared.
    if response.filters or 300 <= response.status < 400:
        return Verdict.PRIVATE
    return Verdict.STORE if response.status < 300 else Verdict.FAILED


class Rejoin:
    """Record the calls that `finishes` selects, for `rejoin_s` and up to `rejoin_bytes` after their clients
    left.

    Has the same position as the cache: outside the stages that cause costs,
    inside those that change an answer for its client. `others` are the other
    processes of the daemon. Recordings take their memory from `memory`.
    """

    def __init__(
        self,
        finishes: Callable[[ProxyRequest], bool],
        rejoin_s: float,
        rejoin_bytes: int,
        timers: Timers,
        others: OtherCalls | None = None,
        memory: RecordingMemory | None = None,
    ) -> None:
        self._others = others
        if others is not None:
            others.join(self)
        self._finishes = finishes
        self._rejoin_s = rejoin_s
        self._rejoin_bytes = rejoin_bytes
        self._timers = timers
        memory = memory or RecordingMemory(BufferedBytes(sys.maxsize))
        memory.register(self)
        self._flights = SingleFlight(rejoin_bytes, _judge, memory.lease)
        self._calls: dict[bytes, Call] = {}
        """The calls that can be joined, by the names of their requests."""
        self._held: dict[Call, None] = {}
        """The calls that have ended, the oldest first."""

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
        if is_repeated and self._others is not None and key not in self._calls:
            found = await self._others.find(key, self)
            if found is not None:
                _note_joined(exchange)
                request.undelivered.append(found.body)
                return found
        joined = self._calls.get(key) if is_repeated else None
        if joined is None:
            call = self._new_call(key)
        else:
            call = joined
            call.join(exchange)
            exchange.on_end(call.joined_ended)

        async def lead(request: ProxyRequest) -> ProxyResponse:
            call.begin(exchange)
            exchange.on_end(call.ended)
            return await forward(request)

        result = await self._flights.join(
            key, request, lead, call.keep, lambda: self._closed(key, call), fresh=not is_repeated
        )
        response = result.response
        if response is None:
            exchange.finish_alone = None
            return await forward(request)
        if result.role is Role.FOLLOWER:
            _note_joined(exchange)
        elif _judge(response) is not Verdict.STORE:
            exchange.finish_alone = None
        request.undelivered.append(response.body)
        return response

    async def read(self, name: bytes) -> ProxyResponse | None:
        """Return the answer of a call, from its first byte, for a retry at another process; None if there is
        none.

        The call waits for a further retry as long as after any reader has left,
        because the other process may lose its client meanwhile.
        """
        call = self._calls.get(name)
        if call is None:
            return None
        outside = object()
        call.join(outside)
        response = None
        try:
            response = await self._flights.read(name, lambda had_all: call.left(outside, had_all))
        finally:
            if response is None:
                call.left(outside, had_all=False)
        return response

    def _new_call(self, key: bytes) -> Call:
        """Return a call that retries can join, in this process and the others.

        The others are notified when it begins: if a network was lost, a retry
        may reach one of them before this process notices that its client has
        left. They are notified again when the client leaves, because an equal
        call may have replaced it there.
        """

        def offer() -> None:
            if self._others is not None:
                self._others.offer(key)

        call = self._calls[key] = Call(
            self._rejoin_s, self._rejoin_bytes, self._timers, self._hold, alone=offer
        )
        offer()
        return call

    def _closed(self, key: bytes, call: Call) -> None:
        """Accept no more readers for a call."""
        self._held.pop(call, None)
        if self._calls.get(key) is call:
            del self._calls[key]
            if self._others is not None:
                self._others.withdraw(key)

    def _hold(self, call: Call) -> None:
        """Hold a call's answer, and keep the total within its bound."""
        held = self._held
        held[call] = None
        while sum(each.size_bytes for each in held) > HELD_BYTES:
            self.release_one()

    def release_one(self) -> bool:
        """Release one answer: the oldest that a retry has received already, else the oldest. False if there is none."""
        held = self._held
        if not held:
            return False
        call = next((each for each in held if each.was_had), None) or next(iter(held))
        held.pop(call)
        call.let_go()
        return True


def _note_joined(exchange: Exchange) -> None:
    exchange.rejoined = exchange.cached = True
    exchange.cost_usd = 0.0


def _is_retry(request: ProxyRequest) -> bool:
    """Return whether a client announces that it sends a request again, as OpenAI's SDKs do."""
    count = get(request.headers, b"x-stainless-retry-count")
    return count is not None and count.isdigit() and count.strip(b"0") != b""
