"""The order of a client's messages while some of its turns wait for the stages.

Messages after a waiting turn in the same lane (`stream_id`, or none) wait, too;
those of other lanes overtake it. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ..exchange.buffered_bytes import Lease
from ..exchange.outcome import Outcome


class Judged(Protocol):
    """A message that the stages admit or refuse."""

    is_decided: bool

    def lose(self, outcome: Outcome) -> None:
        """End it, because the connection is lost."""


class Message(NamedTuple):
    """A client's message that waits."""

    raw: bytes
    event: Any
    """The event that the stages admit or refuse; None if the message passes as it is."""
    lease: Lease


class Lanes:
    """`put` messages in the order in which they came; `begin` and `pass_on` are called in the order of each lane.

    `begin` returns what the stages decide on, whether that is decided already
    or not; call `go_on` with it once it is.
    """

    def __init__(self, begin: Callable[[Message], Judged], pass_on: Callable[[bytes, Lease], None]) -> None:
        self._begin = begin
        self._pass_on = pass_on
        self._waiting: dict[str | None, tuple[Judged, deque[Message]]] = {}
        self.held_bytes = 0
        """The number of bytes of all messages that wait for others."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def judged(self) -> Iterator[Judged]:
        """The messages that the stages decide on now."""
        return iter([judged for judged, _ in self._waiting.values()])

    def put(self, lane: str | None, message: Message) -> None:
        """Begin a message, or queue it behind those of its lane that wait."""
        waiting = self._waiting.get(lane)
        if waiting is not None:
            waiting[1].append(message)
            self.held_bytes += len(message.raw)
        elif message.event is None:
            self._pass_on(message.raw, message.lease)
        else:
            judged = self._begin(message)
            if not judged.is_decided:
                self._waiting[lane] = judged, deque()

    def go_on(self, judged: Judged) -> None:
        """Begin the messages that wait for `judged`, which has been decided."""
        for lane, (first, messages) in self._waiting.items():
            if first is judged:
                del self._waiting[lane]
                self.held_bytes -= sum(len(message.raw) for message in messages)
                for message in messages:
                    self.put(lane, message)
                return

    def clear(self) -> None:
        """Drop all waiting messages."""
        for _, messages in self._waiting.values():
            for message in messages:
                message.lease.free()
        self._waiting.clear()
        self.held_bytes = 0
