"""The events of a turn as the body of its answer, which only the stages read."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure


class TurnBody:
    """The events of a turn as the body of its answer (a ResponseBody)."""

    length = None
    whole = None

    def __init__(self) -> None:
        self._protocol: Any = None
        self._waiting: list[bytes] = []
        self._reason: Failure | None = None
        self._discarded = False

    def feed(self, data: bytes) -> None:
        """Take one event."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        elif not self._discarded:
            self._waiting.append(data)

    def end(self, reason: Failure) -> None:
        """End the body: no event follows."""
        self._reason = reason
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)

    def deliverBody(self, protocol: IProtocol) -> None:
        protocol.makeConnection(self)  # type: ignore[arg-type]  # what a body asks of a transport
        waiting, self._waiting = self._waiting, []
        self._protocol = protocol
        for data in waiting:
            protocol.dataReceived(data)
        if self._reason is not None and self._protocol is not None:
            self.end(self._reason)

    def discard(self) -> None:
        self._discarded = True
        self._protocol = None
        self._waiting = []

    # ---- the transport that deliverBody gives: what the client is sent does not wait for it

    def pauseProducing(self) -> None:
        """Do nothing, because only the client's transport pauses the upstream."""

    def resumeProducing(self) -> None:
        """Do nothing: see `pauseProducing`."""

    def stopProducing(self) -> None:
        self.discard()

    loseConnection = abortConnection = stopProducing
