"""Budgets that are nearly spent are reported once, whoever notices it."""

import json

import pytest
from cost.budgeted import NOON
from cost.sync_file import SyncFile
from twisted.internet.defer import fail
from twisted.internet.task import Clock

from openai_proxy.cost.budget import Account, Balance, Budget, Need
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.budget_watch import AlertRules, BudgetWatch
from openai_proxy.cost.file_budgets import FileBudgets
from openai_proxy.cost.ledger import RENEW_S, SharedLedger
from openai_proxy.cost.webhook import Webhook

ACCOUNT = Account("alice", "2026-11")
HOOK = Webhook("https://hooks.example/x")


class Posts:
    """Deliveries that are only written down."""

    def __init__(self):
        self.posted = []

    def deliver(self, webhook, name, body):
        self.posted.append((webhook, name, json.loads(body)))

    @property
    def parts(self):
        return [document["data"]["at"] for _, _, document in self.posted]


class WatchedBudget:
    """One process that watches a key's budget of ten dollars a month."""

    def __init__(self, store, form="json", at=(0.8, 1.0)):
        self.clock = Clock()
        self.posts = Posts()
        self.ledger = SharedLedger(store, self.clock, lambda: NOON)
        rules = AlertRules(at, HOOK, form)
        self.watch = BudgetWatch(self.ledger, {"alice": Budget(10.0)}, rules, self.posts, lambda: NOON)
        self.watch.begin()

    def spend(self, usd):
        self.ledger.charge(ACCOUNT, usd)
        self.clock.advance(1.0)


def test_each_part_is_reported_once():
    """A log line and a post each, not one for every request after it."""
    watched = WatchedBudget(MemoryBudgets())
    for usd, parts in ((7.9, []), (0.1, [0.8]), (1.0, [0.8]), (1.0, [0.8, 1.0]), (5.0, [0.8, 1.0])):
        watched.spend(usd)
        assert watched.posts.parts == parts


def test_one_alert_for_all_processes_and_after_a_restart(tmp_path):
    """Those that share the file tell it once; so does one that reads it anew."""
    files = [SyncFile(tmp_path / "state.sqlite3") for _ in range(3)]
    keepers = [FileBudgets(file, lambda: NOON) for file in files]
    for store in keepers:
        store.start()
    here, there = WatchedBudget(keepers[0]), WatchedBudget(keepers[1])
    here.spend(9.0)
    there.spend(0.1)
    after = WatchedBudget(keepers[2])
    after.spend(0.1)
    assert [watched.posts.parts for watched in (here, there, after)] == [[0.8], [], []]
    for file in files:
        file.close()


def test_a_keeper_that_fails_does_not_silence_the_alert():
    """One too many is better than none."""
    store = MemoryBudgets()
    store.is_first = lambda account, name: fail(OSError("disk full"))
    watched = WatchedBudget(store)
    watched.spend(9.0)
    assert watched.posts.parts == [0.8]


def test_slack_gets_a_text():
    """Its incoming webhooks take nothing else."""
    watched = WatchedBudget(MemoryBudgets(), form="slack")
    watched.spend(9.0)
    ((webhook, name, document),) = watched.posts.posted
    assert (webhook, name, list(document)) == (HOOK, "alice/2026-11/0.8", ["text"])
    assert "'alice'" in document["text"]


def test_standings_are_known_from_the_start_on(tmp_path):
    """The metrics show what was spent before a restart without any request; a renewal looks again."""
    file, other = SyncFile(tmp_path / "state.sqlite3"), SyncFile(tmp_path / "state.sqlite3")
    before = FileBudgets(other, lambda: NOON)
    before.start()
    before.judge(ACCOUNT, Balance(4.0, 0.0), [])
    store = FileBudgets(file, lambda: NOON)
    store.start()
    watched = WatchedBudget(store)
    assert watched.watch.balances() == []
    watched.ledger.start()
    ((key, budget, balance),) = watched.watch.balances()
    assert (key, budget.limit_usd, balance) == ("alice", 10.0, Balance(4.0, 0.0))
    before.judge(ACCOUNT, Balance(5.0, 0.0), [Need(1.0, 10.0)])
    watched.clock.advance(RENEW_S)
    assert watched.watch.balances()[0][2] == Balance(5.0, 1.0)
    watched.ledger.stop()
    file.close()
    other.close()


@pytest.mark.parametrize("at", [(), (0.5,)])
def test_parts_are_those_of_the_configuration(at):
    """None at all, too."""
    watched = WatchedBudget(MemoryBudgets(), at=at)
    watched.spend(10.0)
    assert watched.posts.parts == list(at)
