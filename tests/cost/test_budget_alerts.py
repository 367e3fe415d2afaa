"""Which alerts of a budget are due, and what they say."""

import pytest

from openai_proxy.cost.budget import Account, Balance, Budget
from openai_proxy.cost.budget_alerts import due

ACCOUNT = Account("alice", "2026-11")
BUDGETS = {"alice": Budget(20.0)}


@pytest.mark.parametrize(
    ("spent", "parts"), [(15.99, []), (16.0, [0.8]), (19.99, [0.8]), (20.0, [0.8, 1.0]), (99.0, [0.8, 1.0])]
)
def test_each_part_is_due_from_its_amount_on(spent, parts):
    """What is set aside may come back, and does not count."""
    assert [each.at for each in due(ACCOUNT, Balance(spent, 5.0), BUDGETS, (0.8, 1.0))] == parts


def test_keys_without_a_budget_have_no_alerts():
    """Nor have budgets of nothing."""
    assert due(Account("bob", "2026-11"), Balance(99.0), BUDGETS, (0.8,)) == []


def test_an_alert_says_who_how_much_and_until_when():
    """In words for people, in members for programs; its id is the same everywhere."""
    (alert,) = due(ACCOUNT, Balance(17.25, 1.0), BUDGETS, (0.8, 1.0))
    assert alert.sentence == (
        "The budget of 'alice' for 2026-11 is 86 % spent: $17.2500 of $20.00."
        " It starts anew at 2026-12-01T00:00Z."
    )
    assert alert.document(1_795_262_400.9) == {
        "object": "event",
        "id": "evt_alice/2026-11/0.8",
        "type": "budget.reached",
        "created_at": 1_795_262_400,
        "data": {
            "key": "alice",
            "period": "2026-11",
            "at": 0.8,
            "budget_usd": 20.0,
            "spent_usd": 17.25,
            "remaining_usd": 2.75,
            "resets_at": "2026-12-01T00:00Z",
            "message": alert.sentence,
        },
    }
