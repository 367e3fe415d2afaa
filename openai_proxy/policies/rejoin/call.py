"""One upstream call that may outlive its client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from ...exchange.messages import ProxyRequest, ProxyResponse
from ...exchange.outcome import Outcome
from ...exchange.record import Exchange


class Timers(Protocol):
    """The part of IReactorTime that waiting needs."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any: ...


class Call:
    """The state of a call besides its recording: whether its client is there, and who has joined.

    States: with its client (nothing is awaited); alone (its client left: it has
    `rejoin_s` seconds, which start again when a joined reader leaves); held (it
    has ended whole, and waits as long for a reader); over.
    """

    def __init__(
        self,
        rejoin_s: float,
        rejoin_bytes: int,
        timers: Timers,
        held: Callable[[Call], None],
        alone: Callable[[], object],
    ) -> None:
        self._rejoin_s = rejoin_s
        self._rejoin_bytes = rejoin_bytes
        self._timers = timers
        self._report_held = held
        self._tell_alone = alone
        self._timer: Any = None
        self._stop: Callable[[], None] | None = None
        self.is_alone = False
        """Whether its client has left."""
        self._leader: Exchange | None = None
        self._joined: set[object] = set()
        self._held: Deferred[None] | None = None
        self.was_had = False
        """A retry has received the whole answer. Its client may have given up at that very moment, and retry again."""
        self.size_bytes = 0
        """The bytes of its answer that are held."""

    # ---- its client

    def begin(self, exchange: Exchange) -> None:
        """Let `exchange` make the call from now on: the first one, or a joined one after the first one's call failed."""
        self._joined.discard(exchange)
        self._cancel()
        self.is_alone = False
        self._stop = None
        self._leader = exchange
        exchange.finish_alone = self.client_left

    def client_left(self, stop: Callable[[], None]) -> int:
        """Go on without the client until `stop` is called; return the bytes that may still come."""
        self.is_alone = True
        self._stop = stop
        self._wait()
        self._tell_alone()
        return self._rejoin_bytes

    def ended(self, exchange: Exchange) -> None:
        """The exchange that made the call has ended."""
        exchange.finish_alone = None
        if self._leader is exchange:
            self._leader = self._stop = None

    # ---- who joins

    def join(self, reader: object) -> None:
        """Let `reader`, an exchange or an outside reader, be answered by this call until it has `left`."""
        self._joined.add(reader)

    def left(self, reader: object, had_all: bool) -> None:
        """Note that a joined reader has ended; does nothing if it makes the call itself meanwhile."""
        if reader not in self._joined:
            return
        self._joined.remove(reader)
        if had_all:
            self.was_had = True
        if not self._joined and self.is_alone:
            self._wait()

    def joined_ended(self, exchange: Exchange) -> None:
        """Note that an exchange that had joined has ended."""
        self.left(exchange, exchange.outcome is Outcome.REJOINED)

    # ---- its answer

    async def keep(self, request: ProxyRequest, response: ProxyResponse, chunks: list[bytes]) -> None:
        """Hold the answer, which is whole, for a retry."""
        if self.is_alone and (self._timer is not None or self._joined):
            self.size_bytes = sum(map(len, chunks))
            held = self._held = Deferred()
            self._report_held(self)
            await held

    def let_go(self) -> None:
        """Release the answer; idempotent."""
        held, self._held = self._held, None
        if held is not None:
            self._cancel()
            held.callback(None)

    # ---- time

    def _wait(self) -> None:
        self._cancel()
        self._timer = self._timers.callLater(self._rejoin_s, self._expire)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _expire(self) -> None:
        self._timer = None
        if self._joined:
            return
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
        self.let_go()
