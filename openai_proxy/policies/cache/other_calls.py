"""Share calls that are made by another process of the daemon, or by a configuration that was replaced.

Readers of such a call receive the answer as it comes, and pay nothing.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from attrs import define
from twisted.internet.defer import Deferred

from ...exchange.messages import ProxyResponse


@define(eq=False, repr=False)
class OtherCallResponse(ProxyResponse):
    """The answer of a call that is paid and stored elsewhere."""


class Serves(Protocol):
    """A stage whose calls others may share."""

    async def read(self, name: bytes) -> ProxyResponse | None:
        """Return the answer of the call of that name as soon as its head is there; None if there is none to share."""
        ...


class OtherCalls(Protocol):
    """The calls of other processes and configurations; names are those of requests (`cache_key`)."""

    is_alone: bool
    """Whether there are no other processes, but only configurations that were replaced."""

    @property
    def readers(self) -> int:
        """The number of this process's answers that others read, or wait for."""
        ...

    def offer(self, name: bytes) -> None:
        """Let other processes share a call of this one."""
        ...

    def withdraw(self, name: bytes) -> None:
        """Stop sharing that call."""
        ...

    def find(self, name: bytes, asking: Serves) -> Deferred[OtherCallResponse | None]:
        """Fire with the answer of another's call, its body still to come; None if there is none.

        Fails only if it is cancelled, with CancelledError: a request whose
        client has left must not take that for "there is none" and start a call.
        """
        ...

    def claim(self, name: bytes, asking: Serves) -> Deferred[OtherCallResponse | None]:
        """As `find`; after None the call belongs to this process, and others may share it until it is withdrawn."""
        ...

    def join(self, stage: Serves) -> None:
        """Let others ask `stage` as long as it exists."""
        ...


class LocalCalls:
    """The `OtherCalls` of a single process: those of configurations that a reload has replaced."""

    is_alone = True
    readers = 0
    """Whoever reads here has a client of this process."""

    def __init__(self) -> None:
        self._stages: WeakSet[Serves] = WeakSet()

    def offer(self, name: bytes) -> None:
        """Do nothing: no other process asks."""

    withdraw = offer

    def find(self, name: bytes, asking: Serves) -> Deferred[OtherCallResponse | None]:
        """Fire with the answer of another configuration's call."""
        return Deferred.fromCoroutine(self.read(name, asking))

    claim = find

    def join(self, stage: Serves) -> None:
        """Let others ask `stage` as long as it exists, which is as long as one of its calls can be shared."""
        self._stages.add(stage)

    async def read(self, name: bytes, asking: Serves | None = None) -> OtherCallResponse | None:
        """Return the answer of a call of this process, except those of `asking`; None if there is none to share."""
        for stage in list(self._stages):
            found = await stage.read(name) if stage is not asking else None
            if found is not None:
                return OtherCallResponse(found.status, found.reason, found.headers, found.body)
        return None
