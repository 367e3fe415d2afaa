"""Write to the client of a WebSocket whose turns are read: the upstream's bytes, and the proxy's own messages.

A message of the proxy is written only between two messages of the upstream, and
a close frame only between two frames.
"""

from __future__ import annotations

from ..exchange.buffered_bytes import Lease
from ..wire.websocket_messages import ServerMessages, close_frame
from .contract import TunnelEnds, TurnRules


class TowardsClient:
    """The writing side of a conversation towards its client.

    `events` parses the upstream's bytes while they pass. Bytes are held
    (`hold`) while the stages have not let an answer pass. `let_go` frees
    everything; nothing may be written afterwards.
    """

    def __init__(self, ends: TunnelEnds, rules: TurnRules) -> None:
        self._ends = ends
        self._lease = Lease(rules.buffered)
        self.events = ServerMessages(rules.message_bytes, self._lease.take, self._lease.free)
        self._injected: list[bytes] = []
        """Messages of the proxy that wait until the upstream's current message is whole."""
        self._held: list[bytes] = []
        """Bytes of the upstream that came while the stages had not let an answer pass."""

    @property
    def holds_any(self) -> bool:
        """Whether bytes of the upstream are held."""
        return bool(self._held)

    @property
    def may_close(self) -> bool:
        """Whether a close frame may be written now: no frame is incomplete, and nothing is held."""
        return self.events.is_between_frames and not self._held

    def hold(self, data: bytes) -> None:
        """Hold bytes of the upstream until `release`."""
        self._held.append(data)

    def release(self) -> None:
        """Write the held bytes."""
        held, self._held = self._held, []
        self.write(b"".join(held), [])

    def write(self, data: bytes, ends: list[int]) -> None:
        """Write bytes of the upstream, and the proxy's messages that wait.

        `ends` are the positions in `data` at which the upstream's messages
        end, in ascending order.
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
        """Write a message of the proxy as soon as no message of the upstream is incomplete."""
        if self._held or not self.events.is_between_messages:
            self._injected.append(frame)
        else:
            self._ends.to_client(frame)

    def write_held(self) -> None:
        """Write the held bytes, if there are any; they stay held until `let_go`."""
        if self._held:
            self._ends.to_client(b"".join(self._held))

    def write_last(self, data: bytes) -> None:
        """Write what came whole before the upstream broke the protocol in `data`."""
        held, self._held = self._held, []
        self._ends.to_client(b"".join([*held, data[: max(0, self.events.whole_bytes)]]))

    def close(self, code: int, reason: str) -> None:
        """Write the waiting messages of the proxy, if they may be written, and a close frame. Only if `may_close`."""
        frames = self._injected if self.events.is_between_messages else []
        self._ends.to_client(b"".join([*frames, close_frame(code, reason)]))

    def let_go(self) -> None:
        """Free everything that is held."""
        self._lease.free()
        self._injected.clear()
        self._held.clear()
