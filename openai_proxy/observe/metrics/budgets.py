"""Metrics of the budgets: the limit, what is spent and what is set aside, by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrs import frozen
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_HELP = {
    "limit": "The budget of a client key for its current period.",
    "spent": "What of a budget is spent in its current period.",
    "reserved": "What of a budget is set aside for requests that run.",
}


@frozen
class BudgetReading:
    """How the budget of one key stands in its current period; US dollars."""

    key: str
    limit_usd: float
    spent_usd: float
    reserved_usd: float


class BudgetMetrics(Collector):
    """Shows `openai_proxy_budget_{limit,spent,reserved}_usd` by `key`, for each key that has a budget.

    `balances` returns what is known, asked for at each scrape.
    """

    def __init__(self, balances: Callable[[], Iterable[BudgetReading]]) -> None:
        self._balances = balances

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metrics, as the registry asks when the daemon that has the budgets is still being built."""
        for what, help in _HELP.items():
            yield GaugeMetricFamily(f"openai_proxy_budget_{what}_usd", help, labels=["key"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        balances = list(self._balances())
        if not balances:
            return
        for what, help in _HELP.items():
            family = GaugeMetricFamily(f"openai_proxy_budget_{what}_usd", help, labels=["key"])
            for balance in balances:
                family.add_metric([balance.key], getattr(balance, f"{what}_usd"))
            yield family
