"""What a store of keys does: records by name, changed one at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

MOST_KEYS = 10_000
"""The most keys that a store holds."""


@frozen
class Snapshot:
    """All records at one moment; `revision` is another one after each change."""

    revision: str
    records: Mapping[str, bytes] = field(repr=False)


class StoreFull(Exception):
    """It has MOST_KEYS keys."""


class RecordStore(Protocol):
    """Keeps records; each call may fail with anything while it is away."""

    def read(self, known: str | None) -> Deferred[Snapshot | None]:
        """Return everything, or None if the revision is still `known`."""
        ...

    def put(self, name: str, old: bytes | None, new: bytes | None) -> Deferred[bool]:
        """Put `new` in the place of `old`, as one step; False, and no change, if `old` is not what is there.

        None is no record. Fails with StoreFull for one key too many.
        """
        ...

    def note_uses(self, uses: Mapping[str, int]) -> Deferred[object]:
        """Keep when keys were last used, in minutes since the epoch; an earlier one changes nothing."""
        ...

    def uses(self) -> Deferred[dict[str, int]]:
        """Return when each key was last used."""
        ...
