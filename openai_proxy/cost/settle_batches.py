"""Charge batches when an answer first shows that they have ended.

A batch runs for hours after the answer that creates it. Its money stays
reserved until an answer about it, or a list of batches, shows its end. Runs
outside the budgets, which reserve the money.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults

from ..exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse
from ..exchange.record import Exchange
from ..exchange.usage import Usage
from ..policies.batches.input import BatchInput, Price
from ..policies.batches.state import BatchState, states_in
from ..policies.bodies.peeked_body import peek
from ..wire.body_headers import media_type_and_coding
from ..wire.codings import maybe_decoded
from .budget import Ledger, PendingCall
from .later_usage import KeptCall

ANSWER_BYTES = 1024 * 1024
"""The largest answer that is read; a larger one settles nothing. A list of 100 batches has a tenth of it."""
_MOST_SETTLED = 10_000
"""The number of settled batches that are remembered, so that lists of them are checked quickly."""
BATCH_TIER = "batch"
_BEGINNING = (b"POST", "batches")
_ASKING = ((b"GET", "batches"), (b"GET", "batches/{id}"), (b"POST", "batches/{id}/cancel"))


class FindsInputs(Protocol):
    """A store of what was read from input files."""

    def find(self, name: str) -> Deferred[tuple[str, BatchInput] | None]: ...


class Calls(Protocol):
    """Stores a bounded number of running calls by their names; no method ever fails."""

    def keep(self, name: str, call: KeptCall) -> None: ...

    def find(self, name: str) -> Awaitable[KeptCall | None]: ...

    def forget(self, name: str) -> None: ...

    def take(self, name: str) -> Awaitable[bool]: ...


class SettleBatches:
    """Stores the batches that are created, and charges each once.

    `price` is for the usage of a whole batch. `calls` has their names, so that
    the usage of each is counted once; `ledger` has the money of those that a
    budget pays for. Both survive a restart, and are shared by all processes of
    the store. `inputs` has the models that a batch asks for.
    """

    def __init__(self, price: Price, calls: Calls, ledger: Ledger | None, inputs: FindsInputs | None) -> None:
        self._price = price
        self._calls = calls
        self._ledger = ledger
        self._inputs = inputs
        self._settled: dict[str, None] = {}

    def concerns(self, kind: Kind) -> bool:
        return (kind.method, kind.named) in (*_ASKING, _BEGINNING)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        asked = (request.method, request.endpoint)
        if asked == _BEGINNING:
            return self._begin(request, forward)
        return self._ask(request, forward) if asked in _ASKING else forward(request)

    async def _begin(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        contents: BatchInput | None = request.batch_input
        if contents is not None and len(contents.uses) == 1:
            (exchange.model,) = contents.uses
        response = await forward(request)
        if not 200 <= response.status < 300:
            return response
        response, states = await _states(response)
        if len(states) == 1:
            # whatever its state is: a later answer shows how it ended
            name = exchange.pending_call = states[0].id
            self._settled.pop(name, None)
            self._calls.keep(name, KeptCall(exchange.model, exchange.reserved_usd is not None))
        return response

    async def _ask(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        response = await forward(request)
        if not 200 <= response.status < 300:
            return response
        response, states = await _states(response)
        over = [state for state in states if state.is_final and state.id not in self._settled]
        try:
            # concurrently: nearly all batches of a list were settled long ago
            finding = [Deferred.fromCoroutine(self._find(state.id)) for state in over]
            found = await gatherResults(finding, consumeErrors=True)
            for state, call in zip(over, found, strict=True):
                if call is not None:
                    await self._settle(request.exchange, state, call)
        except (CancelledError, FirstError):  # the client has left, and one of them was cancelled
            response.body.discard()
            raise CancelledError from None
        return response

    async def _find(self, name: str) -> PendingCall | None:
        """Return the batch `name` if it has not been settled."""
        kept = await self._calls.find(name)
        if self._ledger is not None and (kept is None or kept.has_budget):
            return await self._ledger.find_pending(name)
        return PendingCall(name) if kept is not None and not kept.has_budget else None

    async def _settle(self, exchange: Exchange, state: BatchState, call: PendingCall) -> None:
        """Charge a batch that has ended, unless that was done meanwhile."""
        models = await self._models(state)
        cost_usd = self._cost_usd(state, models, exchange.timestamp)
        if call.account is not None and state.usage is None:
            cost_usd = call.usd * state.share
        if state.id in self._settled:
            return
        if call.account is not None:
            assert self._ledger is not None  # the call comes from it
            if not await self._ledger.take_pending(call, cost_usd or 0.0):
                return
            self._calls.forget(state.id)
        elif not await self._calls.take(state.id):
            return
        if len(self._settled) >= _MOST_SETTLED:
            del self._settled[next(iter(self._settled))]
        self._settled[state.id] = None
        # after the budgets, which count a request to cancel a batch by itself
        exchange.on_end(lambda ended: _tell(ended, state, models, cost_usd))

    async def _models(self, state: BatchState) -> list[str]:
        """Return the models that the lines of a batch ask for, as far as they are known."""
        if self._inputs is not None and state.input_file is not None:
            try:
                found = await self._inputs.find(state.input_file)
            except CancelledError:
                raise
            except Exception:  # the file or Redis has logged it
                found = None
            if found is not None and found[1].uses:
                return list(found[1].uses)
        return [] if state.model is None else [state.model]

    def _cost_usd(self, state: BatchState, models: Sequence[str], timestamp: float) -> float | None:
        """Return the cost of a batch; None if it is not known.

        The usage is that of all lines together: if they ask for several models,
        the most expensive counts, unless the answer names one of them.
        """
        if state.usage is None:
            return None
        requests = state.completed or 1
        named = [state.model] if state.model in models else models
        costs = [self._price(model, state.usage, requests, timestamp) for model in named if model]
        contents = [cost_usd for cost_usd in costs if cost_usd is not None]
        if not contents and state.model is not None:
            cost_usd = self._price(state.model, state.usage, requests, timestamp)
            contents = [] if cost_usd is None else [cost_usd]
        return round(max(contents), 12) if contents else None


def _tell(exchange: Exchange, state: BatchState, models: Sequence[str], cost_usd: float | None) -> None:
    """Add the cost of a batch to the record of the exchange that has shown its end."""
    exchange.model = models[0] if len(models) == 1 else state.model
    exchange.service_tier = BATCH_TIER
    if cost_usd is not None:
        exchange.cost_usd = (exchange.cost_usd or 0.0) + cost_usd
    usage, before = state.usage, exchange.usage
    if usage is not None and before is not None:
        usage = Usage(
            before.input_tokens + usage.input_tokens,
            before.output_tokens + usage.output_tokens,
            before.cached_tokens + usage.cached_tokens,
            before.reasoning_tokens + usage.reasoning_tokens,
        )
    exchange.usage = usage or before


async def _states(response: ProxyResponse) -> tuple[ProxyResponse, list[BatchState]]:
    """Return the response, and the batches in its whole body."""
    _, coding = media_type_and_coding(response.headers)
    response, body = await peek(response, ANSWER_BYTES)
    if not coding:
        return response, states_in(body)
    plain = maybe_decoded(body, coding, ANSWER_BYTES)
    return response, [] if plain is None or not plain[1] else states_in(plain[0])
