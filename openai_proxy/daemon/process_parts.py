"""The parts of a process from which, with settings, an exchanger is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from ..observe.metrics.circuits import CircuitNews
from ..policies.cache.other_calls import LocalCalls, OtherCalls
from ..policies.routing.health import UpstreamHealth
from ..upstream.mock.memory import MockMemory
from .cassettes import Cassettes
from .stores import Stores

Clock = Callable[[], float]


@frozen(eq=False)
class ProcessParts:
    """The parts that exist once in a process, and are used again at a reload."""

    reactor: Any
    clock: Clock
    """Monotonic seconds."""
    stores: Stores
    adopt: Callable[[Any], None] = lambda transport: None
    """Called with each connected transport; see `socket_group`."""
    circuits: CircuitNews = field(factory=CircuitNews)
    """Records each circuit that opens or closes."""
    share_health: Callable[[UpstreamHealth], object] = lambda health: None
    """Shares the health of upstreams with the other processes of the daemon."""
    calls: OtherCalls = field(factory=LocalCalls)
    """Calls of other processes, or of replaced configurations, whose answers can be shared."""
    knows_all_keys: Callable[[], bool] = lambda: True
    """Whether every stored client key is loaded; see `key_store.loaded_keys`."""
    mock_memory: MockMemory = field(factory=MockMemory)
    """The files that clients have uploaded to the mock upstream."""
    cassettes: Cassettes = field()
    """Recorded exchanges that were read for a reload."""

    @cassettes.default
    def _none_read(self) -> Cassettes:
        return Cassettes(self.reactor)
