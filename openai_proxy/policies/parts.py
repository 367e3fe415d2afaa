"""The parts of the daemon that the `build` of a policy may use besides the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .cache.other_calls import OtherCalls
from .cache.store import CacheStore
from .limits.store import LimitStore
from .routing.state_homes import StateHomes


class PolicyStores(Protocol):
    """Stores that outlive a reload; `stores.Stores` implements it."""

    def limit_store(self, url: str | None) -> LimitStore: ...

    def cache_store(self, url: str, max_bytes: int) -> CacheStore: ...

    def state_homes(self, entries: int, ttl_s: float, url: str | None) -> StateHomes: ...


class Parts(Protocol):
    """What a policy's `build` may use; `process_parts.ProcessParts` implements it."""

    @property
    def reactor(self) -> Any: ...

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds."""
        ...

    @property
    def calls(self) -> OtherCalls:
        """Calls of other processes, or of replaced configurations, whose answers can be shared."""
        ...

    @property
    def stores(self) -> PolicyStores: ...
