"""Calls that another process of the daemon, or a configuration that was replaced, goes on with."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from ...exchange.messages import ResponseBody
from ...exchange.record import HeaderPairs


@frozen
class WholeAnswer:
    """An answer as it goes from one process to another."""

    status: int
    reason: bytes
    headers: HeaderPairs
    body: bytes = field(repr=False)


class Serves(Protocol):
    """Who has calls that others may ask for."""

    async def serve(self, key: bytes) -> WholeAnswer | None:
        """Return the answer of the call of that name once it is whole; None if there is none."""
        ...


class OtherCalls(Protocol):
    """What the other processes go on with; keys are the names of requests."""

    def offer(self, key: bytes) -> None:
        """The client of a call has left, and its retry may reach another process."""
        ...

    def withdraw(self, key: bytes) -> None:
        """Nobody can join that call any more."""
        ...

    def find(self, key: bytes) -> Deferred[WholeAnswer | None]:
        """Fire with the answer of another process's call once it is whole; None if there is none.

        Fails only if it is cancelled, with CancelledError: whose client has
        left may not take that for "there is none", and call.
        """
        ...

    def join(self, stage: Serves) -> None:
        """Let the others ask `stage`, as long as it exists."""
        ...


class LocalCalls:
    """The `OtherCalls` of a process that is alone: those of configurations that a reload has replaced."""

    def __init__(self) -> None:
        self._stages: WeakSet[Serves] = WeakSet()

    def offer(self, key: bytes) -> None:
        """Nobody else asks."""

    withdraw = offer

    def find(self, key: bytes) -> Deferred[WholeAnswer | None]:
        """Fire with the answer of another configuration's call."""
        return Deferred.fromCoroutine(self.read(key))

    def join(self, stage: Serves) -> None:
        """Let the others ask `stage`, as long as it exists: as long as one of its calls can be joined."""
        self._stages.add(stage)

    async def read(self, key: bytes) -> WholeAnswer | None:
        """Return the answer of a call of this process once it is whole; None if there is none."""
        for stage in list(self._stages):
            found = await stage.serve(key)
            if found is not None:
                return found
        return None


def whole_of(body: ResponseBody) -> Deferred[bytes | None]:
    """Fire with all bytes of a body; None if it breaks off."""
    collecting = _Collecting()
    body.deliverBody(collecting)
    return collecting.whole


class _Collecting(TwistedProtocol):
    def __init__(self) -> None:
        self.whole: Deferred[bytes | None] = Deferred()
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole.callback(b"".join(self._pieces) if isinstance(reason.value, ResponseDone) else None)
