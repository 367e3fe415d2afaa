"""From settings to the stages for batches: which ones keys with rules may run, and the cost of all."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from attrs import frozen

from ..cost.batch_inputs import BatchInputs
from ..cost.build import Spending
from ..cost.settle_batches import Calls, SettleBatches
from ..exchange.buffered_bytes import BufferedBytes
from ..policies.authorize.build import access_of_keys, owner_of
from ..policies.batches.allow_batches import AllowBatches, BatchRule
from ..policies.batches.read_batch_file import ReadBatchFile
from ..settings import Settings, client_keys
from ..settings.derived import redis_url, state_path


class BatchStores(Protocol):
    """The stores for batches, which outlive a reload; `stores.Stores` implements it."""

    def batch_inputs(self, path: Path | None, redis_url: str | None) -> BatchInputs: ...

    def pending_calls(self, path: Path | None) -> Calls: ...


@frozen
class Batches:
    """The stages for batches; None for those that would do nothing."""

    allow: AllowBatches | None
    read_file: ReadBatchFile | None
    settle: SettleBatches | None


def batches(settings: Settings, stores: BatchStores, spending: Spending, buffered: BufferedBytes) -> Batches:
    """Return the stages; raises SettingsError if the state file cannot be opened."""
    rules = batch_rules(settings)
    path = state_path(settings, bool(spending.payers))
    pricing = spending.pricing
    inputs = settle = None
    try:
        if rules:
            inputs = stores.batch_inputs(path, redis_url(settings))
        if pricing is not None:
            calls = stores.pending_calls(path)
            settle = SettleBatches(pricing.batch_cost_usd, calls, spending.ledger, inputs)
    except (OSError, ValueError) as error:
        raise settings.error("cost.state_file", str(error)) from None
    if inputs is None:
        return Batches(None, None, settle)
    owners = {name: rule.owner for name, rule in rules.items()}
    return Batches(AllowBatches(rules, inputs), ReadBatchFile(owners, inputs, buffered), settle)


def batch_rules(settings: Settings) -> dict[str, BatchRule]:
    """Return the rules for the batches of each key that may run some and has an allow-list or a budget."""
    rules = {}
    access = access_of_keys(settings)
    # asked once for each set of rules, because many keys share few of them
    allowed = {each: each.allows("POST", "batches") for each in set(access.values())}
    for key in client_keys(settings):
        if key.models is None and not key.has_budget:
            continue
        if allowed[access[key.name]]:
            rules[key.name] = BatchRule(
                owner=owner_of(settings, key),
                rule="a list of models" if key.models is not None else "a budget",
                access=access[key.name],
                lists_models=key.models is not None,
                measures=key.has_budget and key.budget_unmeasured == "refuse",
            )
    return rules
