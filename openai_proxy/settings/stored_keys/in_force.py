"""From records to client keys: which of the stored members apply under a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve

from ...exchange.access_errors import KeyBlocked
from ...exchange.errors import ProxyError
from ..model import Settings
from ..tables import KeyEntry
from ..tenants import ClientKey, client_key, configured_keys, group_chain
from .members import key_entry_of
from .record import KeyRecord

BLOCKED = KeyBlocked.default_message
_MISFIT = (
    "openai-proxy does not admit this API key, for it does not fit its configuration; ask whoever runs it."
)


def misfit(settings: Settings, entry: KeyEntry, has_prices: bool) -> tuple[str, str] | None:
    """Return a member that cannot be enforced under a configuration, and why; None if all can."""
    if settings.groups and entry.group is not None and not list(group_chain(settings, entry.group)):
        return "group", f"{entry.group!r} is no name of [[groups]]"
    if entry.budget_usd is not None and not has_prices:
        return "budget_usd", "a budget needs prices: the extra [cost], or [[cost.prices]]"
    return None


class KeysInForce:
    """Makes client keys from records, once for each state of a record."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[KeyRecord, KeyEntry]] = {}
        self._keys: dict[str, tuple[KeyRecord, bool, ClientKey]] = {}

    def keys(
        self, settings: Settings, records: Mapping[str, KeyRecord], has_prices: bool
    ) -> tuple[tuple[ClientKey, ...], list[str]]:
        """Return the client keys of `records`, and a line with the reason for each that has no effect.

        `has_prices`: the configuration has prices, so that budgets can be
        enforced.
        """
        for made in (self._entries, self._keys):
            for name in made.keys() - records.keys():
                del made[name]
        keys, lines = [], list(_shadowed(settings, records))
        for record in records.values():
            try:
                entry = self._entry(record)
            except ProxyError as error:  # written by another version: fail closed
                lines.append(
                    f"the stored key {record.name!r} cannot be read, and is not admitted: {error.message}"
                )
                continue
            reason = misfit(settings, entry, has_prices)
            if reason is not None:
                lines.append(f"the stored key {record.name!r} is not admitted: {reason[0]}: {reason[1]}")
            keys.append(self._key(record, entry, reason is not None))
        return tuple(keys), lines

    def _key(self, record: KeyRecord, entry: KeyEntry, is_misfit: bool) -> ClientKey:
        found = self._keys.get(record.name)
        if found is None or found[0] is not record or found[1] != is_misfit:
            found = (record, is_misfit, _client_key(record, entry, is_misfit))
            self._keys[record.name] = found
        return found[2]

    def _entry(self, record: KeyRecord) -> KeyEntry:
        found = self._entries.get(record.name)
        if found is None or found[0] is not record:
            found = self._entries[record.name] = (record, key_entry_of(record.name, record.members))
        return found[1]


def _client_key(record: KeyRecord, entry: KeyEntry, is_misfit: bool) -> ClientKey:
    newest, *former = record.secrets
    key = evolve(
        client_key(entry, {}),
        sha256=bytes.fromhex(newest.sha256),
        former=tuple((bytes.fromhex(each.sha256), each.until or 0.0) for each in former),
        refused=BLOCKED if record.blocked else _MISFIT if is_misfit else None,
        is_stored=True,
    )
    return evolve(key, budget_usd=None) if is_misfit else key


def client_key_of(record: KeyRecord) -> ClientKey:
    """Return the client key of a record, regardless of the configuration; raise ProxyError if it cannot be read."""
    return _client_key(record, key_entry_of(record.name, record.members), is_misfit=False)


def _shadowed(settings: Settings, records: Mapping[str, KeyRecord]) -> Iterator[str]:
    for key in configured_keys(settings):
        if key.name in records:
            yield f"the stored key {key.name!r} has no effect: the configuration has a key of that name"
