"""The embedded cache that the supervisor keeps for its workers."""

import pytest
from fakes import result_of, results_of
from twisted.internet.defer import Deferred
from workers.links import linked, lose

from openai_proxy.policies.cache.entry import CacheEntry
from openai_proxy.workers.link import Link
from openai_proxy.workers.shared_cache import SharedCache, Shelf

MAX_BYTES = 400_000


class Workers:
    """A supervisor with two workers; `settings` is the bound that it was configured with."""

    def __init__(self):
        self.now = 0.0
        self.max_bytes = MAX_BYTES
        self.shelf = Shelf(lambda: self.max_bytes, lambda: self.now, self._send_all)
        self.links, self.caches = [], []
        for _ in range(2):
            on_message = {"cache-put": self.shelf.keep, "cache-forget": self.shelf.drop_family}
            here = Link(on_message, {"cache-get": self.shelf.find}, lambda: None)
            there = Link({"cache-forget": self._forget(len(self.caches))}, {}, lambda: None)
            self.links.append(linked(here, there))
            self.caches.append(SharedCache(there, MAX_BYTES, 2, lambda: self.now))

    def _forget(self, number):
        return lambda family: self.caches[number].forget_copies(family)

    def _send_all(self, family):
        for here, _ in self.links:
            here.send("cache-forget", family)


@pytest.fixture
def workers():
    return Workers()


def entry(size=10):
    return CacheEntry(b"OK", [(b"Content-Type", b"application/json")], (b"x" * size,), 5.0)


def put(cache, key, value, ttl_s=10.0, family=None):
    assert result_of(cache.put(key, value, ttl_s, family)) is None


def ask(cache, key):
    """Return what a `get` brings as it comes: a list that is empty while it waits."""
    return results_of(cache.get(key))


def body(found):
    return [None if each is None else b"".join(each.chunks) for each in found]


def test_what_one_worker_stored_answers_the_other(workers):
    """Byte for byte, and for as long as it had left."""
    first, second = workers.caches
    put(first, b"k", entry(), ttl_s=10.0)
    workers.now = 4.0
    (found,) = ask(second, b"k")
    assert (found.chunks, found.headers, found.stored_at) == (entry().chunks, entry().headers, 5.0)
    workers.now = 9.9
    assert second.peek(b"k") is not None
    workers.now = 10.0
    assert (second.peek(b"k"), ask(second, b"k"), ask(first, b"k")) == (None, [None], [None])


def test_a_copy_is_answered_without_asking(workers):
    """A repeated hit costs no round trip."""
    first, second = workers.caches
    put(first, b"k", entry())
    copy = ask(second, b"k")[0]
    lose(*workers.links[1])
    assert ask(second, b"k") == [copy]


def test_a_family_is_forgotten_everywhere(workers):
    """Also the copies that others have."""
    first, second = workers.caches
    put(first, b"k", entry(), family=b"f")
    put(first, b"other", entry())
    ask(second, b"k")
    Deferred.fromCoroutine(second.forget(b"f"))
    assert [ask(each, b"k") for each in workers.caches] == [[None], [None]]
    assert body(ask(second, b"other")) == [b"x" * 10]


def test_all_together_keep_the_bound(workers):
    """Half of it is the supervisor's, the workers' copies divide the rest."""
    first, second = workers.caches
    for number in range(100):
        put(first, b"%d" % number, entry(10_000))
        ask(second, b"%d" % number)
    sizes = [each._copies.size_bytes for each in workers.caches]
    assert 0 < max(sizes) <= MAX_BYTES // 4
    assert 0 < workers.shelf._table.size_bytes <= MAX_BYTES // 2
    workers.max_bytes = 100_000
    workers.shelf.fit()
    assert workers.shelf._table.size_bytes <= 50_000
    workers.max_bytes = 0
    workers.shelf.fit()
    assert workers.shelf._table.size_bytes == 0


def test_an_answer_above_an_eighth_is_not_kept(workers):
    """As in one process, of what the supervisor has."""
    first, second = workers.caches
    put(first, b"k", entry(MAX_BYTES // 16 + 1))
    assert ask(second, b"k") == [None]


def test_without_its_supervisor_a_worker_has_its_copies(workers):
    """No question fails."""
    first, _ = workers.caches
    put(first, b"k", entry())
    lose(*workers.links[0])
    assert body(ask(first, b"k")) == [b"x" * 10]
    assert ask(first, b"none") == [None]
    put(first, b"later", entry())
    assert body(ask(first, b"later")) == [b"x" * 10]
