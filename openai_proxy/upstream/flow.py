"""When a connection reads from its upstream: back-pressure, and turns for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .states import ConnectionState, Event, State


class ReadFlow:
    """Pauses and resumes the transport of one connection.

    It is paused while whoever takes the body is full, and rests after a
    piece that took long to decode and filter, so that others have their
    turn. It reads if neither holds. The time that we hold an answer back
    does not count as the upstream's silence.
    """

    __slots__ = ("_clock", "_is_paused", "_rests", "_state")

    def __init__(self, state: ConnectionState, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._is_paused = False
        self._rests = False

    @property
    def is_held(self) -> bool:
        return self._is_paused or self._rests

    def pause(self, transport: Any) -> None:
        """Pause reading because whoever takes the body is full. Idempotent."""
        if not self._is_paused and self._state.at is not State.CLOSED:
            self._is_paused = True
            if not self._rests:
                transport.pauseProducing()

    def resume(self, transport: Any) -> None:
        """Resume reading because there is room again. Idempotent."""
        if self._is_paused and self._state.at is not State.CLOSED:
            self._is_paused = False
            if self._state.at is State.ANSWERING:
                self._state.on(Event.RESUMED, self._clock())
            if not self._rests:
                transport.resumeProducing()

    def rest(self, transport: Any) -> None:
        """Pause reading because the piece that was just read took long."""
        self._rests = True
        if not self._is_paused:
            transport.pauseProducing()

    def end_rest(self, transport: Any) -> None:
        """Resume reading after others have had their turn."""
        self._rests = False
        if not self._is_paused and self._state.at is State.ANSWERING:
            self._state.on(Event.RESUMED, self._clock())
            transport.resumeProducing()

    def end_body(self, transport: Any) -> None:
        """Resume reading because the answer has ended, and nobody is full any more."""
        if self._is_paused:
            self._is_paused = False
            transport.resumeProducing()
