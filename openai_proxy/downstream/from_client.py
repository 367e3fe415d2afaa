"""Read the client of a WebSocket whose turns are read: whole messages, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable

from ..exchange.buffered_bytes import Lease
from ..wire.websocket_messages import PART, BrokenFrames, ClientMessages, Whole
from .contract import TunnelEnds, TurnRules

BURST_MESSAGES = 500
"""The most messages and frames of a client that are read before the reactor serves other connections."""


class FromClient:
    """The reading side of a conversation towards its client.

    `take` is called with each whole message, `fail` once if the bytes are no
    WebSocket; after `fail` or `stop` nothing is read any more.
    """

    def __init__(
        self,
        ends: TunnelEnds,
        rules: TurnRules,
        next_turn: Callable[[Callable[[], None]], object],
        take: Callable[[Whole], None],
        fail: Callable[[BrokenFrames], None],
    ) -> None:
        self._ends = ends
        self._next_turn = next_turn
        self._take = take
        self._fail = fail
        self._lease = Lease(rules.buffered)
        self._messages = ClientMessages(rules.message_bytes, self._hold)
        self._is_stopped = False
        self._is_resting = False

    def feed(self, data: bytes) -> None:
        """Read the next bytes."""
        self._messages.feed(data)
        if not self._is_resting:
            self._read_on()

    def _read_on(self) -> None:
        self._is_resting = False
        for _ in range(BURST_MESSAGES):
            if self._is_stopped:
                return
            try:
                whole = self._messages.next()
            except BrokenFrames as error:
                self._fail(error)
                return
            if whole is None:
                self._ends.resume_client("burst")
                return
            if whole is PART:
                break
            self._take(whole)
        self._is_resting = True
        self._ends.pause_client("burst")
        self._next_turn(self._read_on)

    def _hold(self, size_bytes: int) -> bool:
        """Take memory for the message that is arriving."""
        return self._lease.take(size_bytes)

    def take_lease(self) -> Lease:
        """Return the lease of the message that `take` received; its memory stays taken until it is freed."""
        lease, self._lease = self._lease, Lease(self._lease.of)
        return lease

    def stop(self) -> None:
        """Read nothing more, and free what is held."""
        self._is_stopped = True
        self._lease.free()
