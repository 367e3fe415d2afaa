"""Refuse models without a known price, for keys whose money is counted.

A budget cannot measure such a model: once a key has spent anything, its
requests for one would be free. Runs before the budgets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..exchange.access_errors import NotMeasured
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse
from ..policies.usage.estimate import COUNTING
from .budget import Budget, Ledger
from .keep_budget import Groups, charged_accounts

_SETTING = "whoever runs it can give the model a price in [[cost.prices]], or set `unpriced` to 'allow'."


class RefuseUnpriced:
    """Raise NotMeasured for a model without a price.

    `refusing` are the keys that the rule applies to, by `credential_id`;
    `refuses_others` says whether it applies to all that are not in `allowing`.
    A key with a budget in `budgets` or `groups` is refused only once its budget
    has spent something. `is_priced` takes a model and the time.
    """

    def __init__(
        self,
        is_priced: Callable[[str, float], bool],
        refusing: frozenset[str],
        allowing: frozenset[str],
        refuses_others: bool,
        budgets: Mapping[str, Budget],
        ledger: Ledger | None,
        groups: Mapping[str, Groups] | None = None,
    ) -> None:
        self._is_priced = is_priced
        self._refusing = refusing
        self._allowing = allowing
        self._refuses_others = refuses_others
        self._budgets = charged_accounts(budgets, groups or {})
        self._ledger = ledger

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        exchange = request.exchange
        if request.method != b"POST" or not self._holds_for(exchange.credential_id):
            return forward(request)
        if exchange.endpoint in COUNTING:
            return forward(request)
        model = self._unpriced(request)
        if model is None:
            return forward(request)
        charged = self._budgets.get(exchange.credential_id)
        if charged is None or self._ledger is None:
            raise NotMeasured(_message(model, "must cost what can be counted"), param="model")
        return self._if_nothing_is_spent(charged, model, request, forward)

    def _unpriced(self, request: ProxyRequest) -> str | None:
        """Return a model of the request without a price, None if there is none."""
        model = request.model
        models = [] if model is None else [model]
        if request.batch_input is not None:
            models += request.batch_input.uses
        timestamp = request.exchange.timestamp
        return next((each for each in models if not self._is_priced(each, timestamp)), None)

    def _holds_for(self, key: str) -> bool:
        return key in self._refusing or (self._refuses_others and key not in self._allowing)

    async def _if_nothing_is_spent(
        self, charged: Groups, model: str, request: ProxyRequest, forward: Forward
    ) -> ProxyResponse:
        exchange = request.exchange
        assert self._ledger is not None  # the caller has checked
        for key, budget in charged:
            balance = await self._ledger.balance(budget.account(key, exchange.timestamp))
            if balance.spent_usd > 0.0:
                raise NotMeasured(_message(model, "has a budget that has spent something"), param="model")
        return await forward(request)


def _message(model: str, why: str) -> str:
    return f"openai-proxy knows no price for the model {model[:100]!r}, and this API key {why}: {_SETTING}"
