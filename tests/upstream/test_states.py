"""The table of a connection's states: every pair of state and event is either there or said to be impossible."""

import itertools

import pytest

from openai_proxy.upstream.answer_timer import NEVER, UpstreamTimeouts
from openai_proxy.upstream.states import CLOCKS, TRANSITIONS, ConnectionState, Event, State

S, E = State, Event

IMPOSSIBLE = {
    S.CONNECTING: "nothing is sent or read before the connection is ready",
    S.IDLE: "bytes on an idle connection are nobody's: it is aborted",
    S.SENDING: "one request at a time; nothing of a body is held back before its head is passed on",
    S.WAITING: "one request at a time; all of it has been taken",
    S.ANSWERING: "one request at a time, and one head",
    S.TUNNEL: "what comes is another protocol's",
    S.FLUSHING: "what still comes is dropped",
    S.CUT: "what still comes is dropped, and aborting again does nothing",
    S.CLOSED: "nothing comes from a transport that is lost",
}
"""Why the pairs that are not in the table cannot happen."""

POSSIBLE = {
    S.CONNECTING: {E.READY, E.ABORTED, E.LOST},
    S.IDLE: {E.SENT, E.SENDS, E.ABORTED, E.LOST},
    S.SENDING: {E.TAKEN, E.HEAD, E.FREED, E.SWITCHED, E.ABORTED, E.LOST},
    S.WAITING: {E.HEAD, E.FREED, E.SWITCHED, E.ABORTED, E.LOST},
    S.ANSWERING: {E.RESUMED, E.FREED, E.ABORTED, E.LOST},
    S.TUNNEL: {E.FINISHED, E.ABORTED, E.LOST},
    S.FLUSHING: {E.ABORTED, E.LOST},
    S.CUT: {E.FINISHED, E.LOST},
    S.CLOSED: set(),
}

LIMITS = UpstreamTimeouts(first_byte=10.0, idle=20.0, total=500.0)


def at(state):
    """Return a connection's state, put there, whose request began at 100."""
    made = ConnectionState(LIMITS)
    made.timer.begin(100.0, bounded=True)
    made.at = state
    return made


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_has_a_next_state_or_is_impossible(state, event):
    """What cannot happen raises, and changes nothing."""
    connection = at(state)
    if event in POSSIBLE[state]:
        connection.on(event, 100.0)
        assert connection.at is TRANSITIONS[state][event]
    else:
        assert IMPOSSIBLE[state]
        with pytest.raises(KeyError):
            connection.on(event, 100.0)
        assert connection.at is state


def test_every_state_but_the_first_can_be_reached_and_only_the_last_is_final():
    """No row of the table is dead."""
    reached = {following for row in TRANSITIONS.values() for following in row.values()}
    assert reached == set(State) - {S.CONNECTING}
    assert [state for state, row in TRANSITIONS.items() if not row] == [S.CLOSED]
    assert set(CLOCKS) == set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", [state for state in State if state not in (S.CUT, S.CLOSED)])
def test_whatever_a_connection_does_it_can_be_cut_and_lost(state):
    """And then waits for nothing."""
    for events, end in [((E.ABORTED, E.LOST), S.CLOSED), ((E.LOST,), S.CLOSED), ((E.ABORTED,), S.CUT)]:
        connection = at(state)
        for event in events:
            connection.on(event, 100.0)
        assert (connection.at, connection.is_ended, connection.timer.deadline) == (end, True, NEVER)


@pytest.mark.parametrize(
    ("state", "event", "deadline"),
    [
        (S.CONNECTING, E.READY, NEVER),
        (S.IDLE, E.SENT, 110.0),
        (S.IDLE, E.SENDS, 600.0),
        (S.SENDING, E.TAKEN, 110.0),
        (S.WAITING, E.HEAD, 120.0),
        (S.SENDING, E.HEAD, 120.0),
        (S.ANSWERING, E.RESUMED, 120.0),
        (S.ANSWERING, E.FREED, NEVER),
        (S.WAITING, E.SWITCHED, NEVER),
        (S.TUNNEL, E.FINISHED, 105.0),
    ],
)
def test_each_state_has_its_clock(state, event, deadline):
    """It is set as the state is entered."""
    connection = at(state)
    connection.on(event, 100.0)
    assert connection.timer.deadline == deadline
    assert connection.overdue(min(deadline, 1e9) - 0.1, is_held=False) is None


@pytest.mark.parametrize(
    ("state", "event", "now", "kind"),
    [
        (S.IDLE, E.SENT, 110.0, "timeout_first_byte"),
        (S.IDLE, E.SENDS, 600.0, "timeout_total"),
        (S.WAITING, E.HEAD, 120.0, "timeout_idle"),
        (S.WAITING, E.HEAD, 600.0, "timeout_total"),
        (S.TUNNEL, E.FINISHED, 105.0, "timeout_idle"),
    ],
)
def test_each_clock_has_its_error(state, event, now, kind):
    """The client learns which limit it was."""
    connection = at(state)
    connection.on(event, 100.0)
    assert connection.overdue(now, is_held=False)[1] == kind


def test_a_body_that_is_held_back_is_not_silent():
    """The time in which we do not read does not count."""
    connection = at(S.WAITING)
    connection.on(E.HEAD, 100.0)
    assert connection.overdue(120.0, is_held=True) is None
    assert connection.timer.deadline == 140.0
