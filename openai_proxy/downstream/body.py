"""A request's body while it arrives from the client.

Fed by the channel; read whole by a stage or produced once into the upstream
connection. Back-pressure for this direction stands here and in the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from ..exchange.bodies import WholeBody
from ..exchange.buffered_bytes import TOO_MUCH_BUFFERED
from ..exchange.errors import BODY_LIMIT, JSON_BODY_LIMIT, Overloaded, ProxyError, RequestTooLarge

HIGH_WATER_BYTES = 65536
"""Unclaimed bytes above which reading from the client pauses."""
REPLAY_BYTES = 256 * 1024
"""A body up to this size is kept while it goes up, in case it must be sent once more."""


class BodySource(Protocol):
    """What a body asks of the channel that feeds it."""

    def hold_body(self) -> None:
        """Stop reading from the client."""

    def release_body(self) -> None:
        """Read on."""

    def want_body(self) -> None:
        """Answer `Expect: 100-continue`, because somebody is going to take the body."""


@implementer(IBodyProducer)
class IncomingBody:
    """One request's body.

    States: unclaimed (at most HIGH_WATER_BYTES and one read kept), read
    whole (kept up to the limit), produced (nothing kept, unless the body is
    `rewindable`), abandoned (dropped as it comes, unless it is
    `rewindable`: then it may be produced again). Ends once: complete or failed.
    """

    def __init__(self, source: BodySource, length: int | None, limit_bytes: int | None) -> None:
        self.length: int = UNKNOWN_LENGTH if length is None else length  # type: ignore[assignment]  # a str by design of twisted.web
        self.received = 0
        self.complete = False
        self.watch: Callable[[bytes], object] | None = None
        """Sees the bytes of a streamed body as they go up, for the exchange log."""
        self._announced = length
        self._limit = limit_bytes
        self._limit_setting = BODY_LIMIT
        self._source = source
        self._parts: list[bytes] = []
        self._whole = False
        self._abandoned = False
        self._produced: list[bytes] | None = None
        """What has been produced of a body that is rewindable; None for any other."""
        if length is not None and length <= REPLAY_BYTES:
            self._produced = []
        self._produced_bytes = self._watched_bytes = 0
        self._peeking = False
        self._hold: Callable[[int], bool] | None = None
        self._error: Exception | None = None
        self._inspectors: list[Callable[[bytes], bool]] = []
        self._decided: set[Callable[[bytes], bool]] = set()
        """The inspectors that have returned True."""
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] | None = None

    @property
    def kept(self) -> bool:
        """Whether it is kept in memory until it is whole, or until who inspects it has seen enough."""
        return self._whole or self._peeking

    # ---- fed by the channel

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self.received += len(data)
        if self._error is not None or (self._abandoned and self._produced is None):
            return
        if self._limit is not None and self.received > self._limit:
            self.fail(RequestTooLarge.above(self._limit, self._limit_setting))
        elif self._inspectors and not self._inspect(data, self._inspectors):
            return
        elif self._consumer is not None:
            self._produce(data, self._consumer)
        elif self._hold is not None and not self._hold(len(data)):
            self.fail(Overloaded(TOO_MUCH_BUFFERED))
        else:
            self._parts.append(data)
            if self._peeking:
                self._peeking = False
                self._fire(None)
            elif not self._whole and not self._abandoned and self.received > HIGH_WATER_BYTES:
                self._source.hold_body()

    def end(self) -> None:
        """End the body: all of it has arrived."""
        self.complete = True
        self._source.release_body()
        self._fire(None)

    def fail(self, error: Exception) -> None:
        """Break the body, which will never be whole; whoever takes it gets `error`."""
        if not self.complete and self._error is None:
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._error = error
        self._parts.clear()
        self._fire(error)

    def _fire(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        self._consumer = None
        if done is None:
            return
        if error is None:
            done.callback(None)
        else:
            done.errback(Failure(error))

    # ---- taken by a stage

    def check_announced(self) -> None:
        """Raise RequestTooLarge if the announced length is above the limit for bodies of any kind."""
        if self._announced is not None and self._limit is not None and self._announced > self._limit:
            raise RequestTooLarge.above(self._limit, self._limit_setting)

    async def beginning(self) -> bytes:
        """Return the first bytes of the body, which stay in it; empty only for an empty body.

        Raises as `read` does if the body breaks.
        """
        if not self._parts and not self.complete and self._error is None:
            await self._more()
        if self._error is not None:
            raise self._error
        return self._parts[0][:64] if self._parts else b""

    async def inspect(self, inspector: Callable[[bytes], bool]) -> None:
        """Show the body to `inspector` from its beginning on; return when that first returns True, or at the end.

        Nothing is taken. It sees the rest as well, and whenever it raises a
        ProxyError the body breaks with that: what goes up is cut off.
        Raises that too, and as `read` does if the body breaks.
        """
        self._inspectors.append(inspector)
        for part in tuple(self._parts):
            self._inspect(part, (inspector,))
        while inspector not in self._decided and not self.complete and self._error is None:
            await self._more()
        if self._error is not None:
            raise self._error

    def _more(self) -> Deferred[None]:
        """Ask for the body; fires when something of it has come, or it has ended."""
        self._done = Deferred()
        self._peeking = True
        self._source.want_body()
        return self._done

    def _inspect(self, data: bytes, inspectors: Iterable[Callable[[bytes], bool]]) -> bool:
        """Show the inspectors what came; False if one broke the body."""
        if self._error is not None:
            return False
        try:
            self._decided.update([each for each in inspectors if each(data)])
        except ProxyError as error:
            self._break(error)
            return False
        return True

    async def read(self, limit_bytes: int, hold: Callable[[int], bool] | None = None) -> bytes:
        """Return the whole body.

        Raises RequestTooLarge as soon as it is known to exceed
        `limit_bytes`, RequestTimeout or MalformedRequest if it breaks.
        `hold` is asked for room for all that is kept, as it comes; if it
        says False, Overloaded is raised.
        """
        if self._limit is None or limit_bytes < self._limit:
            self._limit, self._limit_setting = limit_bytes, JSON_BODY_LIMIT
        if max(self._announced or 0, self.received) > self._limit:
            raise RequestTooLarge.above(self._limit, self._limit_setting)
        if hold is not None and not hold(sum(map(len, self._parts))):
            raise Overloaded(TOO_MUCH_BUFFERED)
        if not self.complete and self._error is None:
            self._whole = True
            self._hold = hold
            self._done = Deferred()
            self._source.want_body()
            self._source.release_body()
            await self._done
        if self._error is not None:
            raise self._error
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    # ---- taken by the upstream edge (IBodyProducer)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write what came and what comes into `consumer`; fires at the end."""
        if self._error is not None:
            return fail(self._error)
        parts, self._parts = self._parts, []
        if self.complete:
            for part in parts:
                self._produce(part, consumer)
            return succeed(None)
        self._consumer = consumer
        done = self._done = Deferred()
        for part in parts:
            self._produce(part, consumer)
        self._source.want_body()
        self._source.release_body()
        return done

    def _produce(self, part: bytes, consumer: IConsumer) -> None:
        if self._produced is not None:
            self._produced.append(part)
        begin, self._produced_bytes = self._produced_bytes, self._produced_bytes + len(part)
        if self.watch is not None and self._produced_bytes > self._watched_bytes:
            self.watch(part[max(0, self._watched_bytes - begin) :])
            self._watched_bytes = self._produced_bytes
        consumer.write(part)

    def pauseProducing(self) -> None:
        if self._consumer is not None:
            self._source.hold_body()

    def resumeProducing(self) -> None:
        if self._consumer is not None:
            self._source.release_body()

    def stopProducing(self) -> None:
        """Stop producing; what still arrives is dropped, or kept for a `rewind`."""
        self._abandoned = True
        if self._produced is None:
            self._parts.clear()
        self._consumer = self._done = None
        self._source.release_body()

    @property
    def rewindable(self) -> bool:
        """Whether the body is small enough to be kept while it is produced."""
        return self._produced is not None

    def keep_nothing(self) -> None:
        """Nobody sends it again: what has been produced of it is not kept any more."""
        self._produced = None

    def rewind(self) -> bool:
        """Go back to the beginning after `stopProducing`; False if the body is too large to be kept."""
        if self._produced is None:
            return False
        self._parts = self._produced + self._parts
        self._produced = []
        self._produced_bytes = 0
        self._abandoned = False
        return True


class _Nowhere:
    """The source of a body that has arrived: nothing to hold, nothing to ask for."""

    def hold_body(self) -> None: ...

    def release_body(self) -> None: ...

    def want_body(self) -> None: ...


_NOWHERE = _Nowhere()


def as_incoming(whole: WholeBody) -> IncomingBody:
    """Return the same body as one that may be produced into an upload."""
    body = IncomingBody(_NOWHERE, whole.length, None)
    if whole.data:
        body.feed(whole.data)
    body.end()
    return body
