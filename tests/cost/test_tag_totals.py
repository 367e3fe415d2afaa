"""Totals by tag and by end user."""

import fakes
from cost.sync_file import SyncFile
from twisted.internet.task import Clock

from openai_proxy.cost import tag_totals
from openai_proxy.cost.report import usage_document
from openai_proxy.cost.tag_totals import TagTotals
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage

DAY = "2027-01-15"
NOW = 1_800_000_000.0


def ended(tags=(("team", "red"),), user=None, outcome=Outcome.COMPLETE, cost_usd=0.5):
    exchange = fakes.exchange(timestamp=NOW, endpoint="chat/completions", tags=tags, end_user=user)
    exchange.usage, exchange.cost_usd, exchange.status, exchange.outcome = (
        Usage(10, 5),
        cost_usd,
        200,
        outcome,
    )
    return {"exchange": exchange}


def rows(totals):
    found = []
    totals.read("0000-01-01", "9999-12-31").addCallback(found.extend)
    return {(tag, value): (sums.requests, sums.cost_usd) for (_, tag, value), sums in found}


def test_each_tag_of_an_exchange_counts_it():
    """And its end user; those that were refused used nothing."""
    totals = TagTotals(Clock())
    totals(ended())
    totals(ended((("team", "red"), ("stage", "prod")), "bob"))
    totals(ended(()))
    totals(ended(outcome=Outcome.LIMIT))
    assert rows(totals) == {
        ("team", "red"): (2, 1.0),
        ("stage", "prod"): (1, 0.5),
        ("end_user", "bob"): (1, 0.5),
    }


def test_they_are_kept_in_the_file(tmp_path):
    """A second later, and added to what is there; in memory while it fails."""
    file, clock = SyncFile(tmp_path / "s.sqlite3"), Clock()
    try:
        totals = TagTotals(clock)
        totals.keep_in(file)
        totals(ended())
        file.failing = True
        clock.advance(1.0)
        totals(ended())
        file.failing = False
        clock.advance(1.0)
        again = TagTotals(clock)
        again.keep_in(file)
        again(ended())
        again.stop()
        assert rows(again) == {("team", "red"): (3, 1.5)}
        clock.advance(1.0)
    finally:
        file.close()


def test_the_names_of_end_users_are_bounded_in_the_file_too(tmp_path, monkeypatch):
    """A client chooses them: what was bounded in memory filled the disk, one second after the other."""
    monkeypatch.setattr(tag_totals, "MOST_USERS", 2)
    file, clock = SyncFile(tmp_path / "s.sqlite3"), Clock()
    try:
        totals = TagTotals(clock)
        totals.keep_in(file)
        for user in ("ann", "bob", "carl", "dora", "ann"):
            totals(ended((), user))
            clock.advance(1.0)
        assert rows(totals) == {
            ("end_user", "ann"): (2, 1.0),
            ("end_user", "bob"): (1, 0.5),
            ("end_user", "other"): (2, 1.0),
        }
    finally:
        file.close()


def test_the_report_sums_over_the_days():
    """Only if there is something to sum."""
    totals = TagTotals(Clock())
    totals(ended())
    found = []
    totals.read(DAY, DAY).addCallback(found.extend)
    (row,) = usage_document([], [], None, found)["by_tag"]
    assert (row["tag"], row["value"], row["requests"], row["cost_usd"]) == ("team", "red", 1, 0.5)
    assert "by_tag" not in usage_document([], [], None)
