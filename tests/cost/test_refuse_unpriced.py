"""Models without a price are not free for those whose money is counted."""

import fakes
import pytest
from cost.budgeted import NOON, ledger
from fakes import Forward, outcome_of, through

from openai_proxy.cost.budget import Account, Budget
from openai_proxy.cost.refuse_unpriced import RefuseUnpriced
from openai_proxy.exchange.access_errors import NotMeasured
from openai_proxy.exchange.messages import ProxyRequest


def asked(stage, key="alice", model="house", method=b"POST", endpoint="chat/completions"):
    """Return what came of a request: the answer or the error."""
    exchange = fakes.exchange(timestamp=NOON, credential_id=key, endpoint=endpoint)
    document = None if model is None else {"model": model}
    request = ProxyRequest(method, b"/chat/completions", [], b"{}", exchange, document=document)
    return outcome_of(through(stage, request, Forward("answer")))


def refuse(ledger=None, refusing=("alice",), allowing=(), others=False, **budgets):
    return RefuseUnpriced(
        lambda model, now: model == "gpt-4o",
        frozenset(refusing),
        frozenset(allowing),
        others,
        {key: Budget(usd, "month") for key, usd in budgets.items()},
        ledger,
    )


def test_a_key_with_a_budget_is_refused_once_it_has_spent_something():
    """A model that nobody can price would be free from then on."""
    accounts = ledger()
    stage = refuse(accounts, alice=10.0)
    assert asked(stage) == "answer"
    accounts.charge(Account("alice", "2026-11"), 0.5)
    error = asked(stage)
    assert isinstance(error, NotMeasured)
    assert (error.status, error.param, "'house'" in error.message) == (403, "model", True)
    assert asked(stage, model="gpt-4o") == "answer"
    assert asked(stage, endpoint="responses/input_tokens") == "answer"


def test_a_key_without_a_budget_is_refused_at_once():
    """There is nothing that could be spent first."""
    assert isinstance(asked(refuse()), NotMeasured)


@pytest.mark.parametrize("how", [{"key": "bob"}, {"model": "gpt-4o"}, {"model": None}, {"method": b"GET"}])
def test_other_requests_pass(how):
    """Other keys, models with a price, requests that name none."""
    assert asked(refuse(), **how) == "answer"


def test_the_rule_may_hold_for_all_but_some():
    """As `cost.unpriced = "refuse"` with a key that says "allow"."""
    stage = refuse(refusing=(), allowing=("bob",), others=True)
    assert isinstance(asked(stage, key="key-00000000"), NotMeasured)
    assert asked(stage, key="bob") == "answer"


def test_the_name_of_the_model_is_shortened_in_the_message():
    """It may be as long as a body."""
    assert len(asked(refuse(), model="x" * 100_000).message) < 500
