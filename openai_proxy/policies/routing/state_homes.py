"""The upstreams that hold the state of conversations: in memory, and shared with other processes.

The memory outlives a reload. If it does not have a name, the shared stores are
asked: the workers of a machine by their supervisor, several machines by Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from twisted.internet.defer import CancelledError, Deferred

from ...logs import logger
from .state_names import Digest

log = logger(__name__)

Home: TypeAlias = int
"""An upstream and the key that was used there, as `affinity` makes it: 8 bytes."""
ENTRIES, TTL_S = 100_000, 2_592_000.0


class SharedState(Protocol):
    """A store that is shared with other processes."""

    def find(self, names: Sequence[Digest]) -> Deferred[dict[Digest, Home]]:
        """Return the homes of those names that it has."""
        ...

    def keep(self, names: Sequence[Digest], home: Home, ttl_s: float) -> None:
        """Store where new state is. Never fails, and nothing waits for it."""
        ...


class StateMemory:
    """At most `entries` names, the most recently used ones, each for `ttl_s` after it was learnt.

    An entry takes some 200 bytes. `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], entries: int = ENTRIES, ttl_s: float = TTL_S) -> None:
        self._clock = clock
        self.entries = entries
        self.ttl_s = ttl_s
        self._homes: dict[Digest, tuple[Home, float]] = {}

    def __len__(self) -> int:
        return len(self._homes)

    def resize(self, entries: int, ttl_s: float) -> None:
        """Keep this number of names from now on; names learnt before keep their time to live."""
        self.entries, self.ttl_s = entries, ttl_s
        self._trim()

    def find(self, names: Collection[Digest]) -> dict[Digest, Home]:
        """Return the homes of those names that it has; they count as used."""
        homes, now = self._homes, self._clock()
        found = {}
        for name in names:
            entry = homes.pop(name, None)
            if entry is not None and entry[1] > now:
                homes[name] = entry
                found[name] = entry[0]
        return found

    def keep(self, names: Collection[Digest], home: Home) -> None:
        """Remember where state is."""
        homes, entry = self._homes, (home, self._clock() + self.ttl_s)
        for name in names:
            homes.pop(name, None)
            homes[name] = entry
        self._trim()

    def _trim(self) -> None:
        homes = self._homes
        while len(homes) > self.entries:
            del homes[next(iter(homes))]


class StateHomes:
    """Looks in the memory of this process, then in the shared stores, in the order given."""

    def __init__(self, memory: StateMemory, shared: Sequence[SharedState] = ()) -> None:
        self._memory = memory
        self._shared = tuple(shared)

    def __len__(self) -> int:
        return len(self._memory)

    async def find(self, names: Sequence[Digest]) -> Mapping[Digest, Home]:
        """Return the homes of those names that the memory or any store that answers has."""
        found = self._memory.find(names)
        for shared in self._shared:
            missing = [name for name in names if name not in found]
            if not missing:
                break
            try:
                others = await shared.find(missing)
            except CancelledError:
                raise
            except Exception as error:
                log.debug("shared state cannot be looked up: {reason}", reason=type(error).__name__)
                continue
            for name, home in others.items():
                self._memory.keep((name,), home)
            found.update(others)
        return found

    def keep(self, names: Sequence[Digest], home: Home) -> None:
        """Remember where new state is: here at once, in the shared stores without waiting."""
        self._memory.keep(names, home)
        for shared in self._shared:
            shared.keep(names, home, self._memory.ttl_s)
