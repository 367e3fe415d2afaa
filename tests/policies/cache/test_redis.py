"""The store in Redis, over a connection that answers as the test says."""

from fakes import result_of
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from openai_proxy.policies.cache.entry import CacheEntry
from openai_proxy.policies.cache.redis import PREFIX, RedisStore

KEY = b"\x01" * 32
NAME = PREFIX + b"01" * 32


class Connection:
    """Remembers commands; GET answers from `values`; `away` fails every call."""

    def __init__(self):
        self.values = {}
        self.members = []
        self.commands = []
        self.away = False

    def call(self, *args):
        self.commands.append(args)
        if self.away:
            return fail(RuntimeError("away"))
        if args[0] == "GET":
            return succeed(self.values.get(args[1]))
        if args[0] == "ZRANGE":
            return succeed(self.members)
        self.values[args[1]] = args[2]
        return succeed(b"OK")


def entry_of(*chunks):
    return CacheEntry(b"OK", [(b"a", b"b")], chunks, 5.0)


def test_value_and_time_to_live_are_one_command():
    """No entry can stay for ever because a daemon died between two commands."""
    connection = Connection()
    store = RedisStore(connection, None)
    result_of(store.put(KEY, entry_of(b"one", b"two"), 1.5))
    ((command, name, _, unit, ttl_ms),) = connection.commands
    assert (command, name, unit, ttl_ms) == ("SET", NAME, "PX", 1500)
    assert result_of(store.get(KEY)).chunks == (b"one", b"two")
    assert result_of(store.get(b"\x02" * 32)) is None


def test_an_entry_of_a_family_is_on_its_list():
    """Every daemon finds what is to be forgotten; the list holds what can still be there, and no longer."""
    connection = Connection()
    store = RedisStore(connection, None)
    result_of(store.put(KEY, entry_of(b"one"), 1.5, b"\x02" * 32))
    family = PREFIX + b"02" * 32
    assert connection.commands[:-1] == [
        ("ZADD", family, 5.0, NAME),
        ("ZREMRANGEBYSCORE", family, "-inf", 3.5),
        ("PEXPIRE", family, 1500),
    ]
    assert connection.commands[-1][:2] == ("SET", NAME)


def test_a_family_is_forgotten_together():
    """What is on the list goes, in commands of a bounded length; an empty list costs one."""
    connection = Connection()
    store = RedisStore(connection, None)
    result_of(store.forget(b"\x02" * 32))
    assert connection.commands == [("ZRANGE", PREFIX + b"02" * 32, 0, -1)]
    connection.members = [b"%d" % number for number in range(501)]
    result_of(store.forget(b"\x02" * 32))
    assert connection.commands[2:] == [("DEL", *connection.members[:500]), ("DEL", b"500")]


def test_large_values_are_compressed():
    """Memory in Redis and bytes on the network are spared."""
    connection = Connection()
    store = RedisStore(connection, None)
    result_of(store.put(KEY, entry_of(b"0" * 100_000), 1))
    assert len(connection.values[NAME]) < 1_000
    assert result_of(store.get(KEY)).chunks == (b"0" * 100_000,)


def test_entries_over_the_bound_are_not_written():
    """One huge answer does not block the connection for the others."""
    connection = Connection()
    store = RedisStore(connection, None, entry_bytes=10_000)
    result_of(store.put(KEY, entry_of(b"0" * 10_000), 1))
    assert connection.commands == []


def test_nonsense_is_a_miss():
    """What somebody else wrote, or an answer of the wrong type, is a miss and counted."""
    connection = Connection()
    store = RedisStore(connection, None)
    for nonsense in (b"", b"nonsense", 5, [b"x"]):
        connection.values[NAME] = nonsense
        assert result_of(store.get(KEY)) is None
    assert store.rejected == 4


def test_redis_away_is_a_miss():
    """Requests go on without Redis: nothing is found, nothing is kept, nothing fails."""
    connection = Connection()
    connection.away = True
    store = RedisStore(connection, None)
    assert result_of(store.get(KEY)) is None
    assert result_of(store.put(KEY, entry_of(b"x"), 1)) is None
    assert result_of(store.put(KEY, entry_of(b"x"), 1, b"family")) is None
    assert result_of(store.forget(b"family")) is None
    assert store.failed == 4


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
