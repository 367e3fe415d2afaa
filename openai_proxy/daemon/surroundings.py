"""What `Serving` lends to whatever is built from settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from ..observe.metrics.circuits import CircuitNews
from ..policies.cache.elsewhere import LocalCalls, OtherCalls
from ..policies.routing.health import UpstreamHealth
from ..upstream.mock.memory import MockMemory
from .cassettes import Cassettes
from .stores import Stores

Clock = Callable[[], float]


@frozen(eq=False)
class Surroundings:
    """One set for the life of a process; a reload builds with the same."""

    reactor: Any
    clock: Clock
    """Monotonic seconds."""
    stores: Stores
    adopt: Callable[[Any], None] = lambda transport: None
    """Given each connected transport; see `socket_group`."""
    circuits: CircuitNews = field(factory=CircuitNews)
    """Told of each circuit that opens or closes."""
    share_health: Callable[[UpstreamHealth], object] = lambda health: None
    """Lets the other processes of the daemon know what this one finds out of the upstreams, and the other way."""
    calls: OtherCalls = field(factory=LocalCalls)
    """Calls of other processes, or of replaced configurations, whose answers can be shared."""
    knows_all_keys: Callable[[], bool] = lambda: True
    """Whether every stored client key is known; see `key_store.known_keys`."""
    mock_memory: MockMemory = field(factory=MockMemory)
    """What clients have uploaded to the mock upstream."""
    cassettes: Cassettes = field()
    """Recorded exchanges that were read for a reload."""

    @cassettes.default
    def _none_read(self) -> Cassettes:
        return Cassettes(self.reactor)
