"""What an operator sees of keys and does to them, over a store in memory."""

import pytest
from attrs import evolve
from daemon.memory_keys import MemoryKeys
from fakes import result_of
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from openai_proxy.daemon.key_store.admin import KeyAdmin
from openai_proxy.daemon.key_store.documents import Spent
from openai_proxy.daemon.key_store.loaded_keys import LoadedKeys
from openai_proxy.daemon.key_store.slices import AT_ONCE
from openai_proxy.exchange.errors import KeyStoreUnavailable
from openai_proxy.exchange.page_errors import InvalidValue, KeyExists, KeyInConfig, KeyNotFound, NoKeyStore
from openai_proxy.settings import load_settings, with_stored_keys
from openai_proxy.settings.stored_keys.changes import made, sha256_of
from openai_proxy.settings.stored_keys.in_force import KeysInForce
from openai_proxy.settings.stored_keys.record import StoredSecret

NOW = 1_800_000_000.0


class Operator:
    """An operator of one daemon over the store."""

    def __init__(self, directory, store, has_store=True):
        (directory / "c.toml").write_text(
            '[cost]\nprovider = "none"\n[[keys]]\nname = "config"\nkey = "sk-configured"\n'
        )
        self.settings = load_settings(
            {}, {"OPENAI_API_KEY": "sk-up", "OPENAI_PROXY_CONFIG": "c.toml"}, directory
        )
        self.keys, self.changes = LoadedKeys(store, Clock()) if has_store else None, []
        self.in_force = KeysInForce()
        self.pauses = 0
        self.admin = KeyAdmin(
            self.keys, self.now_in_force, self.spent, self.changes.append, self.pause, lambda: NOW
        )

    def pause(self):
        self.pauses += 1
        return succeed(None)

    def now_in_force(self):
        records = {} if self.keys is None else self.keys.records
        return with_stored_keys(self.settings, self.in_force.keys(self.settings, records, False)[0])

    async def spent(self, keys):
        return {"config": Spent("2027-01", 1.5)}


@pytest.fixture
def store():
    return MemoryKeys()


@pytest.fixture
def operator(tmp_path, store):
    return Operator(tmp_path, store)


def test_the_life_of_a_key(operator):
    """Each change is logged with what was set, and never with a secret."""
    made = result_of(operator.admin.make({"name": "alice", "note": "n"}, "token"))
    assert (made["state"], made["source"], made["made"]) == ("active", "store", "2027-01-15T08:00:00Z")
    changed = result_of(operator.admin.change("alice", {"blocked": True, "note": None}, "socket"))
    assert (changed["state"], changed["note"]) == ("blocked", None)
    rotated = result_of(operator.admin.rotate("alice", {"grace_s": 60}, "token"))
    assert rotated["former_secret_until"] == "2027-01-15T08:01:00Z"
    assert rotated["key"] != made["key"]
    assert result_of(operator.admin.revoke("alice", "token")) is None
    with pytest.raises(KeyNotFound):
        result_of(operator.admin.one("alice"))
    documents = [change.document() for change in operator.changes]
    assert [(each["action"], each["key"], each["by"]) for each in documents] == [
        ("made", "alice", "token"),
        ("changed", "alice", "socket"),
        ("rotated", "alice", "token"),
        ("revoked", "alice", "token"),
    ]
    assert documents[0]["details"] == {"note": "n"}
    assert "sk-proxy-" not in str(documents)


def test_the_list_has_all_keys_and_no_secret(operator):
    """Those of the configuration too, with what they have spent."""
    result_of(operator.admin.make({"name": "alice", "group": "team"}, "token"))
    listed = result_of(operator.admin.listed(None))["data"]
    assert [(each["name"], each["source"], each["spent_usd"]) for each in listed] == [
        ("config", "config", 1.5),
        ("alice", "store", None),
    ]
    assert "sk-" not in str(listed)
    assert [each["name"] for each in result_of(operator.admin.listed("team"))["data"]] == ["alice"]


def test_what_cannot_be_changed(operator, tmp_path, store):
    """And nothing is logged about it."""
    for error, refused in [
        (KeyExists, operator.admin.make({"name": "config"}, "token")),
        (KeyInConfig, operator.admin.change("config", {"blocked": True}, "token")),
        (KeyInConfig, operator.admin.rotate("config", {}, "token")),
        (KeyInConfig, operator.admin.revoke("config", "token")),
        (KeyNotFound, operator.admin.change("bob", {"blocked": True}, "token")),
        (KeyNotFound, operator.admin.revoke("bob", "token")),
        (InvalidValue, operator.admin.make({"name": "bob", "budget_usd": 5}, "token")),
        (NoKeyStore, Operator(tmp_path, store, has_store=False).admin.make({"name": "bob"}, "token")),
    ]:
        with pytest.raises(error):
            result_of(refused)
    assert operator.changes == []
    assert store.records == {}


def test_a_page_shows_what_the_store_has_now(operator, tmp_path, store):
    """Also what another machine has just changed; what was known last while the store is away."""
    other = Operator(tmp_path, store)
    result_of(other.admin.make({"name": "alice"}, "token"))
    assert result_of(operator.admin.one("alice"))["name"] == "alice"
    store.away = True
    assert result_of(operator.admin.one("alice"))["name"] == "alice"
    with pytest.raises(KeyStoreUnavailable):
        result_of(operator.admin.make({"name": "bob"}, "token"))


def test_a_store_that_was_never_read_is_no_empty_one(operator, store):
    """A list without its keys would be believed."""
    store.away = True
    for asked in (operator.admin.listed(None), operator.admin.one("alice")):
        with pytest.raises(KeyStoreUnavailable):
            result_of(asked)


def test_requests_go_on_while_many_keys_are_listed(operator, store):
    """Ten thousand keys in one turn of the reactor held all clients for most of a second."""
    record, _ = made({"name": "x"}, "sk-proxy-x", 0.0)
    for number in range(2 * AT_ONCE):
        digest = sha256_of(f"sk-proxy-{number}")
        store.records[f"key{number}"] = evolve(record, secrets=(StoredSecret(digest),)).dump()
    store.revision += 1
    listed = result_of(operator.admin.listed(None))["data"]
    assert (len(listed), operator.pauses) == (2 * AT_ONCE + 1, 2)
    assert listed[-1]["name"] == f"key{2 * AT_ONCE - 1}"
