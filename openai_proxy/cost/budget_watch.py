"""Watch the balances of budgets: alert when one is nearly spent, and report them to the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import orjson
from attrs import frozen
from twisted.python.failure import Failure

from ..exchange.bounded_memo import BoundedMemo
from ..logs import logger
from .budget import Account, Balance, Budget
from .budget_alerts import BudgetAlert, due
from .ledger import SharedLedger
from .webhook import Deliveries, Webhook

log = logger("openai_proxy.cost")

_MOST_ANNOUNCED = 100_000


@frozen
class AlertRules:
    """The fractions of a budget at which to alert, and the receiver of alerts."""

    at: Sequence[float]
    webhook: Webhook | None
    format: Literal["json", "slack"]


class BudgetWatch:
    """Called by the ledger with each account's balance; there is one for each configuration.

    Each alert is sent once for each key and period: the ledger's store
    remembers it for all processes that share it.
    """

    def __init__(
        self,
        ledger: SharedLedger,
        budgets: Mapping[str, Budget],
        rules: AlertRules,
        deliveries: Deliveries,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._budgets = dict(budgets)
        self._rules = rules
        self._deliveries = deliveries
        self._wall_clock = wall_clock
        self._announced: BoundedMemo[str, None] = BoundedMemo(_MOST_ANNOUNCED)

    def begin(self) -> None:
        """Start to watch, and replace the previous watcher."""
        self._ledger.watch(self._look, self._accounts)

    def _accounts(self) -> list[Account]:
        """Return the account of each key in the current period."""
        now = self._wall_clock()
        return [budget.account(key, now) for key, budget in self._budgets.items()]

    def _look(self, account: Account, balance: Balance) -> None:
        for alert in due(account, balance, self._budgets, self._rules.at):
            if alert.id not in self._announced:
                self._announced.remember(alert.id, None, 0)  # the store remembers what is dropped here
                self._ledger.is_first(account, alert.id).addCallbacks(
                    self._tell, self._tell_anyway, (alert,), {}, (alert,), {}
                )

    def _tell_anyway(self, _: Failure, alert: BudgetAlert) -> None:
        """Send the alert although the store failed: one alert too many is better than none."""
        self._tell(True, alert)

    def _tell(self, is_first: bool, alert: BudgetAlert) -> None:
        if not is_first:
            return
        log.warn("{sentence}", sentence=alert.sentence)
        if self._rules.webhook is not None:
            now = self._wall_clock()
            document = {"text": alert.sentence} if self._rules.format == "slack" else alert.document(now)
            self._deliveries.deliver(self._rules.webhook, alert.id, orjson.dumps(document))

    def balances(self) -> list[tuple[str, Budget, Balance]]:
        """Return key, budget and last seen balance of each account, without asking the store."""
        readings = []
        for account in self._accounts():
            balance = self._ledger.last_seen(account)
            if balance is not None:
                readings.append((account.key, self._budgets[account.key], balance))
        return readings
