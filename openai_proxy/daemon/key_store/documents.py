"""The documents about client keys: without secrets, and without their digests. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from attrs import frozen

from ...settings import ClientKey
from ...settings.stored_keys.record import KeyRecord


@frozen
class Spent:
    """The money that a key has spent in a period (`2026-11`, or a day)."""

    period: str
    usd: float


def moment(timestamp: float) -> str:
    """Write a time in UTC, to the second.

    >>> moment(1_800_000_000)
    '2027-01-15T08:00:00Z'
    """
    return f"{datetime.fromtimestamp(timestamp, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def limits_document(key: ClientKey) -> dict[str, Any]:
    """Return the key's own limits, without the general ones."""
    own = key.limits
    return {
        name: getattr(own, name)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
        if name in own.model_fields_set
    }


def key_state(key: ClientKey, now: float) -> str:
    """Return `active`, `blocked` or `expired`."""
    if key.refused is not None:
        return "blocked"
    return "expired" if key.expires is not None and key.expires.timestamp() <= now else "active"


def key_document(
    key: ClientKey, record: KeyRecord | None, minute: int | None, spent: Spent | None, now: float
) -> dict[str, Any]:
    """Return the document of one key for `/admin/keys`.

    `record` is its record in the store, `minute` when it was last used, in
    minutes since the epoch; both are None if unknown.
    """
    former = [until for _, until in key.former if until > now]
    return {
        "object": "client_key",
        "name": key.name,
        "source": "store" if key.is_stored else "config",
        "state": key_state(key, now),
        "models": None if key.models is None else list(key.models),
        "endpoints": None if key.endpoints is None else list(key.endpoints),
        "addresses": list(key.addresses) or None,
        "limits": limits_document(key),
        "budget_usd": key.budget_usd,
        "budget_period": key.budget_period if key.budget_usd is not None else None,
        "expires": None if key.expires is None else moment(key.expires.timestamp()),
        "group": key.group,
        "tags": dict(key.tags) or None,
        "note": key.note,
        "made": None if record is None else moment(record.made),
        "changed": None if record is None else moment(record.changed),
        "last_used": None if minute is None else moment(minute * 60),
        "spent_usd": None if spent is None else round(spent.usd, 9),
        "spent_period": None if spent is None else spent.period,
        "former_secret_until": moment(max(former)) if former else None,
    }
