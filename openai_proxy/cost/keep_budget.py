"""Refuse requests that exceed the budget of a client key.

Placed so that every request that reaches it costs money: after the cache,
before the retries. The ledger decides how the money is stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from ..exchange.errors import BudgetSpent
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse
from ..exchange.outcome import ABANDONED, Outcome
from ..exchange.record import Exchange
from ..exchange.usage import Usage
from ..policies.batches.input import BatchInput
from ..policies.batches.input import Price as BatchPrice
from ..policies.usage.estimate import COUNTING, requested_output_tokens
from ..policies.usage.prompt_estimate import estimated_prompt
from .budget import Budget, Ledger, Need, Reservation
from .budget_words import budget_words

Price = Callable[[str, "str | None", Usage, float], "float | None"]
"""Takes model, upstream (None: the probable one), usage and time; returns None without a price."""


Groups = Sequence[tuple[str, Budget]]
"""Accounts of groups (`GROUP` and the name) with their budgets, the nearest group first."""
Charged = dict[str, list[tuple[str, Budget]]]


def charged_accounts(budgets: Mapping[str, Budget], groups: Mapping[str, Groups]) -> Charged:
    """Return by `credential_id` the accounts that a caller's requests are charged to, and their budgets."""
    charged: Charged = {key: [(key, budget)] for key, budget in budgets.items()}
    for key, its in groups.items():
        charged[key] = [*charged.get(key, []), *its]
    return charged


class KeepBudget:
    """Reserve the possible cost of each request of a key with a budget; settle it when the exchange ends.

    `budgets` are by `credential_id`, and so are the `groups` above a key that
    have budgets: each of them must have room. `settle_cost` sets the cost of an
    ended exchange. Only requests that may cost something are checked: POST and
    WebSockets. A request without a known price reserves nothing; a batch
    reserves the cost of its lines by `batch_price`.
    """

    def __init__(
        self,
        ledger: Ledger,
        budgets: Mapping[str, Budget],
        price: Price,
        settle_cost: Callable[[Exchange], None],
        batch_price: BatchPrice | None = None,
        groups: Mapping[str, Groups] | None = None,
    ) -> None:
        self._ledger = ledger
        self._budgets = charged_accounts(budgets, groups or {})
        self._price = price
        self._settle_cost = settle_cost
        self._batch_price = batch_price

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        exchange = request.exchange
        charged = self._budgets.get(exchange.credential_id)
        if charged is None or exchange.reserved_usd is not None or not _may_cost(request):
            return forward(request)
        return self._keep(charged, request, forward)

    async def _keep(
        self, charged: Sequence[tuple[str, Budget]], request: ProxyRequest, forward: Forward
    ) -> ProxyResponse:
        exchange = request.exchange
        payer = exchange.credential_id
        reservations = await self._reserve(charged, request)
        # an outer stage may call again within the same exchange
        reserved_usd = exchange.reserved_usd = max(each.usd for each in reservations)

        def finish(ended: Exchange) -> None:
            if ended.heir is not None:
                ended.heir.on_end(finish)
                return
            if ended.pending_call is not None:
                self._ledger.keep(reservations, ended.pending_call)
                return
            self._settle_cost(ended)
            cost_usd = charged_usd(ended, reserved_usd, self._plain_usd(ended))
            if cost_usd > 0.0:
                ended.cost_usd = cost_usd  # the logs and metrics agree with the budget
            is_payer = ended.credential_id == payer
            for reservation in reservations:
                self._ledger.settle(reservation, cost_usd if is_payer else 0.0)
            if not is_payer:
                for key, budget in self._budgets.get(ended.credential_id, ()):
                    self._ledger.charge(budget.account(key, ended.timestamp), cost_usd)

        try:
            return await forward(request)
        finally:
            # registered after the stages that complete the usage when the exchange ends
            exchange.on_end(finish)

    async def _reserve(
        self, charged: Sequence[tuple[str, Budget]], request: ProxyRequest
    ) -> list[Reservation]:
        """Reserve money in each account; if one has too little, release the others and raise BudgetSpent for it."""
        exchange, usd = request.exchange, self._estimate_usd(request)
        reservations: list[Reservation] = []
        try:
            for key, budget in charged:
                need = Need(usd, budget.limit_usd)
                # settled in the period of the reservation, even if the exchange ends in the next
                account = budget.account(key, exchange.timestamp)
                reservation = await self._ledger.reserve(account, need)
                if reservation is None:
                    exchange.rate_limited = "budget"
                    balance = await self._ledger.balance(account)
                    words = budget_words(account, need, balance)
                    raise BudgetSpent(words, headers=((b"x-should-retry", b"false"),))
                reservations.append(reservation)
        except BaseException:  # also when the client left
            for each in reservations:
                self._ledger.settle(each, 0.0)
            raise
        return reservations

    def _plain_usd(self, ended: Exchange) -> float:
        """Return what the tokens of usage without a price cost as text in the standard tier; 0 without that price too."""
        usage, model = ended.usage, ended.model or ended.answered_model
        if usage is None or model is None or ended.cost_usd is not None or ended.cached:
            return 0.0
        plain = Usage(usage.input_tokens, usage.output_tokens)
        return self._price(model, ended.upstream, plain, ended.timestamp) or 0.0

    def _estimate_usd(self, request: ProxyRequest) -> float:
        batch: BatchInput | None = request.batch_input
        if batch is not None and self._batch_price is not None:
            return batch.estimated_usd(self._batch_price, request.exchange.timestamp)
        document, body = request.document, request.body
        if document is None or not isinstance(body, bytes):
            return 0.0
        model = request.model
        if model is None:
            return 0.0
        usage = Usage(estimated_prompt(request), requested_output_tokens(document))
        return self._price(model, None, usage, request.exchange.timestamp) or 0.0


def _may_cost(request: ProxyRequest) -> bool:
    if request.upgrade:
        return True
    return request.method == b"POST" and request.exchange.endpoint not in COUNTING


def charged_usd(exchange: Exchange, reserved_usd: float, plain_usd: float = 0.0) -> float:
    """Return the amount that an ended exchange takes from its key's budget.

    - Its cost, if that is known from reported usage.
    - For estimated usage, the larger of the estimate and the reservation: a
      client that left saw only a part of the output, and none of the hidden
      reasoning.
    - For usage of which a part or the service tier has no price, the larger of
      `plain_usd` and the reservation, if there is a `plain_usd`.
    - Nothing for an answer from the cache, a redirect, an error before any
      answer, usage of a model without a price, and a request that reached no
      upstream.
    - Otherwise (the client left or a timeout expired before the answer) the
      reservation.
    """
    if exchange.cached:
        return 0.0
    usage, cost_usd = exchange.usage, exchange.cost_usd
    if cost_usd is not None:
        return max(cost_usd, reserved_usd) if usage is not None and usage.estimated else cost_usd
    if usage is not None:
        return max(plain_usd, reserved_usd) if plain_usd > 0.0 else 0.0
    if exchange.status is not None and (exchange.error_code is None or exchange.is_error_in_stream):
        return reserved_usd if exchange.status < 300 else 0.0
    unanswered = exchange.outcome in ABANDONED or exchange.outcome is Outcome.TIMEOUT
    return reserved_usd if unanswered and exchange.attempts else 0.0
