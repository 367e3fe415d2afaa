"""Client keys made at run time: what is kept of them, how they change, what they mean."""

import json

import pytest
from attrs import evolve

from openai_proxy.exchange.page_errors import InvalidValue, KeyExists, KeyNotFound
from openai_proxy.settings import client_keys, load_settings, with_stored_keys
from openai_proxy.settings.stored_keys import changes
from openai_proxy.settings.stored_keys.in_force import KeysInForce
from openai_proxy.settings.stored_keys.members import merged
from openai_proxy.settings.stored_keys.record import parse_record
from openai_proxy.settings.tenants import found_once

SECRET = "sk-proxy-first"


def record(secret=SECRET, now=1000.0, **members):
    return changes.made({"name": "alice", **members}, secret, now)[0]


def test_nothing_kept_holds_the_secret():
    """Whoever reads the store cannot use a key."""
    secret = changes.new_secret()
    kept = record(secret)
    assert secret.startswith("sk-proxy-")
    assert len(secret) == len("sk-proxy-") + 43
    assert secret[9:].encode() not in kept.dump()
    assert changes.sha256_of(secret) in kept.dump().decode()
    assert changes.sha256_of(secret) not in repr(kept)


def test_a_record_is_read_as_it_was_written():
    """Also with a secret that was replaced, and blocked."""
    kept = evolve(record(models=["gpt-*"], limits={"requests_per_minute": 5}), blocked=True)
    kept = kept.rotated("ab" * 32, 10, 2000.0)
    assert parse_record("alice", kept.dump()) == kept


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"format":2}', b'{"format":1,"secrets":[]}', b"\xff", b"null"]
)
def test_what_is_no_record_is_refused(data):
    """One damaged record must not stop the others."""
    with pytest.raises(ValueError, match=r"^(cannot be read|is of a newer|has no secret)"):
        parse_record("alice", data)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({}, "name"),
        ({"name": 3}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "sk-proxy-abcdefghijkl"}, "name"),
        ({"name": "a", "modls": []}, "modls"),
        ({"name": "a", "models": 3}, "models"),
        ({"name": "a", "models": [""]}, "models"),
        ({"name": "a", "endpoints": []}, "endpoints"),
        ({"name": "a", "endpoints": ["@everything"]}, "endpoints"),
        ({"name": "a", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"name": "a", "limits": {"requests": 1}}, "limits.requests"),
        ({"name": "a", "limits": 3}, "limits"),
        ({"name": "a", "budget_usd": -1}, "budget_usd"),
        ({"name": "a", "budget_period": "year"}, "budget_period"),
        ({"name": "a", "expires": "soon"}, "expires"),
        ({"name": "a", "note": "two\nlines"}, "note"),
        ({"name": "a", "upstream_key": "sk-upstream-1234"}, "upstream_key"),
        ({"name": "a", "key": "sk-mine-12345678"}, "key"),
        ({"name": "a", "blocked": True}, "blocked"),
    ],
)
def test_a_wrong_member_is_named_and_its_value_is_not_repeated(document, param):
    """A secret in a wrong place stays unsaid."""
    with pytest.raises(InvalidValue) as caught:
        changes.made(document, SECRET, 0.0)
    assert caught.value.param == param
    assert "1234" not in caught.value.message


def test_a_document_that_is_nested_deep_is_refused_like_any_other():
    """1,000 levels, which a JSON decoder accepts, ended in a defect that was reported as a lost store."""
    deep: dict = {}
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(InvalidValue) as caught:
        changes.patched(record(), {"limits": deep}, 0.0)
    assert caught.value.param == "limits.a"


def test_null_is_as_if_a_member_were_not_there():
    """Forms of dashboards send everything."""
    made = record(models=None, limits={"requests_per_minute": None, "tokens_per_minute": 5}, budget_usd=None)
    assert made.members == {"limits": {"tokens_per_minute": 5}}


def test_a_change_touches_only_what_it_gives():
    """Null removes; tables are merged; the name stays."""
    before = record(models=["a"], limits={"requests_per_minute": 5, "tokens_per_minute": 7}, note="n")
    after, _ = changes.patched(
        before, {"models": None, "limits": {"requests_per_minute": 6}, "blocked": True, "name": "alice"}, 5.0
    )
    assert after.members == {"limits": {"requests_per_minute": 6, "tokens_per_minute": 7}, "note": "n"}
    assert (after.blocked, after.changed, after.made, after.secrets) == (True, 5.0, 1000.0, before.secrets)
    assert changes.patched(after, {"blocked": None}, 6.0)[0].blocked is False


@pytest.mark.parametrize(
    ("document", "param"),
    [({"name": "bob"}, "name"), ({"blocked": 1}, "blocked"), ({"x": None}, None), ({"models": 1}, "models")],
)
def test_a_wrong_change_is_refused(document, param):
    """A member that is not there may be removed, as RFC 7396 has it."""
    if param is None:
        assert changes.patched(record(), document, 0.0)[0].members == {}
        return
    with pytest.raises(InvalidValue) as caught:
        changes.patched(record(), document, 0.0)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "document", [{"grace_s": -1}, {"grace_s": 2592001}, {"grace_s": True}, {"grace_s": "1"}, {"grace": 1}]
)
def test_a_wrong_grace_is_refused(document):
    """Thirty days at most."""
    with pytest.raises(InvalidValue):
        changes.grace_of(document)


def test_only_the_last_two_secrets_work():
    """A rotation without grace ends the old secret at once."""
    once = record().rotated("aa" * 32, 100, 1000.0)
    assert [each.until for each in once.secrets] == [None, 1100.0]
    twice = once.rotated("bb" * 32, 50, 1001.0)
    assert [(each.sha256[:2], each.until) for each in twice.secrets] == [("bb", None), ("aa", 1051.0)]
    assert len(twice.rotated("cc" * 32, 0, 1002.0).secrets) == 1


def test_names_are_taken_or_missing():
    """What must be new, and what must be there."""
    with pytest.raises(KeyExists):
        changes.only_if_new(record(), record())
    with pytest.raises(KeyNotFound):
        changes.found(None)


def test_merging_leaves_no_empty_tables():
    """A table whose last member goes, goes."""
    assert merged({"a": {"b": 1}, "c": 2}, {"a": {"b": None}, "d": {"e": None}}) == {"c": 2}


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[[keys]]\nname = "alice"\nkey = "sk-configured"\n[key_store]\nurl = "sqlite:k.sqlite3"\n'
    )
    environ = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_PROXY_CONFIG": "c.toml"}
    return load_settings({}, environ, tmp_path)


def laid_over(settings, *records, has_prices=True):
    keys, lines = KeysInForce().keys(settings, {each.name: each for each in records}, has_prices)
    return {key.name: key for key in client_keys(with_stored_keys(settings, keys))}, lines


def test_the_configuration_wins_over_a_stored_key_of_its_name(settings):
    """And the log says so."""
    bob = changes.made({"name": "bob", "models": "gpt-*"}, "sk-proxy-b", 0.0)[0]
    keys, lines = laid_over(settings, record(), bob)
    assert {name: key.is_stored for name, key in keys.items()} == {"alice": False, "bob": True}
    assert keys["bob"].models == ("gpt-*",)
    assert keys["bob"].sha256.hex() == changes.sha256_of("sk-proxy-b")
    assert lines == ["the stored key 'alice' has no effect: the configuration has a key of that name"]


def test_a_stored_key_that_fits_no_more_is_not_admitted(settings):
    """A budget that nobody can measure must not become none."""
    bob = changes.made({"name": "bob", "budget_usd": 5}, "sk-proxy-b", 0.0)[0]
    keys, lines = laid_over(settings, bob, has_prices=False)
    assert keys["bob"].refused is not None
    assert keys["bob"].budget_usd is None
    assert lines == [
        "the stored key 'bob' is not admitted: budget_usd: a budget needs prices: the extra [cost], or [[cost.prices]]"
    ]
    keys, lines = laid_over(settings, bob)
    assert (keys["bob"].refused, keys["bob"].budget_usd, lines) == (None, 5.0, [])


def test_a_stored_key_whose_group_has_gone_is_not_admitted(tmp_path):
    """Its limits and its budget would be gone as well."""
    (tmp_path / "c.toml").write_text('[[groups]]\nname = "team"\n[key_store]\nurl = "sqlite:k.sqlite3"\n')
    environ = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_PROXY_CONFIG": "c.toml"}
    settings = load_settings({}, environ, tmp_path)
    keys, lines = laid_over(
        settings, *(evolve(record(f"sk-{name}", group=name), name=name) for name in ("team", "gone"))
    )
    assert keys["team"].refused is None
    assert [group.name for group in keys["team"].groups] == ["team"]
    assert keys["gone"].refused is not None
    assert lines == ["the stored key 'gone' is not admitted: group: 'gone' is no name of [[groups]]"]


def test_a_stored_key_of_another_version_is_not_admitted(settings):
    """Members that nobody here knows may restrict it."""
    bob = evolve(record(), name="bob", members={"colours": ["red"]})
    keys, lines = laid_over(settings, bob)
    assert "bob" not in keys
    assert "cannot be read" in lines[0]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:", "must name a file"),
        ("sqlite://host/x", "must name a file"),
        ("mysql://h", "has another scheme"),
        ("sqlite:no/such/directory/k.sqlite3", "there is no directory"),
        ("sqlite:.", "is a directory"),
    ],
)
def test_a_store_that_cannot_be_stops_the_start(tmp_path, url, words):
    """A key that cannot be kept must not be given out."""
    with pytest.raises(ValueError, match=words):
        load_settings({}, {"OPENAI_API_KEY": "sk-upstream", "KEY_STORE__URL": url}, tmp_path)


def test_a_store_needs_a_key_for_the_upstream(tmp_path):
    """Stored keys have none of their own."""
    with pytest.raises(ValueError, match=r"keys of key_store\.url have no upstream key"):
        load_settings({}, {"KEY_STORE__URL": "sqlite:k.sqlite3"}, tmp_path)


def test_json_of_a_record_is_json():
    """Other programs may look into a store."""
    assert json.loads(record(note="ü").dump())["members"] == {"note": "ü"}


def test_what_is_found_in_all_keys_is_found_once_for_each_change_of_them(tmp_path):
    """Ten thousand keys are searched for a dozen stages, and again when one key changes."""
    settings = load_settings({}, {"OPENAI_API_KEY": "sk-up", "CLIENT_API_KEYS": "a"}, tmp_path)
    searches = []

    def find(of):
        def search():
            searches.append(sorted(key.name for key in client_keys(of)))
            return len(searches)

        return found_once(of, "count", search)

    assert [find(settings), find(settings), find(settings.model_copy())] == [1, 1, 1]
    (key,), _ = KeysInForce().keys(settings, {"alice": record()}, False)
    changed = with_stored_keys(settings, (key,))
    assert [find(changed), find(settings), find(changed)] == [2, 1, 2]
    assert ["alice" in each for each in searches] == [False, True]
