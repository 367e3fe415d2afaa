"""Metrics of the budgets: the limit, what is spent and what is set aside, by key and by group."""

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

_GROUP_HELP = {
    "limit": "The budget of a group of client keys for its current period.",
    "spent": "What of a group's budget is spent in its current period.",
    "reserved": "What of a group's budget is set aside for requests that run.",
}


@frozen
class BudgetReading:
    """How the budget of one key stands in its current period; US dollars."""

    key: str
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    is_group: bool = False
    """`key` is the name of a group of keys."""


class BudgetMetrics(Collector):
    """Shows `openai_proxy_budget_{limit,spent,reserved}_usd` by `key`, `openai_proxy_group_budget_...` by `group`.

    `balances` returns what is known, asked for at each scrape.
    """

    def __init__(self, balances: Callable[[], Iterable[BudgetReading]]) -> None:
        self._balances = balances

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metrics, as the registry asks when the daemon that has the budgets is still being built."""
        for is_group in (False, True):
            yield from _families([], is_group)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        balances = list(self._balances())
        for is_group in (False, True):
            of_kind = [each for each in balances if each.is_group == is_group]
            if of_kind:
                yield from _families(of_kind, is_group)


def _families(balances: Iterable[BudgetReading], is_group: bool) -> Iterator[GaugeMetricFamily]:
    prefix, label, helps = ("group_", "group", _GROUP_HELP) if is_group else ("", "key", _HELP)
    for what, help in helps.items():
        family = GaugeMetricFamily(f"openai_proxy_{prefix}budget_{what}_usd", help, labels=[label])
        for balance in balances:
            family.add_metric([balance.key], getattr(balance, f"{what}_usd"))
        yield family
