"""Charge background responses when a later answer shows their end.

A background response (POST /responses with `background`) is answered before it
is generated, so a later answer about it has its usage. Until then its money
stays reserved. Runs outside the budgets, which reserve it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import CancelledError

from ..exchange.buffered_bytes import BufferedBytes, Lease
from ..exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse
from ..exchange.record import Exchange
from ..policies.bodies.peeked_body import peek
from ..wire.body_headers import EVENT_STREAM, media_type_and_coding
from ..wire.codings import maybe_decoded
from .budget import Ledger, PendingCall
from .later_usage import KeptCall, ResponseState, maybe_state

BEGINNING_BYTES = 1024 * 1024
"""The most bytes kept of the answer that creates a background response: its name comes early."""
LATER_BYTES = 16 * 1024 * 1024
"""The most bytes kept of an answer about one, which contains all of the output; a larger one is not read."""
_MOST_SETTLED = 10_000
"""The number of settled calls that are remembered, for answers about them that were under way at the same time."""
_LONGEST_NAME = 256
"""Longer names of calls and models are not stored, because others choose them."""


class Calls(Protocol):
    """Stores a bounded number of background calls by their names; no method ever fails."""

    def keep(self, name: str, call: KeptCall) -> None: ...

    def find(self, name: str) -> Awaitable[KeptCall | None]: ...

    def forget(self, name: str) -> None: ...

    def take(self, name: str) -> Awaitable[bool]:
        """Remove a call; fires with True in the one process that removed it. If it is cancelled, the call stays."""
        ...


class _Watch:
    """Keeps the first bytes of a body that passes, if `lease` has room for them."""

    transparent = True

    def __init__(self, coding: bytes, limit_bytes: int, lease: Lease) -> None:
        self._coding = coding
        self._limit_bytes = limit_bytes
        self._left = limit_bytes
        self._lease = lease
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        if self._left > 0:
            part = data[: self._left]
            if self._lease.take(len(part)):
                self._parts.append(part)
                self._left -= len(part)
            else:  # without room the answer is not read; the next one about the call may be
                self._left = 0
                self._parts.clear()
                self._lease.free()
        return data

    def finish(self) -> bytes:
        return b""

    def state(self) -> ResponseState | None:
        """Return the state of the response so far, and release the bytes. Call once."""
        body = b"".join(self._parts)
        self._parts.clear()
        self._lease.free()
        return _state_of(body, self._coding, self._limit_bytes)


def _state_of(body: bytes, coding: bytes, limit_bytes: int) -> ResponseState | None:
    """Return the state of a response in an answer; None if it has none, or cannot be decoded."""
    if not coding:
        return maybe_state(body)
    decoded = maybe_decoded(body, coding, limit_bytes)
    return None if decoded is None else maybe_state(decoded[0])


class SettleLater:
    """Stores background responses, and charges each once when an answer first shows its end.

    `settle_cost` sets the cost of an exchange that has its usage. `calls` has
    their names, so that the usage of each is counted once; `ledger` has the
    money of those that a budget pays for. Both survive a restart, and are
    shared by all processes of the store. `buffered` counts the held bytes of
    answers.
    """

    def __init__(
        self,
        settle_cost: Callable[[Exchange], None],
        calls: Calls,
        ledger: Ledger | None,
        buffered: BufferedBytes,
    ) -> None:
        self._settle_cost = settle_cost
        self._calls = calls
        self._ledger = ledger
        self._buffered = buffered
        self._settled: dict[str, None] = {}

    def concerns(self, kind: Kind) -> bool:
        return kind.endpoint.startswith("responses")

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        endpoint = request.exchange.endpoint
        if not endpoint.startswith("responses"):
            return forward(request)
        if endpoint == "responses":
            if request.method == b"POST" and _is_background(request):
                return self._begin(request, forward)
        elif (request.method == b"GET" and endpoint == "responses/{id}") or (
            request.method == b"POST" and endpoint == "responses/{id}/cancel"
        ):
            return self._ask(request, forward)
        return forward(request)

    # ---- the call begins

    async def _begin(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        exchange.goes_on = True  # no estimate for an answer that is still to be generated
        watches: list[_Watch] = []
        exchange.on_end(lambda ended: self._begun(ended, watches))
        response = await forward(request)
        if not 200 <= response.status < 300:
            return response
        watch = self._watch(response, BEGINNING_BYTES)
        watches.append(watch)
        return response.filtered(watch)

    def _begun(self, exchange: Exchange, watches: list[_Watch]) -> None:
        """Store the call once the answer has ended, unless it contained the usage. Runs before the budget's end callback."""
        if not watches:
            return
        state = watches[0].state()
        if exchange.usage is not None or state is None or state.id is None or state.status == "failed":
            return
        if len(state.id) > _LONGEST_NAME:  # it could not be found again
            return
        exchange.pending_call = state.id
        model = exchange.model
        if model is not None and len(model) > _LONGEST_NAME:
            model = None
        self._calls.keep(state.id, KeptCall(model, exchange.reserved_usd is not None))

    def _watch(self, response: ProxyResponse, limit_bytes: int) -> _Watch:
        return _Watch(media_type_and_coding(response.headers)[1], limit_bytes, Lease(self._buffered))

    # ---- somebody asks

    async def _ask(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        name = _name(request.target)
        kept, call = await self._find(name)
        response = await forward(request)
        if call is None or not 200 <= response.status < 300:
            return response
        if media_type_and_coding(response.headers)[0] != EVENT_STREAM:
            return await self._ask_document(request.exchange, response, call, kept)
        # its end is read as it passes: a stream cannot be held back
        watch = self._watch(response, LATER_BYTES)
        request.exchange.on_end(lambda ended: self._streamed(ended, call, kept, watch))
        return response.filtered(watch)

    async def _ask_document(
        self, exchange: Exchange, response: ProxyResponse, call: PendingCall, kept: KeptCall | None
    ) -> ProxyResponse:
        """Read the whole answer, and let exactly one process count it, before the client sees any of it."""
        lease = Lease(self._buffered)
        exchange.on_end(lease.free)
        full: list[bytes] = []
        """Is not empty if there was no room for all of it: then nothing is read."""

        def no_room(data: bytes) -> bool:
            if not lease.take(len(data)):
                full.append(b"")
            return bool(full)

        response, body = await peek(response, LATER_BYTES, no_room)
        state = None if full else _state_of(body, media_type_and_coding(response.headers)[1], LATER_BYTES)
        if state is None or not state.is_final or call.name in self._settled:
            return response
        if kept is not None and not await self._take(call.name, response):
            return response
        self._remember(call.name)
        exchange.on_end(lambda ended: self._settle(ended, call, kept, state))
        return response

    async def _take(self, name: str, response: ProxyResponse) -> bool:
        try:
            return await self._calls.take(name)
        except CancelledError:  # the client has left: the next request counts it
            response.body.discard()
            raise

    async def _find(self, name: str) -> tuple[KeptCall | None, PendingCall | None]:
        """Return what is stored of the call `name`; the second is None if there is nothing to settle."""
        if name in self._settled or not 0 < len(name) <= _LONGEST_NAME:
            return None, None
        kept = await self._calls.find(name)
        call = None
        if self._ledger is not None and (kept is None or kept.has_budget):
            call = await self._ledger.find_pending(name)
        if call is None and kept is not None and not kept.has_budget:
            call = PendingCall(name)
        return kept, call

    def _streamed(self, exchange: Exchange, call: PendingCall, kept: KeptCall | None, watch: _Watch) -> None:
        """Settle the call after a stream about it has ended."""
        state = watch.state()
        if state is None or not state.is_final or call.name in self._settled:
            return
        self._remember(call.name)
        self._calls.forget(call.name)
        self._settle(exchange, call, kept, state)

    def _remember(self, name: str) -> None:
        if len(self._settled) >= _MOST_SETTLED:
            del self._settled[next(iter(self._settled))]
        self._settled[name] = None

    def _settle(
        self, exchange: Exchange, call: PendingCall, kept: KeptCall | None, state: ResponseState
    ) -> None:
        exchange.model = (kept.model if kept is not None else None) or state.model
        exchange.service_tier = state.service_tier
        exchange.usage = state.usage
        self._settle_cost(exchange)
        if call.account is not None and self._ledger is not None:
            self._ledger.settle_pending(call, _charged_usd(exchange, call, state))


def _charged_usd(exchange: Exchange, call: PendingCall, state: ResponseState) -> float:
    """Return the amount to charge: the cost, or the reservation if the call was cut off or its usage has no price."""
    if exchange.cost_usd is not None:
        return exchange.cost_usd
    return 0.0 if state.usage is None and state.status == "failed" else call.usd


def _is_background(request: ProxyRequest) -> bool:
    document = request.document
    return document is not None and document.get("background") is True


def _name(target: bytes) -> str:
    """Return the name of the response in `/responses/NAME` or `/responses/NAME/cancel`."""
    path = target.partition(b"?")[0]
    return path.partition(b"/responses/")[2].partition(b"/")[0].decode("latin-1")
