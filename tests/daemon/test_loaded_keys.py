"""The stored keys that a process knows: looked at, changed, kept when the store is away."""

import pytest
from daemon.memory_keys import MemoryKeys
from fakes import result_of, results_of
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from openai_proxy.daemon.key_store.loaded_keys import POLL_S, WRITE_USES_EVERY_S, LoadedKeys
from openai_proxy.daemon.key_store.store import Snapshot, StoreFull
from openai_proxy.exchange.errors import KeyStoreUnavailable
from openai_proxy.exchange.page_errors import KeyExists, TooManyKeys
from openai_proxy.settings.stored_keys import changes


class Process:
    """One process over a store."""

    def __init__(self, store, clock):
        self.keys = LoadedKeys(store, clock)
        self.seen = []
        self.keys.changed = lambda: self.seen.append(sorted(self.keys.records))
        self.keys.start()

    def change(self, name, work):
        """Return what the change brings, or raise."""
        return result_of(self.keys.change(name, work))

    def make(self, name):
        record, _ = changes.made({"name": name}, "sk-proxy-" + name, 0.0)
        return self.change(name, lambda old: changes.only_if_new(old, record))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return MemoryKeys()


def test_a_change_holds_here_at_once_and_elsewhere_soon(store, clock):
    """Within half a second, without a message between the processes."""
    one, two = Process(store, clock), Process(store, clock)
    one.make("alice")
    assert sorted(one.keys.records) == ["alice"]
    assert two.keys.records == {}
    clock.advance(POLL_S)
    assert sorted(two.keys.records) == ["alice"]
    assert two.seen == [[], ["alice"]]
    two.change("alice", lambda old: None)
    assert two.keys.records == {}
    clock.advance(POLL_S)
    assert one.seen == [[], ["alice"], []]


def test_nothing_is_reported_while_nothing_changes(store, clock):
    """Rebuilding costs."""
    one = Process(store, clock)
    clock.pump([POLL_S] * 5)
    assert one.seen == [[]]
    assert store.reads == 6


def test_a_key_made_by_another_process_meanwhile_is_there(store, clock):
    """Two operators create the same name: one of them is refused."""
    one, two = Process(store, clock), Process(store, clock)
    one.make("alice")
    with pytest.raises(KeyExists):
        two.make("alice")


def test_a_change_is_tried_again_if_another_came_between(store, clock):
    """Neither of two changes gets lost."""
    one = Process(store, clock)
    one.make("alice")
    puts = []

    def put(name, old, new, really=store.put):
        puts.append(name)
        if len(puts) == 1:  # another process is faster
            other = one.keys.records["alice"].rotated("ab" * 32, 0, 1.0)
            really(name, old, other.dump())
        return really(name, old, new)

    store.put = put
    record = one.change("alice", lambda old: changes.patched(old, {"note": "n"}, 2.0)[0])
    assert record.secrets[0].sha256 == "ab" * 32
    assert record.members == {"note": "n"}
    assert len(puts) == 2


def test_the_known_keys_stay_while_the_store_is_away(store, clock):
    """Nobody is locked out by a lost store; nothing can be changed."""
    one = Process(store, clock)
    one.make("alice")
    store.away = True
    clock.pump([POLL_S] * 3)
    assert sorted(one.keys.records) == ["alice"]
    with pytest.raises(KeyStoreUnavailable):
        one.make("bob")
    store.away = False
    one.make("bob")
    assert sorted(one.keys.records) == ["alice", "bob"]


def test_a_store_that_was_never_read_is_not_complete(store, clock):
    """An unknown key may yet be there."""
    store.away = True
    one = Process(store, clock)
    assert not one.keys.is_complete
    store.away = False
    clock.advance(POLL_S)
    assert one.keys.is_complete


def test_a_damaged_record_admits_nobody_and_harms_no_other(store, clock):
    """Fail closed."""
    one = Process(store, clock)
    one.make("alice")
    store.records["bob"], store.revision = b"rubbish", 99
    clock.advance(POLL_S)
    assert sorted(one.keys.records) == ["alice"]


def test_a_full_store_says_so(store, clock):
    """There is a bound."""
    store.put = lambda name, old, new: fail(StoreFull())
    with pytest.raises(TooManyKeys):
        Process(store, clock).make("alice")


def test_others_are_told_before_the_change_is_confirmed(store, clock):
    """So a revoked key is refused by every worker once the answer is there."""
    one, spreads = Process(store, clock), []
    waits = Deferred()
    one.keys.spread = lambda: spreads.append(sorted(one.keys.records)) or waits
    record, _ = changes.made({"name": "alice"}, "sk-proxy-a", 0.0)
    results = results_of(one.keys.change("alice", lambda old: record))
    assert spreads == [["alice"]]
    assert results == []
    waits.callback(None)
    assert results == [record]


def test_uses_are_written_now_and_then(store, clock):
    """To the minute; taken back if the store fails; read together with what is not written yet."""
    one = Process(store, clock)
    for timestamp in (0.0, 59.0, 61.0):
        one.keys.note_use("alice", timestamp)
    assert store.minutes == {}
    store.away = True
    clock.advance(WRITE_USES_EVERY_S)
    store.away = False
    clock.advance(WRITE_USES_EVERY_S)
    assert store.minutes == {"alice": 1}
    one.keys.note_use("bob", 600.0)
    assert result_of(one.keys.uses()) == {"alice": 1, "bob": 10}
    one.keys.stop()
    assert store.minutes == {"alice": 1, "bob": 10}


@pytest.mark.parametrize("away", [False, True])
def test_the_first_look_ends_whatever_comes_of_it(store, clock, away):
    """Requests that wait for it must not wait for a store that is away."""
    looked, waits = [], Deferred()
    store.read = lambda keys: waits
    one = Process(store, clock)
    one.keys.first_look().addCallback(looked.append)
    left = one.keys.first_look()
    left.addErrback(lambda failure: None)
    left.cancel()
    assert (looked, one.keys.has_looked) == ([], False)
    if away:
        waits.errback(OSError("away"))
    else:
        waits.callback(Snapshot("1", {}))
    assert (looked, one.keys.has_looked, one.keys.is_complete) == ([None], True, not away)


def test_a_change_that_the_store_has_taken_is_made(store, clock):
    """The store may be lost right after it, and the other workers out of reach: it was reported as not made."""
    one = Process(store, clock)
    really = store.put

    def put(name, old, new):
        done = really(name, old, new)
        store.away = True
        return done

    store.put, one.keys.spread = put, lambda: fail(OSError("no supervisor"))
    assert one.make("alice").name == "alice"
    assert sorted(one.keys.records) == ["alice"]
    assert one.seen[-1] == ["alice"]
    store.away, store.put = False, really
    clock.advance(POLL_S)
    assert sorted(one.keys.records) == ["alice"]
    one.change("alice", lambda old: None)
    assert one.keys.records == {}


def test_a_record_of_a_newer_version_is_not_overwritten(store, clock):
    """A key of that name may be in use at the machines that have the newer version."""
    one = Process(store, clock)
    store.records["bob"], store.revision = b'{"format": 99}', 99
    for work in (lambda: one.make("bob"), lambda: one.change("bob", lambda old: None)):
        with pytest.raises(KeyStoreUnavailable, match="'bob' cannot be read by this version"):
            work()
    assert store.records == {"bob": b'{"format": 99}'}


def test_a_defect_in_a_change_is_not_reported_as_a_lost_store(store, clock):
    """Whoever reads the error would look for the wrong thing."""
    with pytest.raises(ZeroDivisionError):
        Process(store, clock).change("alice", lambda old: 1 / 0)


def test_the_use_of_a_deleted_key_is_forgotten(store, clock):
    """Another key may be made under its name."""
    one = Process(store, clock)
    one.make("alice")
    one.keys.note_use("alice", 600.0)
    one.change("alice", lambda old: None)
    clock.advance(WRITE_USES_EVERY_S)
    assert (store.minutes, result_of(one.keys.uses())) == ({}, {})
