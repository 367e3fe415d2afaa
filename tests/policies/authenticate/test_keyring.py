"""Known, unknown and expired client keys."""

import pytest

from openai_proxy.exchange.access_errors import ExpiredKey, InvalidKey, KeyBlocked
from openai_proxy.policies.authenticate.keyring import ClientKey, Keyring
from openai_proxy.wire.keys import key_digest, key_name


def entry(key: bytes, name: str = "alice", **more: object) -> ClientKey:
    return ClientKey(name=name, digest=key_digest(key), upstream_key=b"sk-up", **more)


def test_a_known_key_gives_its_entry():
    """A listed key is found, by its digest only."""
    alice = entry(b"sk-a")
    keyring = Keyring([alice, entry(b"sk-b", "bob")])
    assert alice is keyring.find(key_digest(b"sk-a"), 0.0)
    assert alice is keyring.named("alice")
    assert None is keyring.named("nobody")
    assert len(keyring) == 2


@pytest.mark.parametrize(
    "wrong",
    [b"", b"sk-", b"sk-a ", b"SK-A", b"sk-ab", b"*", key_digest(b"sk-a"), key_digest(b"sk-a").hex().encode()],
)
def test_every_near_miss_gets_the_same_answer(wrong):
    """A wrong key learns nothing about how wrong it is; a hash of a key is no key."""
    with pytest.raises(InvalidKey) as raised:
        Keyring([entry(b"sk-a")]).find(key_digest(wrong), 0.0)
    assert raised.value.message == InvalidKey.default_message


def test_a_key_works_until_its_expiry():
    """From the named second on the key is refused as expired."""
    keyring = Keyring([entry(b"sk-a", expires_at=100.0)])
    assert keyring.find(key_digest(b"sk-a"), 99.9).name == "alice"
    with pytest.raises(ExpiredKey):
        keyring.find(key_digest(b"sk-a"), 100.0)


def test_doubled_entries_are_refused():
    """Two entries for one key, or of one name, stop the start without showing the key."""
    with pytest.raises(ValueError, match="given twice"):
        Keyring([entry(b"sk-a"), entry(b"sk-a", "bob")])
    with pytest.raises(ValueError, match="two keys are named"):
        Keyring([entry(b"sk-a"), entry(b"sk-b")])


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        (None, "any", True),
        ((), "any", False),
        (("gpt-4o-mini", "text-*"), "gpt-4o-mini", True),
        (("gpt-4o-mini", "text-*"), "gpt-4o-mini-2024", False),
        (("gpt-4o-mini", "text-*"), "text-embedding-3", True),
        (("gpt-*",), "GPT-5", False),
    ],
)
def test_models_are_matched_as_globs(models, model, allowed):
    """An allow-list has exact names and globs, in the case written."""
    assert allowed is entry(b"k", models=models).allows(model)


def test_no_repr_shows_a_key():
    """An entry printed by accident shows only its name."""
    shown = repr(entry(b"sk-a"))
    assert "alice" in shown
    assert "sk-up" not in shown
    assert key_digest(b"sk-a").hex() not in shown


def test_a_key_without_a_name_is_named_by_its_digest():
    """`key-` and eight hex digits name a key in logs."""
    assert key_name(key_digest(b"abc")) == "key-ba7816bf"


def test_a_replaced_secret_works_through_its_grace():
    """Whoever rotates a key has time to carry the new one to its users."""
    keyring = Keyring([entry(b"sk-new", former=((key_digest(b"sk-old"), 100.0),))])
    assert keyring.find(key_digest(b"sk-old"), 99.9).name == "alice"
    assert keyring.find(key_digest(b"sk-new"), 100.0).name == "alice"
    with pytest.raises(InvalidKey):
        keyring.find(key_digest(b"sk-old"), 100.0)
    assert len(keyring) == 1


def test_a_refused_key_says_why():
    """Whichever of its secrets is shown, and expired or not."""
    blocked = entry(b"sk-new", former=((key_digest(b"sk-old"), 100.0),), refused="blocked", expires_at=1.0)
    keyring = Keyring([blocked])
    for secret in (b"sk-new", b"sk-old"):
        with pytest.raises(KeyBlocked, match="blocked"):
            keyring.find(key_digest(secret), 50.0)
        assert keyring.owner(key_digest(secret)) == "alice"
