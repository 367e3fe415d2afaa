"""Find the ends of a WebSocket's frames, and make a close frame. Pure.

RFC 6455 §5.2. Payloads are skipped, not read.
"""

from __future__ import annotations

POLICY_VIOLATION = 1008
"""The status that means: do not connect again (RFC 6455 §7.4.1)."""


class FrameEnds:
    """Follow the frames of one direction of a WebSocket

    A control frame may come between two frames, also of one message (RFC 6455
    §5.4). O(frames); holds at most 13 bytes.
    """

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._left = 0
        """The number of bytes that the current frame still has."""
        self._head = b""
        """The beginning of a frame's header."""

    @property
    def at_end(self) -> bool:
        """Whether the input so far ends with a whole frame; True before the first."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Take the next bytes, however they are divided."""
        at = 0
        while at < len(data):
            at = self.feed_one(data, at)

    def feed_one(self, data: bytes, at: int = 0) -> int:
        """Take bytes from `at` to the end of a frame, or all if it continues; return the offset after them."""
        size = len(data)
        if self._left:
            taken = min(self._left, size - at)
            self._left -= taken
            return at + taken
        begun = len(self._head)
        head = self._head + data[at : at + 14 - begun]
        length = _frame_length(head)
        if length is None:
            self._head = head
            return size
        self._head = b""
        end = at + length - begun
        if end > size:
            self._left = end - size
            return size
        return end


def _frame_length(head: bytes) -> int | None:
    """Return the size of the frame with this beginning, including its header; None if more is needed."""
    if len(head) < 2:
        return None
    short, masked = head[1] & 0x7F, head[1] & 0x80
    extended = {126: 2, 127: 8}.get(short, 0)
    size = 2 + extended + (4 if masked else 0)
    if len(head) < size:
        return None
    return size + (int.from_bytes(head[2 : 2 + extended], "big") if extended else short)


def close_frame(status: int, reason: bytes) -> bytes:
    r"""Return a server's close frame; `reason` is UTF-8 of at most 123 bytes.

    >>> close_frame(1008, b"no")
    b'\x88\x04\x03\xf0no'
    """
    return bytes((0x88, 2 + len(reason))) + status.to_bytes(2, "big") + reason
