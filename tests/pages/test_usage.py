"""What /admin/usage answers to which question."""

import json

import fakes
import pytest
from cost.budgeted import NOON
from cost.sync_file import SyncFile
from fakes import result_of
from twisted.internet.task import Clock

from openai_proxy.cost.budget import Budget
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.build import Spending
from openai_proxy.cost.ledger import SharedLedger
from openai_proxy.cost.totals import UsageTotals
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.page_errors import InvalidValue
from openai_proxy.exchange.usage import Usage
from openai_proxy.pages.usage import TotalsUnavailable, UsageReport


@pytest.fixture
def report():
    totals = UsageTotals(Clock())
    for day in range(3):
        exchange = fakes.exchange(
            timestamp=NOON + day * 86_400, path="/x", key="alice", model="m", endpoint="chat"
        )
        exchange.usage, exchange.cost_usd = Usage(1, 1), 0.5
        exchange.end(Outcome.COMPLETE, 1.0)
        totals({"exchange": exchange})
    spending = Spending(budgets={"alice": Budget(5.0)}, ledger=SharedLedger(MemoryBudgets(), Clock()))
    return UsageReport(totals, lambda: spending, lambda: NOON)


def answer(report, **arguments):
    return result_of(report.answer(arguments))


@pytest.mark.parametrize(
    ("arguments", "content_type"),
    [
        ({}, "application/json"),
        ({"accept": "*/*"}, "application/json"),
        ({"accept": "text/csv"}, "text/csv; charset=utf-8"),
        ({"accept": "application/json, text/csv;q=0.5"}, "application/json"),
        ({"accept": "text/csv", "format": "json"}, "application/json"),
        ({"format": "csv"}, "text/csv; charset=utf-8"),
    ],
)
def test_the_format_is_the_querys_else_what_is_accepted(report, arguments, content_type):
    """JSON unless CSV is asked for."""
    assert answer(report, **arguments)[0] == content_type


def test_the_document_tells_since_when_and_the_budgets(report):
    """Without a file the totals begin with this process."""
    document = json.loads(answer(report)[1])
    assert document["since"] == "2026-11-21"
    assert document["total"]["requests"] == 3
    assert [(each["key"], each["period"]) for each in document["budgets"]] == [("alice", "2026-11")]


def test_days_can_be_chosen(report):
    """One month's bill."""
    document = json.loads(answer(report, **{"from": "2026-11-22", "to": "2026-11-22"})[1])
    assert [row["day"] for row in document["data"]] == ["2026-11-22"]


def test_a_file_that_can_not_be_read_is_503(report, tmp_path):
    """Somebody's shell has locked it, or the disk is gone: ask again."""
    file = SyncFile(tmp_path / "state.sqlite3")
    report._totals.keep_in(file)
    file.failing = True
    failures = []
    report.answer({}).addErrback(failures.append)
    assert failures[0].check(TotalsUnavailable)
    assert failures[0].value.status == 503
    report._totals.stop()
    file.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {"format": "xml"},
        {"from": "yesterday"},
        {"to": "2026-11"},
        {"from": "2026-13-01"},
        {"to": "2026-02-30"},
        {"from": ""},
    ],
)
def test_what_can_not_be_is_refused(report, arguments):
    """The error names the argument."""
    with pytest.raises(InvalidValue) as refused:
        report.answer(arguments)
    assert refused.value.param == next(iter(arguments))
