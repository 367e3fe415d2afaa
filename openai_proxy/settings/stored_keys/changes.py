"""The changes of a key: make, change, rotate. Each returns the new record, which contains no secret.

Takes times as arguments. Raises InvalidValue, KeyExists, KeyNotFound.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ...exchange.page_errors import InvalidValue, KeyExists, KeyNotFound
from ...wire.keys import key_digest
from ..errors import without_keys
from ..tables import KeyEntry
from .members import key_entry_of, merged
from .record import MOST_GRACE_S, KeyRecord, StoredSecret

KEY_PREFIX = "sk-proxy-"
KEY_BYTES = 32


def new_secret() -> str:
    """Return a fresh secret of 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def sha256_of(secret: str) -> str:
    """Return the digest of a secret that is stored, in hex."""
    return key_digest(secret.encode()).hex()


def made(document: Mapping[str, Any], secret: str, now: float) -> tuple[KeyRecord, KeyEntry]:
    """Return the record of a new key, and its `[[keys]]` entry.

    `document` has its name and members; null members count as missing.
    """
    members = merged({}, document)
    name = members.pop("name", None)
    if not isinstance(name, str):
        raise InvalidValue("name is missing: a name of 1 to 100 characters.", param="name")
    if without_keys(name) != name:
        raise InvalidValue("name looks like a key: it would appear in logs and metrics.", param="name")
    entry = key_entry_of(name, members)
    return KeyRecord(name, (StoredSecret(sha256_of(secret)),), members, now, now), entry


def only_if_new(old: KeyRecord | None, new: KeyRecord) -> KeyRecord:
    """Return `new`; raise KeyExists if the name is taken."""
    if old is not None:
        raise KeyExists(f"There is a client key named {new.name!r} already.", param="name")
    return new


def found(old: KeyRecord | None) -> KeyRecord:
    """Return a record that must exist; raise KeyNotFound otherwise."""
    if old is None:
        raise KeyNotFound
    return old


def patched(old: KeyRecord, document: Mapping[str, Any], now: float) -> tuple[KeyRecord, KeyEntry]:
    """Return a key with the members of `document` changed; null removes a member."""
    changes = dict(document)
    if "name" in changes and changes.pop("name") != old.name:
        raise InvalidValue("A key cannot be renamed: its budget and limits go by its name.", param="name")
    blocked = changes.pop("blocked", old.blocked)
    if blocked is None:
        blocked = False
    if not isinstance(blocked, bool):
        raise InvalidValue("blocked must be true or false.", param="blocked")
    members = merged(old.members, changes)
    entry = key_entry_of(old.name, members)
    return evolve(old, members=members, blocked=blocked, changed=now), entry


def grace_of(document: Mapping[str, Any]) -> float:
    """Return `grace_s` of a rotation, 0 without one."""
    unknown = next((name for name in document if name != "grace_s"), None)
    if unknown is not None:
        raise InvalidValue("A rotation has no member except grace_s.", param=unknown[:100])
    grace_s = document.get("grace_s")
    if grace_s is None:
        return 0.0
    if isinstance(grace_s, bool) or not isinstance(grace_s, int | float) or not 0 <= grace_s <= MOST_GRACE_S:
        raise InvalidValue(f"grace_s must be a number of seconds from 0 to {MOST_GRACE_S}.", param="grace_s")
    return float(grace_s)
