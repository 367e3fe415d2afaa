"""The documents of /admin/usage."""

import csv
import io

from openai_proxy.cost.budget import Account, Balance, Budget
from openai_proxy.cost.day_rows import Totals
from openai_proxy.cost.report import BudgetBalance, usage_csv, usage_document

ROWS = [
    (("2026-11-21", "alice", "gpt-4o"), Totals(2, 0, 0, 10, 5, 0, 0, 0.75)),
    (("2026-11-21", "bob", "gpt-4o"), Totals(1, 0, 0, 1, 1, 0, 0, 0.125)),
    (("2026-11-22", "alice", ""), Totals(requests=1)),
]


def test_the_document_has_the_totals_by_each_name():
    """Of all, by key, by model, by day, and each combination."""
    document = usage_document(ROWS, [], None)
    assert document["total"]["requests"] == 4
    assert document["total"]["cost_usd"] == 0.875
    assert [(row["key"], row["cost_usd"]) for row in document["by_key"]] == [("alice", 0.75), ("bob", 0.125)]
    assert [(row["model"], row["requests"]) for row in document["by_model"]] == [(None, 1), ("gpt-4o", 3)]
    assert [(row["day"], row["requests"]) for row in document["by_day"]] == [
        ("2026-11-21", 3),
        ("2026-11-22", 1),
    ]
    assert [row["key"] for row in document["data"]] == ["alice", "bob", "alice"]


def test_budgets_show_what_is_left():
    """Reserved money is not left; debt leaves nothing."""
    budgets = [
        BudgetBalance(Budget(2.0, "day"), Account("alice", "2026-11-21"), Balance(0.5, 0.25)),
        BudgetBalance(Budget(1.0), Account("bob", "2026-11"), Balance(1.5, 0.0)),
    ]
    first, second = usage_document([], budgets, None)["budgets"]
    assert first == {
        "key": "alice",
        "period": "2026-11-21",
        "budget_usd": 2.0,
        "spent_usd": 0.5,
        "reserved_usd": 0.25,
        "remaining_usd": 1.25,
    }
    assert second["remaining_usd"] == 0.0


def test_csv_has_one_line_for_each_combination():
    """A spreadsheet reads it."""
    first, second, third = csv.DictReader(io.StringIO(usage_csv(ROWS)))
    assert (first["day"], first["key"], first["model"], first["cost_usd"]) == (
        "2026-11-21",
        "alice",
        "gpt-4o",
        "0.750000000",
    )
    assert second["requests"] == "1"
    assert third["model"] == ""


def test_a_model_named_as_a_formula_is_not_run_by_a_spreadsheet():
    """Model names come from strangers; what looks like a key is blotted out too."""
    rows = [
        (("2026-11-21", "k", '=HYPERLINK("x")'), Totals()),
        (("2026-11-21", "k", "sk-abcdefgh1234"), Totals()),
    ]
    first, second = csv.DictReader(io.StringIO(usage_csv(rows)))
    assert first["model"].startswith("'=")
    assert "abcdefgh" not in second["model"]
