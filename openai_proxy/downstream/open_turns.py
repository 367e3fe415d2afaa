"""The running turns of a WebSocket, and which of them an event of the server belongs to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from ..wire.websocket_events import BEGUN, ERROR, ServerEvent

_OF_A_RESPONSE = "response."
_OF_NONE = ("response.steer.", "response.inject.")


class Running(Protocol):
    """The members of a turn by which events are assigned to it."""

    stream_id: str | None
    event_id: str | None
    response_id: str | None
    is_over: bool
    """Whether its last event has come."""

    @property
    def is_answered(self) -> bool:
        """Whether an event of it has come."""
        ...


_Turn = TypeVar("_Turn", bound=Running)


class OpenTurns(Generic[_Turn]):
    """The turns that were sent and have not ended, the oldest first.

    An event belongs to the turn with its response's id, else to the oldest
    turn of its lane. `errors_name_events`: an error about a turn names the
    client's event or comes before the turn's answer, as in Realtime.
    """

    def __init__(self, errors_name_events: bool) -> None:
        self._errors_name_events = errors_name_events
        self._turns: list[_Turn] = []

    def __bool__(self) -> bool:
        return bool(self._turns)

    def __iter__(self) -> Iterator[_Turn]:
        return iter([*self._turns])

    def add(self, turn: _Turn) -> None:
        """Add a turn that was sent."""
        self._turns.append(turn)

    def remove(self, turn: _Turn) -> None:
        """Remove a turn that has ended. Idempotent."""
        if turn in self._turns:
            self._turns.remove(turn)

    def find(self, event: ServerEvent) -> _Turn | None:
        """Return the turn that an event belongs to, None if there is none; note its response's id."""
        if event.kind != ERROR and (
            not event.kind.startswith(_OF_A_RESPONSE) or event.kind.startswith(_OF_NONE)
        ):
            return None
        running = [turn for turn in self._turns if not turn.is_over]
        if event.response_id is not None:
            for turn in running:
                if turn.response_id == event.response_id:
                    return turn
        if event.kind == ERROR:
            running = self._with_error(event, running)
        elif event.kind == BEGUN or event.response_id is not None:
            running = [turn for turn in running if turn.response_id is None]
        if event.stream_id is not None:
            running = [turn for turn in running if turn.stream_id == event.stream_id]
        else:
            running = [turn for turn in running if turn.stream_id is None] or running
        if not running:
            return None
        turn = running[0]
        if event.response_id is not None and event.kind != ERROR:
            turn.response_id = event.response_id
        return turn

    def _with_error(self, event: ServerEvent, running: list[_Turn]) -> list[_Turn]:
        if event.event_id is not None:
            named = [turn for turn in running if turn.event_id == event.event_id]
            if named or self._errors_name_events:
                return named
        if self._errors_name_events:
            return [turn for turn in running if not turn.is_answered]
        return running
