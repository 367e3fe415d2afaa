"""What outlives a reload, and what is said of money at the end that could not be written."""

import pytest
from logged import log_lines
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.cost.budget import GROUP, Account, Need
from openai_proxy.daemon.stores import Stores

REDIS = "redis://:{}@127.0.0.1:6379/{}"


@pytest.fixture
def stores():
    reactor = MemoryReactorClock()
    return Stores(reactor, reactor.seconds)


@pytest.fixture
def errors():
    with log_lines("openai_proxy.cost") as lines:
        yield lines


@pytest.mark.parametrize(
    "store",
    [
        lambda stores, url: stores.ledger(None, url),
        lambda stores, url: stores.limit_store(url),
        lambda stores, url: stores.cache_store(url, 1000),
    ],
)
def test_a_new_password_of_redis_is_no_new_store(stores, store):
    """What was spent while Redis refused the old password was never written, and the old client tried for ever."""
    before = store(stores, REDIS.format("old", 0))
    assert store(stores, REDIS.format("new", 0)) is before
    for other in (REDIS.format("new", 1), REDIS.format("new", 0).replace("//:", "//user:")):
        assert store(stores, other) is not before  # users have rights of their own
    assert stores.redis_connected(REDIS.format("another", 0)) is False


def test_what_could_not_be_written_is_reported_at_the_end(stores, errors):
    """It was lost without a word: the next start had budgets with more left than there was."""
    ledger = stores.ledger(None, REDIS.format("old", 0))
    for key in ("alice", GROUP + "team"):
        account = Account(key, "2026-12")
        spent = Deferred.fromCoroutine(ledger.reserve(account, Need(1.0, 10.0)))
        spent.addCallback(ledger.settle, 2.5)
    stores.stop()
    assert errors == [
        f"$2.50 that {owner} spent in 2026-12 could not be written, and may be missing in the budget"
        for owner in ("'alice'", "the group 'team'")
    ]


def test_nothing_is_reported_of_money_in_memory(stores, errors):
    """Whoever keeps no file knows that a restart begins anew."""
    ledger = stores.ledger(None, None)
    account = Account("alice", "2026-12")
    Deferred.fromCoroutine(ledger.reserve(account, Need(1.0, 10.0))).addCallback(ledger.settle, 2.5)
    stores.stop()
    assert errors == []
