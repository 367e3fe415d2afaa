"""The record of a stored client key, and its rotation. Pure.

A record never contains the clear secret, only SHA-256 digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from attrs import evolve, field, frozen

MOST_SECRETS = 2
"""The most secrets of a key: the newest, and the one before it during its grace period."""
MOST_GRACE_S = 2_592_000
FORMAT = 1


@frozen
class StoredSecret:
    """The digest of a secret, and when it expires."""

    sha256: str = field(repr=False)
    """64 hex digits."""
    until: float | None = None
    """Seconds since the epoch; None for the newest secret, which works until it is replaced."""


@frozen
class KeyRecord:
    """One key; `members` are those of a `[[keys]]` entry, as JSON values, without the secrets.

    `made` and `changed` are seconds since the epoch.
    """

    name: str
    secrets: tuple[StoredSecret, ...] = field(repr=False)
    """The newest first."""
    members: Mapping[str, Any]
    made: float
    changed: float
    blocked: bool = False

    def rotated(self, sha256: str, grace_s: float, now: float) -> KeyRecord:
        """Return the key with a new secret; the present one works for `grace_s` more, older ones stop working."""
        newest = self.secrets[0]
        former = (StoredSecret(newest.sha256, now + grace_s),) if grace_s > 0 else ()
        secrets = (StoredSecret(sha256), *former)[:MOST_SECRETS]
        return evolve(self, secrets=secrets, changed=now)

    def dump(self) -> bytes:
        """Return the bytes that a store keeps."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "secrets": [{"sha256": each.sha256, "until": each.until} for each in self.secrets],
                "members": dict(self.members),
                "made": self.made,
                "changed": self.changed,
                "blocked": self.blocked,
            },
            option=orjson.OPT_SORT_KEYS,
        )


def parse_record(name: str, data: bytes) -> KeyRecord:
    """Return the record that `dump` wrote; raise ValueError for anything else, without repeating it."""
    try:
        document = orjson.loads(data)
        if document["format"] > FORMAT:
            raise ValueError("is of a newer version of this program")
        secrets = tuple(StoredSecret(str(each["sha256"]), each["until"]) for each in document["secrets"])
        if not secrets:
            raise ValueError("has no secret")
        return KeyRecord(
            name,
            secrets,
            dict(document["members"]),
            float(document["made"]),
            float(document["changed"]),
            bool(document["blocked"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("cannot be read") from error
