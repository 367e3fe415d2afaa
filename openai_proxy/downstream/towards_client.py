"""What the client of a WebSocket receives whose turns are read: the upstream's bytes, and messages of ours.

A message of ours is written only between two of the upstream's, and a close
frame only between two frames.
"""

from __future__ import annotations

from ..exchange.buffered_bytes import Lease
from ..wire.websocket_messages import ServerMessages, close_frame
from .contract import TunnelEnds, TurnRules


class TowardsClient:
    """The writing side of a conversation towards its client.

    `events` reads along in what the upstream sends. Bytes are held (`hold`)
    while the stages have not let an answer pass; `let_go` frees everything,
    and nothing is written afterwards.
    """

    def __init__(self, ends: TunnelEnds, rules: TurnRules) -> None:
        self._ends = ends
        self._lease = Lease(rules.buffered)
        self.events = ServerMessages(rules.message_bytes, self._lease.take, self._lease.free)
        self._injected: list[bytes] = []
        """Messages of ours that wait until one of the upstream's is whole."""
        self._held: list[bytes] = []
        """What came from the upstream while the stages had not let an answer pass."""

    @property
    def holds_any(self) -> bool:
        """Whether bytes of the upstream are held."""
        return bool(self._held)

    @property
    def may_close(self) -> bool:
        """Whether a close frame may be written now: no frame has come only in part, and nothing is held."""
        return self.events.is_between_frames and not self._held

    def hold(self, data: bytes) -> None:
        """Keep what the upstream sent until `release`."""
        self._held.append(data)

    def release(self) -> None:
        """Write what was held."""
        held, self._held = self._held, []
        self.write(b"".join(held), [])

    def write(self, data: bytes, ends: list[int]) -> None:
        """Pass on what the upstream sent, with the messages of ours that wait.

        `ends` are the positions in `data` at which a message of the upstream's
        ends, in ascending order.
        """
        if self._injected and ends:
            at = ends[0]
            data = b"".join([data[:at], *self._injected, data[at:]])
            self._injected.clear()
        self._ends.to_client(data)
        if self._injected and self.events.is_between_messages:
            self._ends.to_client(b"".join(self._injected))
            self._injected.clear()

    def inject(self, frame: bytes) -> None:
        """Write a message of ours as soon as none of the upstream's has come only in part."""
        if self._held or not self.events.is_between_messages:
            self._injected.append(frame)
        else:
            self._ends.to_client(frame)

    def write_held(self) -> None:
        """Write what is held, if anything is; it stays held until `let_go`."""
        if self._held:
            self._ends.to_client(b"".join(self._held))

    def write_last(self, data: bytes) -> None:
        """The upstream broke the protocol in `data`: write what was whole before."""
        held, self._held = self._held, []
        self._ends.to_client(b"".join([*held, data[: max(0, self.events.whole_bytes)]]))

    def close(self, code: int, reason: str) -> None:
        """Write a close frame, after the messages of ours that wait if they may be written. Only if `may_close`."""
        frames = self._injected if self.events.is_between_messages else []
        self._ends.to_client(b"".join([*frames, close_frame(code, reason)]))

    def let_go(self) -> None:
        """Hold nothing any more."""
        self._lease.free()
        self._injected.clear()
        self._held.clear()
