"""Deliver bodies made of stored chunks at the reader's pace.

All stored chunks are pushed to readers from here: those of a stored response
come from `Stored`, those of one that still arrives from `recording.Recording`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ...exchange.bodies import BODY_DONE, UnannouncedBody, WholeBody


class Source(Protocol):
    """A sequence of chunks, perhaps still arriving, that is notified of how its readers progress."""

    @property
    def chunks(self) -> Sequence[bytes]:
        """The chunks that are there now."""
        ...

    @property
    def dropped(self) -> int:
        """The number of chunks before `chunks` that were dropped because every reader has had them."""
        ...

    @property
    def reason(self) -> Failure | None:
        """How the body ended; None while it still arrives."""
        ...

    def taken(self, body: SharedBody) -> None:
        """A reader takes delivery: start the flow of chunks."""

    def moved(self, body: SharedBody) -> None:
        """A reader paused or resumed."""

    def left(self, body: SharedBody) -> None:
        """A reader left or has had everything. Called once for each reader."""


@implementer(IPushProducer)
class SharedBody:
    """One reader's view of a source, from its first chunk (a ResponseBody, and the transport of it).

    States: undelivered (counts as paused), flowing, paused, over.
    """

    whole = None
    """Its chunks are delivered one by one."""

    def __init__(self, source: Source, length: int | None) -> None:
        self.length = length
        self.paused = True
        self.next = 0
        """Index of the chunk to be delivered next."""
        self.read_bytes = 0
        self.on_over: Callable[[bool], object] | None = None
        """Called once: with True when its reader has had the whole body, with False when it left or was cut off."""
        self._source = source
        self._protocol: IProtocol | None = None
        self._over = False
        self._pushing = False

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver to `protocol` the chunks that are there, then those that come."""
        self._protocol = protocol
        protocol.makeConnection(cast(Any, self))
        self.paused = False
        self._source.taken(self)
        self.push()

    def push(self) -> None:
        """Deliver until the reader pauses, leaves, or has everything. May be re-entered."""
        if self._pushing or self._protocol is None:
            return
        source = self._source
        self._pushing = True
        try:
            while not self.paused and not self._over:
                index = self.next - source.dropped
                if index >= len(source.chunks):
                    break
                chunk = source.chunks[index]
                self.next += 1
                self.read_bytes += len(chunk)
                self._protocol.dataReceived(chunk)
        finally:
            self._pushing = False
        reason = source.reason
        if reason is not None and not self._over and self.next - source.dropped >= len(source.chunks):
            self._leave(reason.check(ResponseDone) is not None)
            self._protocol.connectionLost(reason)

    def pauseProducing(self) -> None:
        if not self.paused and not self._over:
            self.paused = True
            self._source.moved(self)

    def resumeProducing(self) -> None:
        if self.paused and not self._over:
            self.paused = False
            self.push()
            if not self._over:
                self._source.moved(self)

    def stopProducing(self) -> None:
        self.discard()

    def discard(self) -> None:
        """Read no more; idempotent."""
        self._leave(had_all=False)

    def _leave(self, had_all: bool) -> None:
        if not self._over:
            self._over = True
            self._source.left(self)
            if self.on_over is not None:
                self.on_over(had_all)


class Stored:
    """A source that is complete."""

    dropped = 0
    reason = BODY_DONE

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks

    def taken(self, body: SharedBody) -> None:
        """Do nothing: all chunks are there."""

    def moved(self, body: SharedBody) -> None:
        """Do nothing: no upstream has to be paused."""

    def left(self, body: SharedBody) -> None:
        """Do nothing: no resource has to be freed."""


def replay_body(chunks: Sequence[bytes], length: int | None) -> SharedBody | WholeBody:
    """Return a body made of `chunks`; `length` as the head announces it, or None."""
    if len(chunks) == 1:
        return (UnannouncedBody if length is None else WholeBody)(chunks[0])
    return SharedBody(Stored(chunks), length)
