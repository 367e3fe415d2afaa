"""The operator's changes to client keys: each is checked, stored and logged."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError

from ...cost.build import has_prices
from ...exchange.errors import KeyStoreUnavailable
from ...exchange.page_errors import InvalidValue, KeyExists, KeyInConfig, KeyNotFound, NoKeyStore
from ...logs import logger
from ...settings import ClientKey, KeyEntry, Settings, client_keys, configured_keys
from ...settings.stored_keys.changes import (
    found,
    grace_of,
    made,
    new_secret,
    only_if_new,
    patched,
    sha256_of,
)
from ...settings.stored_keys.in_force import misfit
from ...settings.stored_keys.record import KeyRecord
from .documents import Spent, key_document
from .loaded_keys import LoadedKeys, Work
from .slices import Pause, slices

log = logger("openai_proxy.keys")


@frozen
class Change:
    """One change, for the audit log; it contains no secret."""

    timestamp: float
    """Seconds since the epoch."""
    action: str
    """`made`, `changed`, `rotated` or `revoked`."""
    key: str
    by: str
    """`token` or `socket`."""
    details: Mapping[str, Any] = field(factory=dict)
    """What was set, as JSON values."""

    def document(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "timestamp": datetime.fromtimestamp(self.timestamp, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "action": self.action,
            "key": self.key,
            "by": self.by,
            **({"details": dict(self.details)} if self.details else {}),
        }


class KeyAdmin:
    """Shows all keys, and changes those of a store, within the rules of the settings.

    `loaded` is None without a store: then nothing can be changed. `settings`
    returns those in force, `spent` what keys have spent. `notify` is called
    with each change that was made. A document with a secret has it as `key`,
    and nothing stores it. `pause` lets other work run between two slices of
    many keys.
    """

    def __init__(
        self,
        loaded: LoadedKeys | None,
        settings: Callable[[], Settings],
        spent: Callable[[Sequence[ClientKey]], Awaitable[Mapping[str, Spent]]],
        notify: Callable[[Change], None],
        pause: Pause,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._loaded = loaded
        self._settings = settings
        self._spent = spent
        self._notify = notify
        self._pause = pause
        self._wall_clock = wall_clock

    # ---- reading

    async def listed(self, group: str | None) -> dict[str, Any]:
        """Return the document of all keys, or of those of a group."""
        await self._look()
        keys = [key for key in client_keys(self._settings()) if group is None or key.group == group]
        return {"object": "list", "data": await self._documents(keys)}

    async def one(self, name: str) -> dict[str, Any]:
        """Return the document of a key; raise KeyNotFound if there is none."""
        await self._look()
        keys = [key for key in client_keys(self._settings()) if key.name == name]
        if not keys:
            raise KeyNotFound
        (document,) = await self._documents(keys)
        return document

    async def _look(self) -> None:
        """Read the store; if that fails, the keys last loaded are shown, unless none ever were."""
        loaded = self._loaded
        if loaded is None:
            return
        try:
            await loaded.refresh()
        except CancelledError:
            raise
        except Exception as error:  # it has been logged
            if not loaded.is_complete:
                raise KeyStoreUnavailable from error

    async def _documents(self, keys: Sequence[ClientKey]) -> list[dict[str, Any]]:
        loaded = self._loaded
        uses: Mapping[str, int] = {} if loaded is None else await loaded.uses()
        records: Mapping[str, KeyRecord] = {} if loaded is None else loaded.records
        spent, now = await self._spent(keys), self._wall_clock()
        documents: list[dict[str, Any]] = []
        for some in slices(keys):
            if documents:
                await self._pause()
            documents += [
                key_document(
                    key,
                    records.get(key.name) if key.is_stored else None,
                    uses.get(key.name),
                    spent.get(key.name),
                    now,
                )
                for key in some
            ]
        return documents

    # ---- changing

    async def make(self, document: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Create a key; return its document with the secret."""
        loaded, secret, now = self._store(), new_secret(), self._wall_clock()
        record, entry = made(document, secret, now)
        self._check(entry)
        self._refuse_configured(record.name, taken=True)
        await loaded.change(record.name, lambda old: only_if_new(old, record))
        self._tell("made", record.name, by, record.members)
        return {**await self.one(record.name), "key": secret}

    async def change(self, name: str, document: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Change the members of a key that `document` has; null removes a member."""

        def work(old: KeyRecord | None) -> KeyRecord:
            record, entry = patched(found(old), document, self._wall_clock())
            self._check(entry)
            return record

        await self._changed(name, work)
        self._tell("changed", name, by, document)
        return await self.one(name)

    async def rotate(self, name: str, document: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Give a key a new secret; return its document with it. The present one works for `grace_s` more."""
        secret, grace_s = new_secret(), grace_of(document)
        digest = sha256_of(secret)
        await self._changed(name, lambda old: found(old).rotated(digest, grace_s, self._wall_clock()))
        self._tell("rotated", name, by, {"grace_s": grace_s})
        return {**await self.one(name), "key": secret}

    async def revoke(self, name: str, by: str) -> None:
        """Delete a key."""
        self._refuse_configured(name)

        def work(old: KeyRecord | None) -> None:
            found(old)

        await self._store().change(name, work)
        self._tell("revoked", name, by, {})

    async def _changed(self, name: str, work: Work) -> None:
        self._refuse_configured(name)
        await self._store().change(name, work)

    def _store(self) -> LoadedKeys:
        if self._loaded is None:
            raise NoKeyStore
        return self._loaded

    def _check(self, entry: KeyEntry) -> None:
        wrong = misfit(self._settings(), entry, has_prices(self._settings()))
        if wrong is not None:
            raise InvalidValue(f"{wrong[0]} cannot hold here: {wrong[1]}.", param=wrong[0])

    def _refuse_configured(self, name: str, *, taken: bool = False) -> None:
        if any(key.name == name for key in configured_keys(self._settings())):
            if taken:
                raise KeyExists(f"The configuration has a client key named {name!r} already.", param="name")
            raise KeyInConfig

    def _tell(self, action: str, name: str, by: str, details: Mapping[str, Any]) -> None:
        change = Change(self._wall_clock(), action, name, by, details)
        log.info("the client key {name} was {action} (by {by})", name=repr(name), action=action, by=by)
        self._notify(change)
