"""The store in Redis, over a connection that answers as told."""

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from openai_proxy.cache.redis import PREFIX, RedisStore
from openai_proxy.core.cache_entry import CacheEntry

KEY = b"\x01" * 32
NAME = PREFIX + b"01" * 32


class Connection:
    """Remembers commands; GET answers from `values`; `away` fails every call."""

    def __init__(self):
        self.values = {}
        self.commands = []
        self.away = False

    def call(self, *args):
        self.commands.append(args)
        if self.away:
            return fail(RuntimeError("away"))
        if args[0] == "GET":
            return succeed(self.values.get(args[1]))
        self.values[args[1]] = args[2]
        return succeed(b"OK")


def result(coroutine):
    results = []
    Deferred.fromCoroutine(coroutine).addCallback(results.append)
    return results[0]


def entry_of(*chunks):
    return CacheEntry(b"OK", [(b"a", b"b")], chunks, 5.0)


def test_value_and_time_to_live_are_one_command():
    """No entry can stay for ever because a daemon died between two commands."""
    connection = Connection()
    store = RedisStore(connection, None)
    result(store.put(KEY, entry_of(b"one", b"two"), 1.5))
    ((command, name, _, unit, ttl_ms),) = connection.commands
    assert (command, name, unit, ttl_ms) == ("SET", NAME, "PX", 1500)
    assert result(store.get(KEY)).chunks == (b"one", b"two")
    assert result(store.get(b"\x02" * 32)) is None


def test_large_values_are_compressed():
    """Memory in Redis and bytes on the network are spared."""
    connection = Connection()
    store = RedisStore(connection, None)
    result(store.put(KEY, entry_of(b"0" * 100_000), 1))
    assert len(connection.values[NAME]) < 1_000
    assert result(store.get(KEY)).chunks == (b"0" * 100_000,)


def test_entries_over_the_bound_are_not_written():
    """One huge answer does not block the connection for the others."""
    connection = Connection()
    store = RedisStore(connection, None, entry_bytes=10_000)
    result(store.put(KEY, entry_of(b"0" * 10_000), 1))
    assert connection.commands == []


def test_nonsense_is_a_miss():
    """What somebody else wrote, or an answer of the wrong type, is a miss and counted."""
    connection = Connection()
    store = RedisStore(connection, None)
    for nonsense in (b"", b"nonsense", 5, [b"x"]):
        connection.values[NAME] = nonsense
        assert result(store.get(KEY)) is None
    assert store.rejected == 4


def test_redis_away_is_a_miss():
    """Requests go on without Redis: nothing is found, nothing is kept, nothing fails."""
    connection = Connection()
    connection.away = True
    store = RedisStore(connection, None)
    assert result(store.get(KEY)) is None
    assert result(store.put(KEY, entry_of(b"x"), 1)) is None
    assert store.failed == 2


def test_a_client_that_leaves_ends_its_look_up():
    """A client that leaves while Redis is asked is not taken for a miss."""
    connection = Connection()
    connection.call = lambda *args: Deferred()
    store = RedisStore(connection, None)
    failures = []
    looked_up = Deferred.fromCoroutine(store.get(KEY))
    looked_up.addErrback(lambda failure: failures.append(failure.type))
    looked_up.cancel()
    assert failures == [CancelledError]
    assert store.failed == 0
