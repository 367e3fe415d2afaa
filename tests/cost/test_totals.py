"""Totals by key, model and day, in memory and in a file."""

import fakes
import pytest
from cost.budgeted import NOON
from cost.sync_file import SyncFile
from twisted.internet.task import Clock

from openai_proxy.cost import day_rows as module
from openai_proxy.cost.day_rows import WRITE_AFTER_S, Totals
from openai_proxy.cost.totals import UsageTotals
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage

"""2026-11-21T12:00:00Z."""
ALL = ("0000-01-01", "9999-12-31")


@pytest.fixture
def totals():
    return UsageTotals(Clock())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite3"


def count(totals, outcome=Outcome.COMPLETE, timestamp=NOON, **fields):
    fields = {"key": "alice", "model": "gpt-4o", "endpoint": "chat/completions", **fields}
    exchange = fakes.exchange(timestamp=timestamp, path="/x", **{"status": 200, **fields})
    exchange.end(outcome, 1.0)
    totals({"exchange": exchange})


def read(totals, *days):
    rows = []
    totals.read(*(days or ALL)).addCallback(rows.extend)
    return dict(rows)


def test_exchanges_add_up_by_day_key_and_model(totals):
    """Tokens and money of the same place are one row."""
    count(totals, usage=Usage(10, 5, 4, 3), cost_usd=0.25)
    count(totals, usage=Usage(1, 1), cost_usd=0.5)
    count(totals, key="bob", usage=Usage(2, 0), cost_usd=0.125)
    count(totals, timestamp=NOON + 43_200, usage=Usage(7, 0))
    assert read(totals) == {
        ("2026-11-21", "alice", "gpt-4o"): Totals(2, 0, 0, 11, 6, 4, 3, 0.75),
        ("2026-11-21", "bob", "gpt-4o"): Totals(1, 0, 0, 2, 0, 0, 0, 0.125),
        ("2026-11-22", "alice", "gpt-4o"): Totals(1, 0, 1, 7, 0, 0, 0, 0.0),
    }


def test_answers_from_the_cache_count_only_as_requests(totals):
    """Nobody spent their tokens again."""
    count(totals, cached=True, usage=Usage(10, 5), cost_usd=0.0)
    assert read(totals) == {("2026-11-21", "alice", "gpt-4o"): Totals(requests=1, cached_requests=1)}


def test_a_tunnel_counts_as_unpriced(totals):
    """Nobody reads what goes through a WebSocket: it did not cost nothing."""
    count(totals, status=101, endpoint="realtime", model="gpt-realtime")
    count(totals, status=403, endpoint="realtime", model="gpt-realtime")
    row = Totals(requests=2, unpriced_requests=1)
    assert read(totals) == {("2026-11-21", "alice", "gpt-realtime"): row}


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.LIMIT])
def test_refused_requests_are_not_counted(totals, outcome):
    """They used nothing, and strangers can make any number of them."""
    count(totals, outcome)
    assert read(totals) == {}


def test_pages_of_our_own_are_not_counted(totals):
    """Looking at the totals does not change them."""
    count(totals, endpoint="")
    assert read(totals) == {}


def test_requests_without_key_or_model_have_empty_names(totals):
    """A list of files has no model."""
    count(totals, key=None, model=None)
    assert read(totals) == {("2026-11-21", "", ""): Totals(requests=1)}


def test_days_can_be_chosen(totals):
    """The first and the last are included."""
    for days in range(4):
        count(totals, timestamp=NOON + days * 86_400)
    assert [key[0] for key in read(totals, "2026-11-22", "2026-11-23")] == ["2026-11-22", "2026-11-23"]


def test_an_exchange_of_yesterday_that_ends_today_is_yesterdays(totals):
    """The day is that of its start, whatever was counted in between."""
    for timestamp in (NOON, NOON + 86_400, NOON, NOON + 86_400):
        count(totals, timestamp=timestamp)
    assert [(key[0], row.requests) for key, row in read(totals).items()] == [
        ("2026-11-21", 2),
        ("2026-11-22", 2),
    ]


def test_made_up_models_are_not_remembered(totals):
    """After the 200th they share one row, and nothing grows with their names."""
    for number in range(1000):
        count(totals, model=f"m{number}")
    assert len(totals._near) <= 200
    assert sum(row.requests for row in read(totals).values()) == 1000


def test_models_and_rows_are_bounded(totals, monkeypatch):
    """Names come from clients: memory and file do not grow with them."""
    monkeypatch.setattr(module, "MOST_ROWS", 5)
    for number in range(250):
        count(totals, model=f"m{number}")
    rows = read(totals)
    assert len(rows) == 6
    assert sum(row.requests for row in rows.values()) == 250


def test_names_that_exist_nowhere_have_no_rows(totals):
    """Configured models have theirs whatever comes, others from their first answer on."""
    totals.configured_models = lambda: {"house"}
    for number in range(205):
        count(totals, model=f"junk-{number}", status=404)
    count(totals, model="house", status=503)
    count(totals, model="real")
    assert {key[2]: row.requests for key, row in read(totals).items()} == {
        "other": 205,
        "house": 1,
        "real": 1,
    }


def test_the_least_used_model_gives_way_to_a_new_one(totals):
    """What it counted stays in its row; from then on it counts as `other`."""
    for number in range(200):
        for _ in range(1 if number == 7 else 2):
            count(totals, model=f"m{number}")
    count(totals, model="new")
    count(totals, model="m7", status=500)
    rows = {key[2]: row.requests for key, row in read(totals).items()}
    assert (rows["new"], rows["m7"], rows["other"], rows["m8"]) == (1, 1, 1, 2)


def test_a_file_gets_what_was_counted_before_and_after(totals, path):
    """Written once a second in one go; other processes and later ones add to it."""
    file = SyncFile(path)
    count(totals, usage=Usage(1, 1), cost_usd=0.5)
    totals.keep_in(file)
    count(totals, usage=Usage(1, 1), cost_usd=0.5)
    assert file.connection.execute("SELECT COUNT(*) FROM usage").fetchone() == (0,)
    totals._timers.advance(WRITE_AFTER_S)
    assert file.connection.execute("SELECT requests, cost_usd FROM usage").fetchall() == [(2, 1.0)]
    other = UsageTotals(Clock())
    other.keep_in(file)
    count(other, usage=Usage(1, 1), cost_usd=0.5)
    assert read(other) == {("2026-11-21", "alice", "gpt-4o"): Totals(3, 0, 0, 3, 3, 0, 0, 1.5)}
    other.stop()
    file.close()


def test_what_a_file_does_not_take_is_written_later(totals, path):
    """A full disk costs no total."""
    file = SyncFile(path)
    totals.keep_in(file)
    file.failing = True
    count(totals, usage=Usage(1, 1), cost_usd=0.5)
    totals._timers.advance(WRITE_AFTER_S)
    count(totals, usage=Usage(1, 1), cost_usd=0.5)
    file.failing = False
    totals._timers.advance(WRITE_AFTER_S)
    assert read(totals)["2026-11-21", "alice", "gpt-4o"].cost_usd == 1.0
    file.close()


def test_stop_writes_the_rest(totals, path):
    """The last second before the end is in the file; nothing is left to run."""
    file = SyncFile(path)
    totals.keep_in(file)
    count(totals)
    totals.stop()
    assert file.connection.execute("SELECT requests FROM usage").fetchall() == [(1,)]
    assert totals._timers.getDelayedCalls() == []
    file.close()
