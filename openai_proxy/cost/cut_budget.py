"""End a stream whose cost exceeds the rest of its key's budget.

Runs outside the stages that share answers, because only one client's reading is
cut. An answer from the cache costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from ..exchange.errors import BudgetSpent
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse, ResponseBody
from ..exchange.record import Exchange
from ..exchange.usage import Usage
from ..policies.bodies.decoded_body import decoded
from ..policies.usage.prompt_estimate import estimated_prompt
from ..policies.usage.text_meter import TextMeter
from ..wire.body_headers import is_event_stream, media_type_and_coding
from .budget import Account, Budget, Ledger, owner_words
from .budget_words import dollars, period_end
from .keep_budget import Groups, Price, charged_accounts

LOOK_EVERY_S = 1.0
"""How often the balance is read again while a stream runs: other requests spend from it too."""
_SAMPLE_TOKENS = 1000
_BYTES_PER_TOKEN = 4
_BOUNDARIES = (b"\n\n", b"\r\n\r\n")
_TAIL_BYTES = 3


class CutBudget:
    """Count the output of a stream, and cut it when that costs more than is left.

    Applies only to event streams that can be decoded and whose price is known;
    a compressed one is sent on decoded, because the error must be a part of it.
    The output is counted as in other estimates: four bytes are a token.
    Reasoning that is not sent is not counted. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        budgets: Mapping[str, Budget],
        groups: Mapping[str, Groups],
        price: Price,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._charged = charged_accounts(budgets, groups)
        self._price = price
        self._clock = clock

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        response = await forward(request)
        charged = self._charged.get(exchange.credential_id)
        if charged is None or exchange.reserved_usd is None or exchange.cached:
            return response
        media_type, coding = media_type_and_coding(response.headers)
        if response.status != 200 or not is_event_stream(media_type, exchange.streaming):
            return response
        cost = self._cost_of(request)
        if cost is None:
            return response
        if coding:
            # a filter of a stage inside reads the body as its head says it is coded
            plain = response if response.filters else decoded(response)
            if plain is response:
                return response
            response = plain
        purse = Purse(self._ledger, charged, exchange)
        try:
            await purse.look()
        except CancelledError:
            response.body.discard()
            raise
        meter = TextMeter(deltas=exchange.endpoint == "responses")
        return response.evolve(body=CutBody(response.body, meter, cost, purse, self._clock))

    def _cost_of(self, request: ProxyRequest) -> Callable[[int], float] | None:
        """Return a function from output tokens to the cost of the answer; None if there is no price."""
        exchange, model = request.exchange, request.model
        if model is None:
            return None
        prompt = estimated_prompt(request)
        costs = [
            self._price(model, exchange.upstream, Usage(prompt, tokens), exchange.timestamp)
            for tokens in (0, _SAMPLE_TOKENS)
        ]
        base, sample = costs
        if base is None or sample is None:
            return None
        each = (sample - base) / _SAMPLE_TOKENS
        return lambda tokens: base + each * tokens


class Purse:
    """The money left for one exchange in the accounts that pay for it, as last read."""

    def __init__(self, ledger: Ledger, charged: Sequence[tuple[str, Budget]], exchange: Exchange) -> None:
        self._ledger = ledger
        self._accounts = [
            (budget.account(key, exchange.timestamp), budget.limit_usd) for key, budget in charged
        ]
        self._exchange = exchange
        self._left: list[tuple[float, Account, float]] = []
        """For each account: the money left, its owner, its limit."""

    async def look(self) -> None:
        """Read the present balances. Money reserved for this exchange is available to it."""
        own_usd = self._exchange.reserved_usd or 0.0
        left = []
        for account, limit_usd in self._accounts:
            balance = await self._ledger.balance(account)
            others_usd = balance.spent_usd + max(0.0, balance.held_usd - min(own_usd, limit_usd))
            left.append((limit_usd - others_usd, account, limit_usd))
        self._left = left

    def maybe_spent(self, cost_usd: float) -> BudgetSpent | None:
        """Return the error to send if `cost_usd` is more than is left, else None."""
        for left_usd, account, limit_usd in self._left:
            if cost_usd > left_usd:
                return BudgetSpent(
                    f"The budget of {owner_words(account.key)} at openai-proxy is used up in the middle of this"
                    f" answer: it has cost about {dollars(cost_usd)}, of {dollars(limit_usd)} for"
                    f" {account.period} {dollars(max(0.0, left_usd))} were left; it starts anew at"
                    f" {period_end(account.period)}."
                )
        return None

    def note(self) -> None:
        """Note in the exchange that a budget ended it."""
        self._exchange.rate_limited = "budget"

    def error_event(self, error: BudgetSpent) -> bytes:
        """Return the error as an event in the form of the API that was called."""
        if self._exchange.endpoint != "responses":
            return b"data: %b\n\n" % error.body()
        event = {"type": "error", "code": error.code, "message": error.message, "param": None}
        return b"event: error\ndata: %b\n\n" % json.dumps(event).encode("ascii")


class CutBody(Protocol):
    """Forwards a stream until it has cost too much; then sends an error after a whole event, and ends."""

    whole = None

    def __init__(
        self,
        body: ResponseBody,
        meter: TextMeter,
        cost: Callable[[int], float],
        purse: Purse,
        clock: Callable[[], float],
    ) -> None:
        self._body = body
        self._meter = meter
        self._cost = cost
        self._purse = purse
        self._clock = clock
        self._looked_at = clock()
        self._looking: Deferred[None] | None = None
        self._tail = b""
        """The last bytes that passed: the end of an event may be split between reads."""
        self._target: Any = None

    @property
    def length(self) -> None:
        """Unknown: the stream may be cut."""
        return None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body."""
        self._target = protocol
        self._body.deliverBody(cast(IProtocol, self))

    def discard(self) -> None:
        """Free the connection; idempotent."""
        self._target = None
        self._body.discard()

    # ---- fed by the body

    def makeConnection(self, transport: Any) -> None:
        self._target.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if self._target is None:
            return
        self._meter.feed(data)
        spent = self._purse.maybe_spent(self._cost(-(-self._meter.size_bytes // _BYTES_PER_TOKEN)))
        tail, self._tail = self._tail, (self._tail + data)[-_TAIL_BYTES:]
        end = -1 if spent is None else _last_boundary(tail + data) - len(tail)
        if spent is None or end < 0:
            self._target.dataReceived(data)
            self._maybe_look()
            return
        target, self._target = self._target, None
        self._purse.note()
        target.dataReceived(data[:end] + self._purse.error_event(spent))
        self._body.discard()
        target.connectionLost(Failure(spent))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.connectionLost(reason)

    def _maybe_look(self) -> None:
        now = self._clock()
        if self._looking is None and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            looking = self._looking = Deferred.fromCoroutine(self._purse.look())
            looking.addBoth(self._has_looked)

    def _has_looked(self, result: object) -> None:
        self._looking = None


def _last_boundary(data: bytes) -> int:
    """Return the offset after the last whole event in `data`; -1 if none ends in it."""
    ends = [at + len(mark) for mark in _BOUNDARIES if (at := data.rfind(mark)) >= 0]
    return max(ends, default=-1)
