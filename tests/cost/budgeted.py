"""Money in tests: model `m` costs a dollar for each output token, and keys have budgets in memory."""

from fakes import result_of
from twisted.internet.task import Clock

from openai_proxy.cost.budget import Account
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.ledger import SharedLedger
from openai_proxy.cost.prices import OwnPrice, Price
from openai_proxy.cost.pricing import Pricing

NOON = 1_795_262_400.0
"""2026-11-21T12:00:00Z."""


def pricing(**others_usd):
    """Return the prices of `m` and of other models, in dollars for each output token."""
    dollars = {"m": 1.0, **others_usd}
    return Pricing([OwnPrice(model, Price(0.0, usd * 1_000_000)) for model, usd in dollars.items()])


def ledger(store=None):
    """Return a ledger whose clock stands still."""
    return SharedLedger(store or MemoryBudgets(), Clock())


def balance_of(ledger, key="alice", period="2026-11"):
    """Return what stands in an account."""
    return result_of(ledger.balance(Account(key, period)))
