"""The states of a connection to an upstream, in one table, and the clock of each. Pure.

`UpstreamConnection` reports events; what follows from them stands here.
Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, auto

from .answer_timer import AnswerTimer, UpstreamTimeouts


class State(IntEnum):
    """What a connection is doing."""

    CONNECTING = auto()
    """TCP, and the TLS handshake."""
    IDLE = auto()
    """No request; in the agent's pool."""
    SENDING = auto()
    """A request goes up, and the upstream may not have all of it yet."""
    WAITING = auto()
    """The upstream has the request; no head of an answer yet."""
    ANSWERING = auto()
    """The head has been passed on, the body comes. The rest of an upload may still go up."""
    TUNNEL = auto()
    """After a 101: another protocol."""
    FLUSHING = auto()
    """A tunnel that the client has closed: what is written still goes up."""
    CUT = auto()
    """Aborted; the loss has not been reported yet."""
    CLOSED = auto()


class Event(IntEnum):
    """What happens to a connection."""

    READY = auto()
    """Connected; with TLS: the peer is verified."""
    SENT = auto()
    """A request was written that the kernel takes at once."""
    SENDS = auto()
    """A larger request was written, or an upload has begun."""
    TAKEN = auto()
    """The upstream has taken all of the request."""
    HEAD = auto()
    """The head of an answer came, and its body has not ended."""
    RESUMED = auto()
    """The body is read on after a pause of ours: the time that we held it back does not count."""
    FREED = auto()
    """The answer has ended, and the connection may carry another request."""
    SWITCHED = auto()
    """The answer is a 101 that was asked for."""
    FINISHED = auto()
    """The client has closed the tunnel in order."""
    ABORTED = auto()
    """Nobody wants the rest, something odd came, or a clock ran out."""
    LOST = auto()
    """The transport says that the connection has ended."""


_ENDS = {Event.ABORTED: State.CUT, Event.LOST: State.CLOSED}
_ANSWERS = {
    Event.HEAD: State.ANSWERING,
    Event.FREED: State.IDLE,
    Event.SWITCHED: State.TUNNEL,
}

TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.CONNECTING: {Event.READY: State.IDLE, **_ENDS},
    State.IDLE: {Event.SENT: State.WAITING, Event.SENDS: State.SENDING, **_ENDS},
    # An upstream may answer before it has all of the request.
    State.SENDING: {Event.TAKEN: State.WAITING, **_ANSWERS, **_ENDS},
    State.WAITING: {**_ANSWERS, **_ENDS},
    State.ANSWERING: {Event.RESUMED: State.ANSWERING, Event.FREED: State.IDLE, **_ENDS},
    State.TUNNEL: {Event.FINISHED: State.FLUSHING, **_ENDS},
    State.FLUSHING: {**_ENDS},
    # The client may close a tunnel that has just been cut.
    State.CUT: {Event.FINISHED: State.CUT, Event.LOST: State.CLOSED},
    State.CLOSED: {},
}
"""(state, event) to the next state. What is not here cannot happen: it would be a defect, and raises."""

CLOCKS: Mapping[State, Callable[[AnswerTimer, float], None]] = {
    State.CONNECTING: AnswerTimer.stop,  # the Connecting has the deadline
    State.IDLE: AnswerTimer.stop,  # the pool knows how long it has been idle
    State.SENDING: AnswerTimer.expect_end,
    State.WAITING: AnswerTimer.expect_head,
    State.ANSWERING: AnswerTimer.expect_body,
    State.TUNNEL: AnswerTimer.stop,
    State.FLUSHING: AnswerTimer.expect_close,
    State.CUT: AnswerTimer.stop,
    State.CLOSED: AnswerTimer.stop,
}
"""How the deadline is set when a state is entered."""


class ConnectionState:
    """The state of one connection (`at`), and how long it may stay in it (`timer`)."""

    __slots__ = ("at", "timer")

    def __init__(self, timeouts: UpstreamTimeouts) -> None:
        self.at = State.CONNECTING
        self.timer = AnswerTimer(timeouts)

    def on(self, event: Event, now: float) -> None:
        """Enter the state that follows `event`; KeyError if it cannot happen in this one."""
        self.at = following = TRANSITIONS[self.at][event]
        CLOCKS[following](self.timer, now)

    @property
    def is_asked(self) -> bool:
        """Whether a request is under way whose head has not come."""
        return self.at is State.SENDING or self.at is State.WAITING

    @property
    def is_ended(self) -> bool:
        """Whether the connection is cut or closed."""
        return self.at is State.CUT or self.at is State.CLOSED

    def overdue(self, now: float, is_held: bool) -> tuple[str, str] | None:
        """Return the message and the kind of the timeout that has come, None if there is time left.

        Called by a sweep, after `note_reads`. `is_held`: we do not read just now.
        """
        timer = self.timer
        if now < timer.deadline:
            return None
        if timer.is_over(now):
            return "The request took longer than this proxy allows.", "timeout_total"
        if self.is_asked:
            return "The upstream did not answer in time.", "timeout_first_byte"
        if self.at is State.FLUSHING:
            return "The upstream never took the last bytes of a tunnel.", "timeout_idle"
        if timer.is_silent(now, held=is_held):
            return "The upstream fell silent.", "timeout_idle"
        return None
