"""A connection's table of states: complete, and the one that connections follow."""

import re
from collections import Counter
from itertools import product

import pytest
from fakes import Body, Downstream, SocketPair, response
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.downstream.client_clocks import (
    BODY_CHECK_S,
    CLOSING,
    DRAIN_GRACE_S,
    HEAD,
    IMPOSSIBLE,
    LOST,
    NEVER,
    TRANSITIONS,
    UNREAD_GRACE_S,
    ClientClocks,
    Event,
    Impossible,
    State,
)
from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.downstream.pace import LINGER_IDLE_S
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.upstream_errors import UpstreamUnreachable

LIMITS = DownstreamLimits(header_timeout_s=15, keep_alive_s=120)

DEADLINES = {
    "_head": 1015,
    "_idle": 1120,
    "_new_body": 1000 + BODY_CHECK_S,
    "_body": 1000 + BODY_CHECK_S,
    "_new_linger": 1000 + LINGER_IDLE_S,
    "_linger": 1000 + LINGER_IDLE_S,
    "_grace": 1000 + UNREAD_GRACE_S,
    "_soon": 500,
}
"""What each clock says at 1000 to a connection whose deadline was 500."""


def impossible():
    """Count how often each pair is said to be impossible."""
    return Counter(pair for _, states, events in IMPOSSIBLE for pair in product(states, events))


def clocks_in(state):
    """Return clocks in a state, with a body that arrives and one that is dropped."""
    clocks = ClientClocks(LIMITS, 0)
    for event in (Event.UPLOAD, Event.EARLY):
        clocks.move(event, 1000)
    clocks.state, clocks.deadline = state, 500
    return clocks


def test_every_event_in_every_state_is_in_the_table_or_impossible():
    """Never both, never neither, and said once."""
    possible = Counter((state, event) for state, row in TRANSITIONS.items() for event in row)
    assert possible + impossible() == Counter(product(State, Event))


@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_each_event_moves_to_its_state_and_sets_its_clock(state, event):
    """What is impossible raises, and changes nothing."""
    clocks = clocks_in(state)
    after = TRANSITIONS[state].get(event)
    if after is None:
        with pytest.raises(Impossible, match=f"{event.name} in {state.name}"):
            clocks.move(event, 1000)
        assert (clocks.state, clocks.deadline) == (state, 500)
    else:
        clocks.move(event, 1000)
        assert (clocks.state, clocks.deadline) == (
            after[0],
            NEVER if after[1] is None else DEADLINES[after[1].__name__],
        )


def test_a_drain_shortens_a_deadline_that_is_further_away():
    """And lengthens none."""
    clocks = ClientClocks(LIMITS, 0)
    clocks.move(Event.DRAIN, 10)
    assert clocks.deadline == 10 + DRAIN_GRACE_S


def test_a_connection_can_always_end():
    """From every state that can be reached, and every state can."""
    reached, left = set(), [HEAD]
    while left:
        state = left.pop()
        if state not in reached:
            reached.add(state)
            left += [after for after, _ in TRANSITIONS[state].values()]
    assert reached == set(State)
    assert all(TRANSITIONS[state][Event.LOSE][0] is LOST for state in State)
    closing = set(State) - {CLOSING, LOST}
    assert all(TRANSITIONS[state][Event.CLOSE][0] is CLOSING for state in closing)


GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PAGE = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
WEBSOCKET = b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
NONSENSE = b"nonsense\r\n\r\n"

REQUESTS = [
    GET,
    GET,
    LAST,
    PAGE,
    UPLOAD,
    CHUNKED,
    WEBSOCKET,
    NONSENSE,
    b"BREW" + GET[3:],
    UPLOAD + GET,
    GET + UPLOAD,
]

ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(REQUESTS)),
    st.tuples(st.just("send"), st.sampled_from(REQUESTS), st.integers(1, 90)),
    st.tuples(st.just("send"), st.sampled_from([UPLOAD, CHUNKED, GET + UPLOAD]), st.integers(1, 6)),
    st.tuples(st.sampled_from(["rest", "answer", "end"])),
    st.tuples(st.sampled_from(["rest", "answer", "end"])),
    st.tuples(st.sampled_from(["cut", "fail", "block", "unblock", "drain", "lose", "read"])),
    st.tuples(st.just("wait"), st.sampled_from([0.25, 2, 20, 130])),
)


class UpstreamEnd(Body):
    """An upstream's body, or its end of a tunnel."""

    def __getattr__(self, name):
        if re.match("(write|registerProducer|unregisterProducer|loseConnection)$", name):
            return lambda *arguments: None
        raise AttributeError(name)


class Recorded(ClientClocks):
    """Clocks that remember what happened."""

    def __init__(self, limits, now):
        super().__init__(limits, now)
        self.seen = []

    def move(self, event, now):
        self.seen.append((self.state, event))
        super().move(event, now)


class Walk:
    """A connection to which things happen."""

    def __init__(self):
        self.waiting, self.bodies, self.requests, self.unsent = [], [], [], b""
        self.edge = Downstream(self.forward)
        self.client = self.edge.connect()
        self.pair = None
        self.clocks = self.client.channel.clocks = Recorded(LIMITS, 0)

    def do(self, *actions):
        for name, *arguments in actions:
            getattr(self, name)(*arguments)
        return self.clocks.seen

    async def forward(self, request):
        self.requests.append(request)
        self.waiting.append((request, Deferred()))
        return await self.waiting[-1][1]

    def send(self, request, kept=0):
        """Send a request, but for so many bytes at its end."""
        data = self.unsent + request
        end = max(1, len(data) - kept)
        self.unsent = data[end:]
        self.client.send(data[:end])

    def rest(self):
        unsent, self.unsent = self.unsent, b""
        self.client.send(unsent or b"x")

    def answer(self):
        if self.waiting:
            request, head = self.waiting.pop()
            self.bodies.append(UpstreamEnd())
            head.callback(response(self.bodies[-1], status=101 if request.upgrade else 200))

    def fail(self):
        if self.waiting:
            self.waiting.pop()[1].errback(UpstreamUnreachable())

    def end(self):
        if self.bodies:
            body = self.bodies.pop()
            if body.protocol is not None:
                body.feed(b"x")
                body.end()

    def cut(self):
        if self.bodies:
            body = self.bodies.pop()
            if body.protocol is not None:
                body.cut()

    def block(self):
        if self.client.transport.producer is not None:
            self.client.transport.producer.pauseProducing()

    def unblock(self):
        if self.client.transport.producer is not None:
            self.client.transport.producer.resumeProducing()

    def read(self):
        """Somebody takes the upload."""
        if self.requests and hasattr(self.requests[-1].body, "read"):
            Deferred.fromCoroutine(self.requests[-1].body.read(100)).addErrback(lambda failure: None)

    def break_upload(self):
        """What takes the upload breaks the answer off at the next byte."""
        self.requests[-1].body.startProducing(self)

    def write(self, data):
        self.cut()

    def unread(self):
        """The kernel has a byte that nobody has read."""
        self.pair = SocketPair(tcp.Server, MemoryReactorClock())
        self.client.channel.transport = self.pair.transport
        self.pair.peer.sendall(b"x")

    def give_up(self):
        """A page, or Twisted, wants no more of this connection."""
        self.client.channel.loseConnection()

    def farewell(self):
        """What reads a WebSocket's turns says that it closes it."""
        self.client.channel.tunnel.finish(Outcome.COMPLETE)

    def drain(self):
        self.edge.site.drain()

    def lose(self):
        self.client.channel.connectionLost()

    def wait(self, seconds):
        self.edge.advance(seconds)


HEAD_ = [("send", GET, 9)]
IDLE_ = [("send", PAGE)]
BODY_ = [("send", UPLOAD, 2)]
ANSWER_ = [("send", GET)]
FLUSH_ = [("send", GET), ("block",), ("answer",), ("end",)]
LINGER_ = [("send", NONSENSE)]
CLOSING_ = [("send", LAST), ("answer",), ("end",)]
TUNNEL_ = [("send", WEBSOCKET), ("answer",)]
SCENES = {
    (State.HEAD, Event.START): [*HEAD_, ("rest",)],
    (State.HEAD, Event.UPLOAD): BODY_,
    (State.HEAD, Event.UNREAD): [*HEAD_, ("unread",), ("wait", 16)],
    (State.HEAD, Event.DRAIN): [*HEAD_, ("drain",)],
    (State.HEAD, Event.CLOSE): [("wait", 16)],
    (State.HEAD, Event.LOSE): [*HEAD_, ("lose",)],
    (State.IDLE, Event.BEGIN): [*IDLE_, *HEAD_],
    (State.IDLE, Event.START): [*IDLE_, ("send", GET)],
    (State.IDLE, Event.UPLOAD): [*IDLE_, *BODY_],
    (State.IDLE, Event.UNREAD): [*IDLE_, ("unread",), ("wait", 121)],
    (State.IDLE, Event.DRAIN): [*IDLE_, ("unread",), ("drain",)],
    (State.IDLE, Event.CLOSE): [*IDLE_, ("wait", 121)],
    (State.IDLE, Event.LOSE): [*IDLE_, ("lose",)],
    (State.BODY, Event.UPLOADING): [*BODY_, ("read",), ("wait", 1)],
    (State.BODY, Event.BODY_END): [*BODY_, ("rest",)],
    (State.BODY, Event.BODY_LATE): [*BODY_, ("read",), ("wait", 10)],
    (State.BODY, Event.EARLY): [*BODY_, ("answer",), ("end",)],
    (State.BODY, Event.CLOSE): [*BODY_, ("answer",), ("cut",)],
    (State.BODY, Event.LOSE): [*BODY_, ("lose",)],
    (State.ANSWER, Event.ANSWERED): [*ANSWER_, ("answer",), ("end",)],
    (State.ANSWER, Event.BLOCKED): FLUSH_,
    (State.ANSWER, Event.EARLY): LINGER_,
    (State.ANSWER, Event.UPGRADE): TUNNEL_,
    (State.ANSWER, Event.CLOSE): CLOSING_,
    (State.ANSWER, Event.LOSE): [*ANSWER_, ("lose",)],
    (State.FLUSH, Event.TAKEN): [*FLUSH_, ("unblock",)],
    (State.FLUSH, Event.CLOSE): [*FLUSH_, ("drain",)],
    (State.FLUSH, Event.LOSE): [*FLUSH_, ("lose",)],
    (State.LINGER, Event.DROPPED): [*LINGER_, ("send", GET)],
    (State.LINGER, Event.DRAIN): [*LINGER_, ("drain",)],
    (State.LINGER, Event.CLOSE): [*LINGER_, ("give_up",)],
    (State.LINGER, Event.LOSE): [*LINGER_, ("lose",)],
    (State.CLOSING, Event.BODY_END): [("send", UPLOAD, 5), ("answer",), ("break_upload",), ("rest",)],
    (State.CLOSING, Event.LOSE): [*CLOSING_, ("lose",)],
    (State.TUNNEL, Event.EARLY): [*TUNNEL_, ("farewell",)],
    (State.TUNNEL, Event.CLOSE): [*TUNNEL_, ("end",)],
    (State.TUNNEL, Event.LOSE): [*TUNNEL_, ("lose",)],
    (State.LOST, Event.LOSE): [("lose",), ("lose",)],
}
"""How a connection comes to each transition."""


@pytest.mark.parametrize("transition", SCENES, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_every_transition_is_one_that_connections_make(transition):
    """None is in the table for nothing."""
    walk = Walk()
    try:
        assert transition in walk.do(*SCENES[transition])
    finally:
        if walk.pair is not None:
            walk.pair.close()


def test_there_is_a_scene_for_each():
    """As many as transitions."""
    assert set(SCENES) == {(state, event) for state, row in TRANSITIONS.items() for event in row}


@given(st.lists(ACTIONS, max_size=20))
def test_no_connection_leaves_the_table(actions):
    """Whatever clients, upstreams, kernel and operator do, in whatever order."""
    assert impossible().keys().isdisjoint(Walk().do(*actions))
