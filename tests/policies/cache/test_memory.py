"""The embedded store: bounded, forgetful in the right order."""

import pytest
from fakes import result_of
from twisted.internet.task import Clock

from openai_proxy.policies.cache.entry import CacheEntry
from openai_proxy.policies.cache.memory import MemoryStore


class Shelf:
    """A store driven without waiting."""

    def __init__(self, max_bytes):
        self.clock = Clock()
        self.store = MemoryStore(max_bytes, self.clock.seconds)

    def put(self, key, size, ttl_s=10.0, family=None):
        entry = CacheEntry(b"OK", [], (b"x" * size,), 0.0)
        result_of(self.store.put(key, entry, ttl_s, family))
        return entry

    def forget(self, family):
        result_of(self.store.forget(family))

    def get(self, key):
        return result_of(self.store.get(key))


def test_an_entry_lives_its_time():
    """Expiry is exact, and an expired entry frees its bytes."""
    shelf = Shelf(100_000)
    entry = shelf.put(b"a", 10)
    shelf.clock.advance(9.9)
    assert shelf.get(b"a") is entry
    shelf.clock.advance(0.1)
    assert (shelf.get(b"a"), shelf.store.size_bytes) == (None, 0)


def test_the_least_recently_used_goes_first():
    """A full cache drops what nobody asked for longest, and never grows over its bound."""
    shelf = Shelf(100_000)
    for name in b"abcdefgh":
        shelf.put(bytes([name]), 11_000)
    assert shelf.get(b"a") is not None
    shelf.put(b"i", 11_000)
    shelf.put(b"j", 11_000)
    assert [name for name in "abcdefghij" if shelf.get(name.encode()) is None] == ["b", "c"]
    assert shelf.store.size_bytes <= 100_000


@pytest.mark.parametrize(("size", "kept"), [(11_000, True), (12_500, False)])
def test_an_entry_over_an_eighth_is_not_kept(size, kept):
    """One huge answer does not wash all others out."""
    shelf = Shelf(100_000)
    shelf.put(b"a", 1)
    shelf.put(b"b", size)
    assert (shelf.get(b"b") is not None, shelf.get(b"a") is not None) == (kept, True)


def test_replacing_frees_what_was_there():
    """A refreshed entry is counted once, and if it is now too large the old one is dropped."""
    shelf = Shelf(100_000)
    for _ in range(3):
        entry = shelf.put(b"a", 1_000)
    assert shelf.store.size_bytes == entry.size_bytes + 1
    shelf.put(b"a", 50_000)
    assert (shelf.get(b"a"), shelf.store.size_bytes) == (None, 0)


def test_a_family_is_forgotten_together():
    """What is kept of one caller's models goes at once, and nobody else's."""
    shelf = Shelf(100_000)
    for key, family in ((b"a", b"1"), (b"b", b"1"), (b"c", b"2"), (b"d", None)):
        shelf.put(key, 10, family=family)
    shelf.put(b"b", 10)  # kept anew, in no family
    shelf.forget(b"1")
    shelf.forget(b"3")
    assert [key for key in (b"a", b"b", b"c", b"d") if shelf.get(key) is None] == [b"a"]


def test_a_family_is_no_longer_than_its_entries():
    """Nothing is remembered of entries that are gone."""
    shelf = Shelf(100_000)
    for number in range(500):
        shelf.put(b"%d" % number, 1000, family=b"%d" % (number % 50))
    shelf.clock.advance(10)
    for number in range(500):
        shelf.get(b"%d" % number)
    assert (shelf.store.size_bytes, shelf.store.families) == (0, {})
