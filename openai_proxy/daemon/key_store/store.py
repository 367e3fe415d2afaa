"""The interface of a key store: records by name, changed one at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

MOST_KEYS = 10_000
"""The most keys that a store holds."""


@frozen
class Snapshot:
    """All records at one moment; `revision` is different after each change."""

    revision: str
    records: Mapping[str, bytes] = field(repr=False)


class StoreFull(Exception):
    """The store has MOST_KEYS keys already."""


class RecordStore(Protocol):
    """Keeps records; each call may fail with any exception while the store cannot be reached."""

    def read(self, last_revision: str | None) -> Deferred[Snapshot | None]:
        """Return everything, or None if the revision is still `last_revision`."""
        ...

    def put(self, name: str, old: bytes | None, new: bytes | None) -> Deferred[bool]:
        """Replace `old` by `new` in one step; return False without effect if `old` is not the present record.

        None means no record. Fails with StoreFull for one key too many.
        """
        ...

    def note_uses(self, uses: Mapping[str, int]) -> Deferred[object]:
        """Store when keys were last used, in minutes since the epoch; an earlier time changes nothing."""
        ...

    def uses(self) -> Deferred[dict[str, int]]:
        """Return when each key was last used."""
        ...
