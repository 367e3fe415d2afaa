"""An upstream body that several readers share while it arrives.

Takes delivery once. The chunks are kept as they came, so that a reader may join
at any time and read from the start, until the body becomes too large to keep.
From then on only chunks that some reader still needs are held, and the slowest
reader sets the pace of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from ...exchange.messages import ResponseBody
from .bodies import SharedBody

_DONE = re.compile(rb"(?:^|[\r\n])data:[ ]?\[DONE\](?:\r?\n){2}\Z")
_DONE_BYTES = 64
LAG_BYTES = 64 * 1024
"""How far a reader may fall back once the body is too large to keep."""


class MemoryLease(Protocol):
    """The memory that a recording takes of a bound that it shares with others."""

    def take(self, size_bytes: int) -> bool:
        """Reserve this number of bytes more (fewer, if negative); return False, without effect, if that is too much."""
        ...

    def free(self) -> None:
        """Give back all that is reserved; idempotent."""
        ...


class Recording:
    """A `bodies.Source` that is still arriving.

    States: waiting (nobody has taken delivery), arriving and kept, arriving and
    passing (too large to keep), ended (`reason` is set), abandoned (the last
    reader left before the end, and the upstream was stopped). A stream whose
    last event was `[DONE]` counts as whole even if its end is still to come,
    because OpenAI's SDKs close the connection at that event.

    The upstream is paused while no reader can take more, so at most
    `limit_bytes` and one read are held. `on_passing` is called once if the body
    cannot be kept. `on_end(whole)` is called once when it has ended, after the
    readers; `whole` says that `chunks` is all of it. What is held counts in
    `lease`, if there is one; if the lease refuses, the body counts as too large
    to keep. The memory is freed when the last reader has gone and nobody can
    join any more (`close`).
    """

    def __init__(
        self,
        body: ResponseBody,
        limit_bytes: int,
        on_passing: Callable[[], None],
        on_end: Callable[[bool], None],
        lease: MemoryLease | None = None,
    ) -> None:
        self.chunks: list[bytes] = []
        self.dropped = 0
        self.reason: Failure | None = None
        self.kept = True
        self._body = body
        self._limit_bytes = limit_bytes
        self._on_passing = on_passing
        self._on_end = on_end
        self._size_bytes = 0
        self._readers: list[SharedBody] = []
        self._started = False
        self._transport: Any = None
        self._paused = False
        self._over = False
        self._lease = lease
        self._closed = False
        if body.length is not None and body.length > limit_bytes:
            self.kept = False

    def read(self) -> SharedBody:
        """Return a body for one more reader; only while `kept`, or before the first takes delivery."""
        reader = SharedBody(self, self._body.length)
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        """Allow no further `read`."""
        self._closed = True
        self._maybe_free()

    def _maybe_free(self) -> None:
        if self._closed and not self._readers and self._lease is not None:
            self._lease.free()

    # ---- what readers do

    def taken(self, body: SharedBody) -> None:
        """Begin with the first reader."""
        if not self._started:
            self._started = True
            self._body.deliverBody(cast(IProtocol, self))
        else:
            self._balance()

    def moved(self, body: SharedBody) -> None:
        """Pause or resume the upstream if this reader made the difference."""
        self._trim()
        self._balance()

    def left(self, body: SharedBody) -> None:
        """Go on for the other readers; if nobody is left, stop the upstream."""
        self._readers.remove(body)
        self._maybe_free()
        if self._over:
            return
        if self._readers:
            self._trim()
            self._balance()
        elif self.reason is None:
            self._over = True
            whole = self.kept and _has_said_done(self.chunks)
            if whole:
                # a reader that joins while it is being stored gets its end too
                self.reason = Failure(ResponseDone())
            else:
                self.chunks = []
            self._body.discard()
            self._on_end(whole)

    # ---- the upstream's body, as IProtocol

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport

    def dataReceived(self, data: bytes) -> None:
        """Keep the chunk and pass it on at once."""
        if self._over:
            return
        self._size_bytes += len(data)
        self.chunks.append(data)
        if self.kept and not self._has_room(len(data)):
            self.kept = False
            if self._lease is not None:
                self._lease.free()  # from here on a recording holds no more than a plain relay
            self._on_passing()
        for reader in tuple(self._readers):
            reader.push()
        if not self._over:
            self._trim()
            self._balance()

    def _has_room(self, size_bytes: int) -> bool:
        if self._size_bytes > self._limit_bytes:
            return False
        return self._lease is None or self._lease.take(size_bytes)

    def connectionLost(self, reason: Failure) -> None:
        """End the body for every reader that has had everything; for the others it ends when they have."""
        if self._over:
            return
        self._over = True
        self.reason = reason
        for reader in tuple(self._readers):
            reader.push()
        self._on_end(self.kept and isinstance(reason.value, ResponseDone))

    # ---- flow control

    def _trim(self) -> None:
        if self.kept or not self._readers:
            return
        had = min(reader.next for reader in self._readers) - self.dropped
        if had > 0:
            del self.chunks[:had]
            self.dropped += had

    def _balance(self) -> None:
        if self._transport is None or self._over:
            return
        pause = all(reader.paused for reader in self._readers) or self._is_lagging()
        if pause != self._paused:
            self._paused = pause
            if pause:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()

    def _is_lagging(self) -> bool:
        if self.kept:
            return False
        return self._size_bytes - min(reader.read_bytes for reader in self._readers) > LAG_BYTES


def _has_said_done(chunks: Sequence[bytes]) -> bool:
    """Return whether the last event that OpenAI's API ends a stream with is there."""
    end = b""
    for chunk in reversed(chunks):
        end = chunk + end
        if len(end) >= _DONE_BYTES:
            break
    return _DONE.search(end[-_DONE_BYTES:]) is not None
