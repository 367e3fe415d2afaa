"""The upstreams of conversations: recorded by workers, and kept by the supervisor so that they outlive them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..policies.routing.state_homes import Home, StateMemory
from ..policies.routing.state_names import Digest
from .link import Link
from .messages import FIND_STATE, IN_FLIGHT, KEEP_STATE
from .process import WorkerProcess

COUNT_S = 1.0
"""The time that a worker may take to report its number of requests; after that it is left out."""


class SupervisedState:
    """A worker's `SharedState`: the supervisor has the table."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def find(self, names: Sequence[Digest]) -> Deferred[dict[Digest, Home]]:
        """Return the upstreams of the names that a worker has recorded; fails if the supervisor is gone."""
        return self._link.request(FIND_STATE, list(names))

    def keep(self, names: Sequence[Digest], home: Home, ttl_s: float) -> None:
        # at once: the client may see the name now, and ask another worker next
        self._link.send_now(KEEP_STATE, (list(names), home, ttl_s))


class StateServer:
    """The supervisor's side for all workers."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._memory = StateMemory(reactor.seconds)

    def resize(self, entries: int, ttl_s: float) -> None:
        """Keep this number of names, for this time, from now on."""
        self._memory.resize(entries, ttl_s)

    def keep(self, message: tuple[list[Digest], Home, float]) -> None:
        names, home, _ = message
        self._memory.keep(names, home)

    def find(self, names: list[Digest]) -> dict[Digest, Home] | Deferred[dict[Digest, Home]]:
        """Return the upstreams that are recorded; other names are looked up again in the next turn.

        A message that another worker sent before the client could use a name is
        in this process's sockets by then, though perhaps not read yet.
        """
        found = self._memory.find(names)
        if len(found) == len(names):
            return found
        return deferLater(self._reactor, 0.0, self._memory.find, names)


def counts_of(reactor: Any, ready: Callable[[], Sequence[WorkerProcess]]) -> Deferred[Mapping[str, int]]:
    """Fire with the requests that all workers together have at each upstream."""
    asked = [each.link.request(IN_FLIGHT).addTimeout(COUNT_S, reactor) for each in ready()]
    answers: Deferred[Any] = DeferredList(asked, consumeErrors=True)

    def add_up(results: list[tuple[bool, Any]]) -> Mapping[str, int]:
        total: dict[str, int] = {}
        for has_answered, counts in results:
            for name, count in (counts if has_answered else {}).items():
                total[name] = total.get(name, 0) + count
        return total

    return answers.addCallback(add_up)


def asked_counts(link: Link, name: str) -> Deferred[Mapping[str, int]]:
    """Fire with the supervisor's sums; with nothing if it is gone."""

    def alone(failure: Failure) -> Deferred[Mapping[str, int]]:
        return succeed({})

    return link.request(name).addErrback(alone)
