"""Where state lives, as far as it is known: in memory, and further away if it is shared.

The memory outlives a reload. Whoever shares it (the workers of a machine,
by their supervisor; several machines, by Redis) is asked for what is not
known here.
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
    """What others know too."""

    def find(self, names: Sequence[Digest]) -> Deferred[dict[Digest, Home]]:
        """Return the homes of those that are known."""
        ...

    def keep(self, names: Sequence[Digest], home: Home, ttl_s: float) -> None:
        """Note where new state lives. Never fails, and nothing waits for it."""
        ...


class StateMemory:
    """At most `entries` names, those used last, each for `ttl_s` after it was learnt.

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
        """Keep so many from now on; what was learnt before keeps its time."""
        self.entries, self.ttl_s = entries, ttl_s
        self._trim()

    def find(self, names: Collection[Digest]) -> dict[Digest, Home]:
        """Return the homes of those that are known; they count as used."""
        homes, now = self._homes, self._clock()
        found = {}
        for name in names:
            entry = homes.pop(name, None)
            if entry is not None and entry[1] > now:
                homes[name] = entry
                found[name] = entry[0]
        return found

    def keep(self, names: Collection[Digest], home: Home) -> None:
        """Note where state lives."""
        homes, entry = self._homes, (home, self._clock() + self.ttl_s)
        for name in names:
            homes.pop(name, None)
            homes[name] = entry
        self._trim()

    def _trim(self) -> None:
        homes = self._homes
        while len(homes) > self.entries:
            del homes[next(iter(homes))]


class KnownState:
    """What this process knows, and then what others do, in the order given."""

    def __init__(self, memory: StateMemory, shared: Sequence[SharedState] = ()) -> None:
        self._memory = memory
        self._shared = tuple(shared)

    def __len__(self) -> int:
        return len(self._memory)

    async def find(self, names: Sequence[Digest]) -> Mapping[Digest, Home]:
        """Return the homes of those that are known to anybody who answers."""
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
        """Note where new state lives: here at once, at the others on the way."""
        self._memory.keep(names, home)
        for shared in self._shared:
            shared.keep(names, home, self._memory.ttl_s)
