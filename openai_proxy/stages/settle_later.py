"""Charge background responses when somebody asks how they went.

A background response (POST /responses with `background`) is answered before
it is worked on: what it costs stands in a later answer about it. Until then
its money stays set aside. Stands outside the budgets, which set it aside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..core.body_headers import media_type_and_coding
from ..core.budget import Ledger, PendingCall
from ..core.codings import maybe_decoded
from ..core.exchange import Exchange
from ..core.later_usage import ResponseState, maybe_state
from ..messages import Forward, ProxyRequest, ProxyResponse

T = TypeVar("T")

BEGINNING_BYTES = 1024 * 1024
"""So much is kept of the answer that begins a background response: it says its name early."""
LATER_BYTES = 16 * 1024 * 1024
"""So much is kept of an answer about one, which holds all that the model wrote; of a longer one nothing is read."""
_MOST_KNOWN = 10_000
"""Background responses of keys without a budget that one process remembers; the oldest are forgotten."""
_LONGEST_NAME = 256
"""No longer name of a call is kept, and none of a model: both are chosen by others."""


class _Watch:
    """Keeps the first bytes of a body that passes."""

    transparent = True

    def __init__(self, coding: bytes, limit_bytes: int) -> None:
        self._coding = coding
        self._limit_bytes = limit_bytes
        self._left = limit_bytes
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        if self._left > 0:
            self._parts.append(data[: self._left])
            self._left -= len(data)
        return data

    def finish(self) -> bytes:
        return b""

    def state(self) -> ResponseState | None:
        """Return what was said of the response so far."""
        body = b"".join(self._parts)
        if not self._coding:
            return maybe_state(body)
        decoded = maybe_decoded(body, self._coding, self._limit_bytes)
        return None if decoded is None else maybe_state(decoded[0])


class SettleLater:
    """Notes background responses, and charges each once when an answer first shows its end.

    `settle_cost` sets the cost of an exchange that has its usage. `ledger`
    keeps the money of those that a budget pays for; it knows them after a
    restart, and in every process that shares it. Of all others this process
    remembers the names, so that their usage is counted once.
    """

    def __init__(self, settle_cost: Callable[[Exchange], None], ledger: Ledger | None) -> None:
        self._settle_cost = settle_cost
        self._ledger = ledger
        self._known: dict[str, PendingCall] = {}
        self._models: dict[str, str] = {}
        """The models that clients asked for, by the names of calls: prices are looked up by them."""
        self._settled: dict[str, None] = {}

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
        exchange.goes_on = True  # no estimate of an answer that is still to be written
        watches: list[_Watch] = []
        exchange.on_end(lambda ended: self._begun(ended, watches))
        response = await forward(request)
        if not 200 <= response.status < 300:
            return response
        watch = _Watch(media_type_and_coding(response.headers)[1], BEGINNING_BYTES)
        watches.append(watch)
        return response.filtered(watch)

    def _begun(self, exchange: Exchange, watches: list[_Watch]) -> None:
        """The answer has ended: remember the call unless it said its usage already. Runs before the budget's end."""
        if exchange.usage is not None or not watches:
            return
        state = watches[0].state()
        if state is None or state.id is None or state.status == "failed":
            return
        if len(state.id) > _LONGEST_NAME:  # nobody will find it again
            return
        exchange.pending_call = state.id
        if exchange.model is not None and len(exchange.model) <= _LONGEST_NAME:
            _remember(self._models, state.id, exchange.model)
        if exchange.reserved_usd is None:
            _remember(self._known, state.id, PendingCall(state.id))

    # ---- somebody asks

    async def _ask(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        name = _name(request.target)
        call = await self._find(name)
        response = await forward(request)
        if call is None or not 200 <= response.status < 300:
            return response
        watch = _Watch(media_type_and_coding(response.headers)[1], LATER_BYTES)
        request.exchange.on_end(lambda ended: self._told(ended, call, watch))
        return response.filtered(watch)

    async def _find(self, name: str) -> PendingCall | None:
        if name in self._settled:
            return None
        call = self._known.get(name)
        if call is None and self._ledger is not None and len(name) <= _LONGEST_NAME:
            call = await self._ledger.find_pending(name)
        return call

    def _told(self, exchange: Exchange, call: PendingCall, watch: _Watch) -> None:
        state = watch.state()
        if state is None or not state.is_final or call.name in self._settled:
            return
        _remember(self._settled, call.name, None)
        self._known.pop(call.name, None)
        exchange.model = self._models.pop(call.name, None) or state.model
        exchange.service_tier = state.service_tier
        exchange.usage = state.usage
        self._settle_cost(exchange)
        if call.account is not None and self._ledger is not None:
            self._ledger.settle_pending(call, _charged_usd(exchange, call, state))


def _charged_usd(exchange: Exchange, call: PendingCall, state: ResponseState) -> float:
    """Return what is charged: the cost, or what was set aside for a call that was cut off and does not say."""
    if exchange.cost_usd is not None:
        return exchange.cost_usd
    return 0.0 if state.usage is not None or state.status == "failed" else call.usd


def _remember(table: dict[str, T], name: str, value: T) -> None:
    """Add to a table that forgets its oldest member when it is full."""
    if len(table) >= _MOST_KNOWN:
        del table[next(iter(table))]
    table[name] = value


def _is_background(request: ProxyRequest) -> bool:
    document = request.document
    return document is not None and document.get("background") is True


def _name(target: bytes) -> str:
    """Return the name of the response in `/responses/NAME` or `/responses/NAME/cancel`."""
    path = target.partition(b"?")[0]
    return path.partition(b"/responses/")[2].partition(b"/")[0].decode("latin-1")
