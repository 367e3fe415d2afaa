"""The order of a client's messages while some of its turns wait to be judged.

What comes after a turn that waits, in the same lane (`stream_id`, or none),
waits with it; other lanes overtake. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ..exchange.buffered_bytes import Lease
from ..exchange.outcome import Outcome


class Judged(Protocol):
    """A message that the stages judge."""

    is_decided: bool

    def lose(self, outcome: Outcome) -> None:
        """The connection is lost."""


class Message(NamedTuple):
    """A message of a client's that waits."""

    raw: bytes
    event: Any
    """What is to be judged of it; None if it passes as it is."""
    lease: Lease


class Lanes:
    """`put` messages in the order in which they came; `begin` and `pass_on` are called in the order of each lane.

    `begin` returns what is judged, decided already or not; call `go_on` with
    it once it is.
    """

    def __init__(self, begin: Callable[[Message], Judged], pass_on: Callable[[bytes, Lease], None]) -> None:
        self._begin = begin
        self._pass_on = pass_on
        self._waiting: dict[str | None, tuple[Judged, deque[Message]]] = {}
        self.held_bytes = 0
        """The lanes of messages that wait for others."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def judged(self) -> Iterator[Judged]:
        """What is being judged now."""
        return iter([judged for judged, _ in self._waiting.values()])

    def put(self, lane: str | None, message: Message) -> None:
        """Let a message go on, or wait for its turn."""
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
        """Let the messages follow that wait for `judged`, which has been decided."""
        for lane, (first, messages) in self._waiting.items():
            if first is judged:
                del self._waiting[lane]
                self.held_bytes -= sum(len(message.raw) for message in messages)
                for message in messages:
                    self.put(lane, message)
                return

    def clear(self) -> None:
        """Forget all that waits."""
        for _, messages in self._waiting.values():
            for message in messages:
                message.lease.free()
        self._waiting.clear()
        self.held_bytes = 0
