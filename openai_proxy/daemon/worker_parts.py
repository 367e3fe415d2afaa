"""The parts that a worker uses in place of those of a single process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from ..policies.cache.other_calls import OtherCalls
from ..policies.cache.store import CacheStore
from ..policies.limits.store import BucketStore
from ..policies.routing.health import UpstreamHealth
from ..policies.routing.state_homes import SharedState
from .live import MakeView


@frozen(eq=False)
class WorkerParts:
    """The parts that differ in a process that is one of several workers.

    The supervisor also handles the worker's signals, the first lines of the
    log, and reloads.
    """

    listen: Callable[[Any, str, Any], Any]
    """(reactor, endpoint string, factory) to port, on an inherited socket."""
    buckets: BucketStore
    """The embedded limits that all workers share."""
    memory: Callable[[int], CacheStore]
    """Makes the embedded cache, which all workers share, from the number of its bytes."""
    share_health: Callable[[UpstreamHealth], object]
    """Shares the health of upstreams with the other workers."""
    calls: OtherCalls
    """Calls of the other workers whose answers can be shared."""
    state: SharedState
    """Finds the upstreams of conversations that other workers have recorded."""
    upstream_counts: Callable[[], Deferred[Mapping[str, int]]]
    """The requests that all workers together have in flight, by upstream."""
    metrics: Callable[[bytes], Deferred[tuple[str, bytes]]]
    """Content type and body of the metrics page of all workers, by `Accept`."""
    keys_changed: Callable[[str | None], Deferred[None]]
    """Makes the other workers read the key store, and cut the exchanges of a key; fires when they have."""
    started_at: float
    """When the daemon started, in monotonic seconds."""
    number: int
    """The number of this worker; the first is 1."""
    live: MakeView
    """Makes the live view of all workers from the table of this one."""
