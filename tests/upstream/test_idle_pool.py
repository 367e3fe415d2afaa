"""The table of idle connections: whose they are, how many, and which go first."""

import pytest

from openai_proxy.net.origin import ClientCertificate, parse_origin
from openai_proxy.upstream.idle_pool import LONG_CREDENTIAL_BYTES, IdlePool, pool_key

A, B = parse_origin("http://a.example"), parse_origin("http://b.example")


class Connection:
    """As much of a connection as the pool knows."""

    def __init__(self, origin=A, credential=b"key", payer=""):
        self.key = pool_key(origin, credential)
        self.payer = payer
        self.idle_since = 0.0


def kept(pool, *connections):
    """Put connections into the pool, a second after one another; return what had to go for them."""
    gone = [pool.put(connection, float(now)) for now, connection in enumerate(connections)]
    return [connection for connection in gone if connection is not None]


def test_the_last_one_is_taken_first():
    """The one that was used last is the one least likely to be closed."""
    pool = IdlePool(10)
    first, second = Connection(), Connection()
    kept(pool, first, second)
    assert pool.newest(first.key) is second
    assert [pool.take(first.key) for _ in range(3)] == [second, first, None]
    assert len(pool) == 0


def test_other_credentials_origins_and_certificates_have_their_own():
    """A connection may be bound to who used it."""
    pool = IdlePool(10)
    certified = A.identified_by(ClientCertificate("c.pem"))
    connections = [Connection(), Connection(B), Connection(A, b"other"), Connection(certified)]
    kept(pool, *connections)
    assert [pool.take(connection.key) for connection in connections] == connections


def test_the_oldest_of_all_goes_first():
    """Strangers with made-up keys push out what nobody uses, not one another's last connection only."""
    pool = IdlePool(4)
    connections = [Connection(A, b"key-%d" % number) for number in range(9)]
    assert kept(pool, *connections) == connections[:5]
    assert len(pool) == 4
    assert [pool.take(connection.key) for connection in connections[5:]] == connections[5:]


def test_one_credential_keeps_a_share():
    """No key fills the pool by itself; the oldest connection of that key is dropped."""
    pool = IdlePool(8)
    other = Connection(A, b"other")
    mine = [Connection() for _ in range(9)]
    assert kept(pool, other, *mine) == mine[:5]
    assert pool.take(other.key) is other


def test_one_payer_keeps_a_share_under_many_credentials():
    """A made-up key beside the real one makes a pool of its own each time, and is no new caller."""
    pool = IdlePool(8)
    other = Connection(A, b"other", "other")
    mine = [Connection(A if number % 2 else B, b"key-%d" % number, "me") for number in range(9)]
    assert kept(pool, other, *mine) == mine[:5]
    assert pool.take(other.key) is other
    assert [pool.take(connection.key) for connection in mine[5:]] == mine[5:]
    pool.forget_empty()
    assert pool._by_payer == {}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_small_pool_keeps_one_of_each(limit):
    """A share is at least one connection."""
    pool = IdlePool(limit)
    connection = Connection()
    assert kept(pool, connection) == []
    assert pool.take(connection.key) is connection


def test_those_that_idled_as_long_leave_together():
    """What was idle for a shorter time, or goes elsewhere, stays."""
    pool = IdlePool(20)
    old, elsewhere, stale, young = Connection(A, b"1"), Connection(B), Connection(), Connection(A, b"2")
    kept(pool, old, elsewhere, stale, young)
    assert pool.take(stale.key) is stale
    assert pool.as_idle_as(A, stale.idle_since) == [old]
    assert len(pool) == 2
    assert pool.take(young.key) is young


def test_age_and_end():
    """What has been idle for long leaves, and at the end all."""
    pool = IdlePool(20)
    connections = [Connection(A, b"%d" % number) for number in range(5)]
    kept(pool, *connections)
    assert pool.older_than(1.0) == connections[:2]
    pool.remove(connections[2])
    pool.remove(connections[2])
    assert pool.clear() == connections[3:]
    assert len(pool) == 0
    pool.forget_empty()
    assert pool._by_key == {}


def test_a_long_credential_is_kept_as_its_digest():
    """Keys of 60 KiB from strangers stay in no table."""
    short, long = b"k" * LONG_CREDENTIAL_BYTES, b"k" * (LONG_CREDENTIAL_BYTES + 1)
    assert pool_key(A, short) == (A, short)
    assert len(pool_key(A, long)[1]) == 32
    assert pool_key(A, long) == pool_key(A, bytes(bytearray(long)))
    assert pool_key(A, long) != pool_key(A, long + b"k")


def test_the_oldest_makes_room_for_a_new_connection():
    """If descriptors are few, whoever owns it."""
    pool = IdlePool(10)
    first, second, third = Connection(), Connection(B), Connection()
    kept(pool, first, second, third)
    assert [pool.take_oldest() for _ in range(4)] == [first, second, third, None]
    assert len(pool) == 0
