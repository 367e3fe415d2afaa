"""Client keys in a SQLite file."""

import stat

import pytest

from openai_proxy.cost.state_file import do_together
from openai_proxy.daemon.key_store import file_keys
from openai_proxy.daemon.key_store.store import StoreFull


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.sqlite3"


def done(connection, work):
    (result,) = do_together(connection, [work])
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def put(connection, name, old, new):
    return done(connection, lambda each: file_keys.put_key(each, name, old, new))


def test_two_connections_share_the_keys(path):
    """As two processes do; only its owner can read the file."""
    one, two = file_keys.open_keys(path), file_keys.open_keys(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        empty = file_keys.read_keys(two)
        assert empty.records == {}
        assert put(one, "alice", None, b"1")
        first = file_keys.read_keys(two, empty.revision)
        assert first.records == {"alice": b"1"}
        assert file_keys.read_keys(one, first.revision) is None
        assert not put(two, "alice", None, b"2")
        assert not put(two, "alice", b"0", b"2")
        assert put(two, "alice", b"1", b"2")
        assert put(two, "alice", b"2", None)
        assert file_keys.read_keys(one, first.revision).records == {}
    finally:
        one.close()
        two.close()


def test_there_is_a_bound(path, monkeypatch):
    """A change of a key that is there is no key more."""
    monkeypatch.setattr(file_keys, "MOST_KEYS", 1)
    connection = file_keys.open_keys(path)
    try:
        assert put(connection, "alice", None, b"1")
        with pytest.raises(StoreFull):
            put(connection, "bob", None, b"1")
        assert put(connection, "alice", b"1", b"2")
    finally:
        connection.close()


def test_a_new_key_was_never_used(path):
    """An exchange that ends after its key was deleted leaves a row under the name."""
    connection = file_keys.open_keys(path)
    try:
        done(connection, lambda each: each.execute("INSERT INTO key_uses VALUES ('alice', 10)").rowcount)
        assert put(connection, "alice", None, b"1")
        assert done(connection, file_keys.read_uses) == {}
    finally:
        connection.close()
