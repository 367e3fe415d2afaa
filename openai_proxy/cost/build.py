"""From Settings to the parts that determine prices and keep budgets.

Called by `daemon/exchanger.py`, once for each configuration. Opens nothing.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from ..exchange.buffered_bytes import BufferedBytes
from ..logs import logger
from ..observe.lines.record import shown
from ..observe.metrics.budgets import BudgetReading
from ..observe.paths import check_file
from ..policies.routing.table import RoutingTable
from ..settings import GroupEntry, PriceEntry, Settings, client_keys
from ..settings.derived import state_path
from ..settings.tenants import ClientKey
from .budget import GROUP, Budget, group_name
from .budget_watch import AlertRules, BudgetWatch
from .cut_budget import CutBudget
from .keep_budget import Groups, KeepBudget
from .ledger import SharedLedger
from .prices import KindPrices, OwnPrice, Price
from .pricing import LookUp, Pricing
from .refuse_unpriced import RefuseUnpriced
from .settle_later import Calls, SettleLater
from .state_file import StateFile
from .webhook import Deliveries, Webhook, signing_key

log = logger("openai_proxy.cost")

EXTRA = "pip install 'twisted-openai-proxy[cost]'"


class SpendingStores(Protocol):
    """The stores that spending needs; `stores` implements it."""

    def state_file(self, path: Path) -> StateFile: ...

    def ledger(self, path: Path | None, redis_url: str | None) -> SharedLedger: ...

    def pending_calls(self, path: Path | None) -> Calls: ...

    @property
    def deliveries(self) -> Deliveries: ...


@frozen(eq=False)
class Spending:
    """Everything about money under one configuration; replaced as a whole."""

    pricing: Pricing | None = None
    refuse_unpriced: RefuseUnpriced | None = None
    keep_budget: KeepBudget | None = None
    cut_budget: CutBudget | None = None
    settle_later: SettleLater | None = None
    state_file: StateFile | None = None
    needs_usage: bool = False
    budgets: Mapping[str, Budget] = field(factory=dict)
    """The budgets of keys, by their names."""
    groups: Mapping[str, Groups] = field(factory=dict)
    """By the names of keys: the accounts and budgets of the groups that they belong to."""
    group_budgets: Mapping[str, Budget] = field(factory=dict)
    """The budgets of groups, by the keys of their accounts."""
    ledger: SharedLedger | None = None
    watch: BudgetWatch | None = None
    """Watches the budgets; `begin` is called when this configuration takes effect."""

    @property
    def payers(self) -> frozenset[str]:
        """The names of all keys whose requests a budget pays for."""
        return frozenset((*self.budgets, *self.groups))

    def accounts(self) -> dict[str, Budget]:
        """Return every budget by the key of its account: those of keys, then those of groups."""
        return {**self.budgets, **self.group_budgets}

    def balances(self) -> list[BudgetReading]:
        """Return the last seen state of each budget."""
        if self.watch is None:
            return []
        return [
            BudgetReading(
                group_name(key) or key,
                budget.limit_usd,
                balance.spent_usd,
                balance.held_usd,
                is_group=group_name(key) is not None,
            )
            for key, budget, balance in self.watch.balances()
        ]


def build_spending(
    settings: Settings,
    stores: SpendingStores,
    table: RoutingTable | None,
    redis_url: str | None,
    buffered: BufferedBytes,
    pricing: Pricing | None = None,
) -> Spending:
    """Build the parts for `settings`; raises SettingsError for settings that cannot work.

    `buffered` counts the held bytes of bodies. `pricing` is reused if only
    client keys have changed.
    """
    budgets = {
        key.name: Budget(key.budget_usd, key.budget_period)
        for key in client_keys(settings)
        if key.budget_usd is not None
    }
    groups = _groups(settings)
    of_groups = {GROUP + group.name: budget for group in settings.groups if (budget := _group_budget(group))}
    has_budgets = bool(budgets or of_groups)
    has_list = settings.cost.provider is not None  # its value may be `none`
    asked_for = bool(has_budgets or settings.cost.prices or has_list or settings.admin.token)
    if pricing is None:
        pricing = _pricing(settings, table, warns=asked_for or settings.key_store.url is not None)
    if has_budgets and pricing is None:
        raise settings.error(
            "keys.budget_usd" if budgets else "groups.budget_usd",
            f"a budget needs prices: {EXTRA}, or [[cost.prices]]",
        )
    path = state_path(settings, bool(budgets or groups))
    try:
        state_file = stores.state_file(_writable(path)) if path is not None else None
    except (OSError, ValueError) as error:
        raise settings.error("cost.state_file", str(error)) from None
    ledger = keep_budget = cut_budget = watch = None
    if has_budgets and pricing is not None:
        ledger = stores.ledger(path, redis_url)
        ledger.has_groups = ledger.has_groups or bool(groups)
        watch = BudgetWatch(ledger, {**budgets, **of_groups}, _alert_rules(settings), stores.deliveries)
        keep_budget = KeepBudget(
            ledger, budgets, pricing.cost_usd, pricing.settle, pricing.batch_cost_usd, groups
        )
        if settings.budget_cut:
            cut_budget = CutBudget(ledger, budgets, groups, pricing.cost_usd, time.monotonic)
    asked_for = asked_for and (pricing is not None or bool(settings.admin.token))
    settle_later = None
    if pricing is not None:
        settle_later = SettleLater(pricing.settle, stores.pending_calls(path), ledger, buffered)
    refuse_unpriced = (
        _refuse_unpriced(settings, pricing, budgets, ledger, groups) if pricing is not None else None
    )
    return Spending(
        pricing,
        refuse_unpriced,
        keep_budget,
        cut_budget,
        settle_later,
        state_file,
        asked_for,
        budgets,
        groups,
        of_groups,
        ledger,
        watch,
    )


def _group_budget(group: GroupEntry) -> Budget | None:
    return None if group.budget_usd is None else Budget(group.budget_usd, group.budget_period)


def _groups(settings: Settings) -> dict[str, Groups]:
    """Return, by the names of keys, the accounts and budgets of their groups, the nearest group first."""
    found = {
        key.name: [(GROUP + group.name, budget) for group in key.groups if (budget := _group_budget(group))]
        for key in client_keys(settings)
        if key.groups
    }
    return {name: accounts for name, accounts in found.items() if accounts}


def _alert_rules(settings: Settings) -> AlertRules:
    alerts = settings.alerts
    if alerts.url is None:
        return AlertRules(alerts.at, None, alerts.format)
    try:
        secret = signing_key(alerts.secret.get_secret_value()) if alerts.secret is not None else None
    except ValueError:
        raise settings.error("alerts.secret", "must be base64 after whsec_, or any text") from None
    return AlertRules(alerts.at, Webhook(alerts.url.get_secret_value(), secret), alerts.format)


def _refuse_unpriced(
    settings: Settings,
    pricing: Pricing,
    budgets: Mapping[str, Budget],
    ledger: SharedLedger | None,
    groups: Mapping[str, Groups],
) -> RefuseUnpriced | None:
    """Return the stage that refuses models without a price; None if it would refuse nothing."""
    everywhere = settings.cost.unpriced
    wanted = {key.name: key.unpriced or _unpriced_of_budget(key, everywhere) for key in client_keys(settings)}
    refusing = frozenset(name for name, what in wanted.items() if what == "refuse")
    allowing = frozenset(wanted) - refusing
    if not refusing and everywhere != "refuse":
        return None
    return RefuseUnpriced(
        pricing.may_be_priced, refusing, allowing, everywhere == "refuse", budgets, ledger, groups
    )


def _unpriced_of_budget(key: ClientKey, everywhere: str | None) -> str:
    """Return the rule for models without a price of a key that has no setting of its own."""
    if not key.has_budget:
        return everywhere or "allow"
    return "allow" if key.budget_unmeasured == "allow" else everywhere or "refuse"


def _writable(path: Path) -> Path:
    """Return `path`; raise ValueError if no file can be there: early, so that --check-config reports it too."""
    check_file(str(path))
    # SQLite creates further files next to the database
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{str(path.parent)!r} cannot be written")
    return path


def _warn(model: str) -> None:
    log.warn(
        "no price is known for all that the model {model} used: its costs are not counted;"
        " [[cost.prices]] can name them",
        model=shown(model),
    )


def has_prices(settings: Settings) -> bool:
    """Return whether any price can be known under `settings`: without one no budget can be enforced."""
    provider = settings.cost.provider
    listed = provider is None or provider.lower() not in ("none", "off")
    return bool(settings.cost.prices) or (listed and importlib.util.find_spec("genai_prices") is not None)


def _pricing(settings: Settings, table: RoutingTable | None, warns: bool) -> Pricing | None:
    """Return the prices: the configuration's own and the public lists; None if there are neither."""
    own = [OwnPrice(entry.match, _own_price(entry)) for entry in settings.cost.prices]
    look_up, providers = _lists(settings)
    if not own and look_up is None:
        return None
    return Pricing(own, look_up, providers, table, _warn if warns else None)


def _own_price(entry: PriceEntry) -> Price:
    kinds = KindPrices(
        cache_write=entry.cache_write_usd_per_million,
        input_audio=entry.input_audio_usd_per_million,
        output_audio=entry.output_audio_usd_per_million,
        cached_audio=entry.cached_audio_usd_per_million,
        input_image=entry.input_image_usd_per_million,
        output_image=entry.output_image_usd_per_million,
        cached_image=entry.cached_image_usd_per_million,
        audio_per_hour=entry.audio_usd_per_hour,
    )
    return Price(
        entry.input_usd_per_million,
        entry.output_usd_per_million,
        entry.cached_usd_per_million,
        kinds=kinds,
        tier_factors=entry.service_tiers,
    )


def _lists(settings: Settings) -> tuple[LookUp | None, dict[str, str]]:
    """Return the public lists and the name of the list for each upstream."""
    provider = settings.cost.provider
    if provider is not None and provider.lower() in ("none", "off"):
        return None, {}
    if importlib.util.find_spec("genai_prices") is None:
        if provider is not None:
            raise settings.error("cost.provider", f"needs the extra: {EXTRA}")
        return None, {}
    from .price_list import is_provider, look_up, provider_of

    if provider is not None and not is_provider(provider):
        raise settings.error("cost.provider", f"{provider!r} has no price list in genai-prices")
    urls = {"default": settings.upstream.base_url}
    urls |= {entry.name: entry.base_url for entry in settings.upstreams}
    return look_up, {name: provider or provider_of(url) for name, url in urls.items()}
