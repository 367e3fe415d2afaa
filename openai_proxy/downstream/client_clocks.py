"""A client's connection as one table: its states, what happens, what follows, and the clocks. Pure.

Times are monotonic seconds; nothing here reads a clock or touches a socket.
`channel.py`, `sweep.py` and `closing.py` say what happens; the table says
what the connection waits for then, and until when.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol, TypeAlias

from .pace import LINGER_IDLE_S, BodyRate, Linger, WriteStall

NEVER = float("inf")

BODY_CHECK_S = 0.5
"""How often the pace of a body is looked at."""
UNREAD_GRACE_S = 1.0
"""How long a connection goes on whose time is up while the kernel has bytes that we have not read."""
DRAIN_GRACE_S = 1.0
"""What a connection gets in a drain that nobody waits for an answer on."""


class State(IntEnum):
    """The states of a connection: what it waits for."""

    HEAD = 0
    """The rest of a request's head, or the very first one."""
    IDLE = 1
    """Another request on a connection that was kept."""
    BODY = 2
    """More of the body of the current request."""
    ANSWER = 3
    """Ourselves: the current request is whole, or is refused, and its answer is not all written."""
    FLUSH = 4
    """The client, to take an answer that is all written."""
    LINGER = 5
    """The end of an upload that was answered before it was whole."""
    CLOSING = 6
    """The last bytes, to be taken."""
    TUNNEL = 7
    """Nothing: the connection speaks another protocol now."""
    LOST = 8
    """Nothing: the connection is gone."""


class Event(IntEnum):
    """The events of a connection: what happens to it."""

    BEGIN = 0
    """Part of a request has arrived on a connection that was kept: its clock runs on, whatever trickles in."""
    START = 1
    """A request becomes the current one: it is whole, or is refused for what cannot be read."""
    UPLOAD = 2
    """A request becomes the current one while its body still arrives."""
    UPLOADING = 3
    """Somebody looked at the body: it arrives fast enough."""
    BODY_END = 4
    """The body of the current request is whole."""
    BODY_LATE = 5
    """It arrives too slowly, and is not read on."""
    ANSWERED = 6
    """The answer is all written, and the connection stays open."""
    BLOCKED = 7
    """So it is, but the client has not taken it all."""
    TAKEN = 8
    """Now it has."""
    EARLY = 9
    """The answer is all written before the request is whole."""
    DROPPED = 10
    """More of what nobody wants was read and dropped."""
    UNREAD = 11
    """The time is up, but it is we who have not read what has arrived."""
    DRAIN = 12
    """The daemon stops."""
    UPGRADE = 13
    """Both sides speak another protocol from here on."""
    CLOSE = 14
    """Nothing more will be written: the connection is closed, or reset, once all is taken."""
    LOSE = 15
    """The connection is gone."""


# Each by itself, for looking one up in its class takes as long as a call.
HEAD, IDLE, BODY, ANSWER, FLUSH, LINGER, CLOSING, TUNNEL, LOST = State
BEGIN, START, UPLOAD, UPLOADING, BODY_END, BODY_LATE, ANSWERED, BLOCKED = list(Event)[:8]
TAKEN, EARLY, DROPPED, UNREAD, DRAIN, UPGRADE, CLOSE, LOSE = list(Event)[8:]
BETWEEN_REQUESTS = (HEAD, IDLE)
ENDED = (CLOSING, LOST)

Clock: TypeAlias = "Callable[[ClientClocks, float], float]"
"""Takes the clocks and the time; returns the new deadline. A state that has None instead runs no clock but that of a stalled write."""


def _head(clocks: ClientClocks, now: float) -> float:
    return now + clocks.limits.header_timeout_s


def _idle(clocks: ClientClocks, now: float) -> float:
    return now + clocks.limits.keep_alive_s


def _new_body(clocks: ClientClocks, now: float) -> float:
    clocks.rate = BodyRate(clocks.limits.body_min_bytes_per_s, now)
    return now + BODY_CHECK_S


def _body(clocks: ClientClocks, now: float) -> float:
    return now + BODY_CHECK_S


def _new_linger(clocks: ClientClocks, now: float) -> float:
    clocks.linger = Linger(now)
    return now + LINGER_IDLE_S


def _linger(clocks: ClientClocks, now: float) -> float:
    assert clocks.linger is not None
    return clocks.linger.until(now)


def _grace(clocks: ClientClocks, now: float) -> float:
    return now + UNREAD_GRACE_S


def _soon(clocks: ClientClocks, now: float) -> float:
    return min(clocks.deadline, now + DRAIN_GRACE_S)


TRANSITIONS: dict[State, dict[Event, tuple[State, Clock | None]]] = {
    HEAD: {
        START: (ANSWER, None),
        UPLOAD: (BODY, _new_body),
        UNREAD: (HEAD, _grace),
        DRAIN: (HEAD, _soon),
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    IDLE: {
        BEGIN: (HEAD, _head),
        START: (ANSWER, None),
        UPLOAD: (BODY, _new_body),
        UNREAD: (IDLE, _grace),
        DRAIN: (IDLE, _soon),
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    BODY: {
        UPLOADING: (BODY, _body),
        BODY_END: (ANSWER, None),
        BODY_LATE: (ANSWER, None),
        EARLY: (LINGER, _new_linger),
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    ANSWER: {
        ANSWERED: (IDLE, _idle),
        BLOCKED: (FLUSH, None),
        EARLY: (LINGER, _new_linger),  # its body came too slowly, or cannot be read
        UPGRADE: (TUNNEL, None),
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    FLUSH: {
        TAKEN: (IDLE, _idle),
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    LINGER: {
        DROPPED: (LINGER, _linger),
        DRAIN: (LINGER, _soon),
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    CLOSING: {
        BODY_END: (CLOSING, None),  # what was being read when the answer broke off
        LOSE: (LOST, None),
    },
    TUNNEL: {
        EARLY: (LINGER, _new_linger),  # we have said that we close it
        CLOSE: (CLOSING, None),
        LOSE: (LOST, None),
    },
    LOST: {
        LOSE: (LOST, None),
    },
}

_NEW_REQUEST = (BEGIN, START, UPLOAD)
_OF_A_BODY = (UPLOADING, BODY_END, BODY_LATE)
_OF_AN_ANSWER = (ANSWERED, BLOCKED, EARLY, UPGRADE)
IMPOSSIBLE: tuple[tuple[str, tuple[State, ...], tuple[Event, ...]], ...] = (
    ("one request at a time is answered", (BODY, ANSWER, FLUSH, TUNNEL), _NEW_REQUEST),
    ("the clock runs from the first byte", (HEAD,), (BEGIN,)),
    ("nothing is parsed any more", (LINGER, CLOSING, LOST), _NEW_REQUEST),
    ("no request is current", (HEAD, IDLE, FLUSH, LINGER, LOST), (*_OF_A_BODY, *_OF_AN_ANSWER)),
    ("the request is not whole", (BODY,), (ANSWERED, BLOCKED, UPGRADE)),
    ("its body is not read any more", (ANSWER,), _OF_A_BODY),
    ("no HTTP is spoken any more", (TUNNEL,), (*_OF_A_BODY, ANSWERED, BLOCKED, UPGRADE)),
    ("the end is decided", (CLOSING,), (UPLOADING, BODY_LATE, *_OF_AN_ANSWER)),
    ("the end is decided, and closing.py looks first", ENDED, (CLOSE,)),
    (
        "no answer waits to be taken",
        (HEAD, IDLE, BODY, ANSWER, LINGER, CLOSING, TUNNEL, LOST),
        (TAKEN,),
    ),
    ("nothing is dropped", (HEAD, IDLE, BODY, ANSWER, FLUSH, CLOSING, TUNNEL, LOST), (DROPPED,)),
    ("that clock does not run", (BODY, ANSWER, FLUSH, LINGER, CLOSING, TUNNEL, LOST), (UNREAD,)),
    ("it goes on, or ends by itself", (BODY, ANSWER, FLUSH, CLOSING, TUNNEL, LOST), (DRAIN,)),
)
"""(why, states, events) of what cannot happen. `channel.py` has a defect if it does."""


class Impossible(Exception):
    """An event that the connection's state does not allow: a defect of ours, or of the table."""


class ClockLimits(Protocol):
    """The times and rates that are settings."""

    @property
    def header_timeout_s(self) -> float: ...

    @property
    def keep_alive_s(self) -> float: ...

    @property
    def body_min_bytes_per_s(self) -> float: ...

    @property
    def write_stall_s(self) -> float: ...


class ClientClocks:
    """The state of one connection, and the deadline at which the sweep must look at it.

    `deadline` is that of the state; `stall_check` is when to look at what
    has been written and not taken. NEVER if nothing is waited for.
    """

    __slots__ = ("deadline", "limits", "linger", "rate", "stall", "stall_check", "state")

    def __init__(self, limits: ClockLimits, now: float) -> None:
        self.limits = limits
        self.state = HEAD
        self.deadline = _head(self, now)
        self.stall_check = NEVER
        self.rate: BodyRate | None = None
        """Of the body that arrives, or arrived last."""
        self.stall: WriteStall | None = None
        self.linger: Linger | None = None

    def move(self, event: Event, now: float) -> None:
        """Go on to the state that follows, and set its clock. Raises Impossible."""
        try:
            self.state, clock = TRANSITIONS[self.state][event]
        except KeyError:
            raise Impossible(f"{event.name} in {self.state.name}") from None
        self.deadline = NEVER if clock is None else clock(self, now)

    def start_stall(self, untaken: int, now: float) -> None:
        """Start the clock of a stalled write: the client has not taken `untaken` bytes yet."""
        self.stall = stall = WriteStall(self.limits.write_stall_s, untaken, now)
        self.stall_check = stall.next_check(now)

    def stop_stall(self) -> None:
        """Stop the clock of a stalled write: everything was taken, or nobody will take it."""
        self.stall_check = NEVER

    def is_stalled(self, untaken: int, now: float) -> bool:
        """Look at what waits to be taken: True if nothing has moved for too long."""
        stall = self.stall
        if stall is None or stall.is_over(untaken, now):
            return True
        self.stall_check = stall.next_check(now)
        return False
