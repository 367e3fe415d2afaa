"""Turns of a WebSocket as exchanges, between two ends in memory."""

import json

import pytest
from fakes import UPGRADE, Downstream, Far, response
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import FrameProtocol

from openai_proxy.daemon.chains import compose
from openai_proxy.downstream.contract import TurnRules
from openai_proxy.downstream.conversation import MOST_REFUSALS
from openai_proxy.exchange.access_errors import ModelNotAllowed
from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.errors import BudgetSpent, RequestLimitReached
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.record import Inspection
from openai_proxy.policies.bodies.read_body import ReadBody
from openai_proxy.policies.usage.note_errors import NoteErrors
from openai_proxy.policies.usage.read_usage import ReadUsage

USAGE = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}


def sent(message, fin=True, opcode=1):
    """Return a client's frame."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


def server_frames(*events):
    """Return a server's frames."""
    return b"".join(Frame(Opcode.TEXT, json.dumps(each).encode()).serialize(mask=False) for each in events)


def create(**fields):
    return sent({"type": "response.create", "model": "m", **fields})


def created(name="r1", **fields):
    return {"type": "response.created", "response": {"id": name}, **fields}


def completed(name="r1", kind="response.completed", usage=USAGE, **fields):
    return {"type": kind, "response": {"id": name, "usage": usage}, **fields}


class Judge:
    """A stage that refuses, or waits, as the test says; keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.errors = []
        self.waits = []

    async def __call__(self, request, forward):
        self.asked.append(json.loads(request.body))
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        if self.waits and (waiting := self.waits.pop(0)) is not None:
            await waiting
        return await forward(request)


async def nothing(request):
    return ProxyResponse(200, b"OK", [], WholeBody(b""))


async def send(request):
    return await request.turn.send()


class World:
    """A WebSocket whose turns are read; `far` is the upstream's end."""

    def __init__(self, endpoint="responses", is_strict=True, early=b"", **rules):
        self.far = Far()

        async def forward(request):
            request.exchange.inspection = Inspection(is_strict, endpoint)
            request.exchange.upstream = "default"
            return response(self.far, (b"Upgrade", b"websocket"), status=101, reason=b"Switching")

        self.downstream = Downstream(forward)
        self.judge, self.models, self.quota = Judge(), Judge(), Judge()
        clock = self.downstream.clock.seconds
        self.buffered = BufferedBytes(rules.pop("buffered_bytes", 1 << 20))
        reading = [ReadBody(1 << 20, buffered=self.buffered), NoteErrors(), ReadUsage(True, clock)]
        self.downstream.site.turns = TurnRules(
            compose([self.judge, *reading], send),
            compose([self.judge, *reading], send),
            compose([self.models], nothing),
            compose([self.quota], nothing),
            self.buffered,
            **{"message_bytes": 10_000} | rules,
        )
        self.client = self.downstream.connect()
        self._reader = FrameProtocol(client=True, extensions=[])
        assert self.client.send(UPGRADE + early).startswith(b"HTTP/1.1 101")

    def send(self, *frames):
        self.client.channel.dataReceived(b"".join(frames))

    @property
    def up(self):
        """What the upstream has got since the last look."""
        data = b"".join(self.far.written)
        self.far.written.clear()
        return data

    @property
    def down(self):
        """What the client has got since the last look: events, and the codes of close frames."""
        self._reader.receive_bytes(self.client.transport.take())
        found = []
        for frame in self._reader.received_frames():
            if frame.opcode == 8:
                found.append(frame.payload[0])
            elif frame.opcode == 1:
                found.append(json.loads(frame.payload))
        return found

    @property
    def turns(self):
        """The turns that have ended: model, status, outcome, tokens."""
        return [
            (
                each.model,
                each.status,
                each.outcome.value,
                None if each.usage is None else each.usage.total_tokens,
            )
            for each in self.downstream.published
            if each.turn is not None
        ]


def test_a_turn_is_an_exchange():
    """With an id, a number and the connection's id; its bytes pass as they came."""
    world = World()
    message = create(input="hi")
    world.send(message)
    assert world.up == message
    assert world.judge.asked == [{"type": "response.create", "model": "m", "input": "hi"}]
    delta = {"type": "response.output_text.delta", "delta": "hello"}
    answer = server_frames(created(), delta, completed())
    world.far.feed(answer)
    assert world.client.transport.take() == answer
    [turn] = world.downstream.published
    assert (turn.method, turn.endpoint, turn.turn, turn.upstream) == ("WS", "responses", 1, "default")
    assert world.turns == [("m", 200, "complete", 12)]
    world.client.lose()
    connection = world.downstream.published[-1]
    assert (turn.connection, connection.method) == (connection.id, "GET")
    assert connection.turn is None
    assert world.buffered.held_bytes == 0


def test_what_is_no_turn_passes():
    """Other events, events of the server's own, pings; each at once and as it came."""
    world = World(is_strict=False)
    ping, binary = sent(b"p", opcode=9), sent(b"\xff", opcode=2)
    others = [sent({"type": "response.cancel"}), binary, sent(b"no JSON \\"), ping]
    world.send(*others)
    assert world.up == b"".join(others)
    start = server_frames({"type": "session.created", "session": {"model": "s"}})
    world.far.feed(start)
    assert world.client.transport.take() == start
    assert world.turns == []


def test_fragments_are_held_and_control_frames_overtake():
    """Until the message is whole, and is judged as one."""
    world = World()
    first = sent(b'{"type":"response.cre', fin=False)
    last = sent(b'ate","model":"m"}', opcode=0)
    ping = sent(b"x", opcode=9)
    world.send(first, ping)
    assert world.up == ping
    world.send(last)
    assert world.up == first + last
    assert len(world.judge.asked) == 1


def test_a_refused_turn_is_told_and_dropped():
    """The connection stays; what the client sees is an event with status, headers and its lane."""
    world = World()
    world.judge.errors = [
        RequestLimitReached("slow down", headers=((b"retry-after", b"3"), (b"Retry-After-Ms", b"2500"))),
        None,
    ]
    refused, admitted = create(stream_id="a"), create()
    world.send(refused, admitted)
    [error] = world.down
    turn = world.downstream.published[0]
    assert error == {
        "type": "error",
        "status": 429,
        "error": {
            "message": "slow down",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        },
        "headers": {"x-request-id": turn.id, "retry-after": "3", "retry-after-ms": "2500"},
        "stream_id": "a",
    }
    assert world.up == admitted
    assert world.turns == [(None, 429, "limit", None)]


def test_who_goes_on_after_a_hundred_refusals_is_closed():
    """1008; one turn in between begins the count anew."""
    world = World()
    world.judge.errors = [ModelNotAllowed()] * MOST_REFUSALS + [None] + [ModelNotAllowed()] * 1000
    for _ in range(MOST_REFUSALS + 1):
        world.send(create())
    assert len(world.down) == MOST_REFUSALS
    world.far.feed(server_frames(created(), completed()))
    for _ in range(MOST_REFUSALS):
        world.send(create())
    assert 1008 not in world.down
    world.send(create())
    assert world.down[-1] == 1008
    assert world.far.closed


def test_an_error_of_ours_waits_for_a_place_between_messages():
    """Not inside a frame, nor between the fragments of a message."""
    world = World()
    world.judge.errors = [ModelNotAllowed()]
    first = Frame(Opcode.TEXT, b'{"type":', fin=False).serialize(mask=False)
    last = Frame(Opcode.CONT, b'"x"}', fin=True).serialize(mask=False)
    world.far.feed(first)
    world.send(create())
    assert world.client.transport.take() == first
    world.far.feed(last[:3])
    assert world.client.transport.take() == last[:3]
    following = server_frames({"type": "y"})
    world.far.feed(last[3:] + following[:5])
    data = world.client.transport.take()
    assert data.startswith(last[3:])
    assert data.endswith(following[:5])
    assert b"model_not_allowed" in data


def test_a_waiting_turn_holds_its_lane_alone():
    """Messages after it in the same lane wait too, in order; others overtake."""
    world = World()
    held = Deferred()
    world.judge.waits = [held]
    a1, a2, b1 = create(stream_id="a"), create(stream_id="a", n=2), create(stream_id="b")
    cancel = sent({"type": "response.cancel", "stream_id": "a"})
    world.send(a1, cancel, a2, b1)
    assert world.up == b1
    held.callback(None)
    assert world.up == a1 + cancel + a2


def test_while_much_waits_the_client_is_not_read():
    """Memory is bounded however eager it is."""
    world = World(is_strict=False, message_bytes=1 << 21, buffered_bytes=1 << 30)
    held = Deferred()
    world.judge.waits = [held]
    world.send(create(), sent(b" " * (1 << 20)), sent(b" " * 1000))
    assert world.client.transport.producerState == "paused"
    held.callback(None)
    assert world.client.transport.producerState == "producing"
    assert len(world.up) > 1 << 20
    world.client.lose()
    assert world.buffered.held_bytes == 0


def test_turns_are_told_apart_by_lane_and_by_id():
    """Eight at once, interleaved."""
    world = World()
    lanes = [f"lane{n}" for n in range(8)]
    world.send(*[create(model=lane, stream_id=lane) for lane in lanes])
    world.far.feed(server_frames(*[created(f"r{lane}", stream_id=lane) for lane in reversed(lanes)]))
    for n, lane in enumerate(lanes):
        usage = {"input_tokens": n, "output_tokens": 1, "total_tokens": n + 1}
        world.far.feed(server_frames(completed(f"r{lane}", usage=usage)))
    assert world.turns == [(lane, 200, "complete", n + 1) for n, lane in enumerate(lanes)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"type": "error", "status": 400, "error": {"code": "bad"}}, ("m", 400, "complete", None)),
        ({"type": "error", "error": {"code": "bad"}}, ("m", 200, "upstream_error", None)),
        (
            {"type": "response.failed", "response": {"error": {"code": "x"}}},
            ("m", 200, "upstream_error", None),
        ),
    ],
)
def test_an_error_ends_a_turn(error, expected):
    """As the answer that it would be over HTTP; nothing is charged for it."""
    world = World()
    world.send(create())
    world.far.feed(server_frames(error))
    assert world.turns == [expected]


def test_an_error_of_realtime_that_is_about_something_else_ends_no_turn():
    """It names the client's event; an answer that has begun ends with response.done."""
    world = World(endpoint="realtime")
    world.send(create(event_id="e1"), create(event_id="e2"))
    world.far.feed(server_frames(created("r1")))
    world.far.feed(server_frames({"type": "error", "error": {"code": "x", "event_id": "other"}}))
    assert world.turns == []
    world.far.feed(server_frames({"type": "error", "error": {"code": "x", "event_id": "e2"}}))
    assert world.turns == [("m", 200, "upstream_error", None)]
    world.far.feed(server_frames(completed("r1", "response.done")))
    assert world.turns[1:] == [("m", 200, "complete", 12)]


@pytest.mark.parametrize(("how", "outcome"), [("client", "client_gone"), ("upstream", "upstream_truncated")])
@pytest.mark.parametrize("begun", [True, False])
def test_a_lost_connection_settles_its_turns_by_estimate(how, outcome, begun):
    """Whether an event had come or not: the message was sent."""
    world = World()
    world.send(create(input="x" * 400))
    if begun:
        world.far.feed(server_frames(created(), {"type": "response.output_text.delta", "delta": "abcdefgh"}))
    if how == "client":
        world.client.lose(ConnectionLost())
    else:
        world.far.end(ConnectionLost())
    [turn] = [each for each in world.downstream.published if each.turn]
    assert turn.outcome.value == outcome
    assert turn.usage.estimated
    assert turn.usage.input_tokens > 50
    assert turn.usage.output_tokens == (2 if begun else 0)
    assert world.buffered.held_bytes == 0


def test_a_turn_that_waits_when_the_client_leaves_was_never_sent():
    """Nothing is charged."""
    world = World()
    world.judge.waits = [Deferred()]
    world.send(create(), create())
    world.client.lose()
    assert world.turns == [(None, None, "client_gone", None)]
    assert world.up == b""


def test_a_turn_that_the_server_begins_is_accounted():
    """By voice activity, or after a steered response; its model is the session's."""
    world = World(endpoint="realtime")
    world.far.feed(server_frames({"type": "session.created", "session": {"model": "gpt-realtime"}}))
    usage = {
        **USAGE,
        "input_token_details": {"audio_tokens": 4},
        "output_token_details": {"audio_tokens": 3},
    }
    answer = server_frames(created("r9"), completed("r9", "response.done", usage))
    world.far.feed(answer)
    assert world.turns == [("gpt-realtime", 200, "complete", 12)]
    kinds = world.downstream.published[0].usage.kinds
    assert (kinds.audio_input_tokens, kinds.audio_output_tokens) == (4, 3)
    assert world.up == b""
    assert len(world.quota.asked) == 1


def test_when_the_server_has_spent_the_budget_the_connection_is_closed():
    """1008 insufficient_quota, after the event that says what it cost."""
    world = World(endpoint="realtime")
    world.quota.errors = [BudgetSpent()]
    world.far.feed(server_frames(created("r9"), completed("r9", "response.done")))
    *events, code = world.down
    assert [event["type"] for event in events] == ["response.created", "response.done"]
    assert code == 1008
    assert world.far.closed
    assert world.client.transport.half_closed


def test_a_turn_of_the_servers_that_waits_for_its_judgement_loses_no_event():
    """The client's bytes do not wait, and all is accounted in the end."""
    world = World(endpoint="realtime")
    held = Deferred()
    world.judge.waits = [held]
    world.far.feed(server_frames(created("r9"), completed("r9", "response.done")))
    assert len(world.down) == 2
    assert world.turns == []
    held.callback(None)
    assert world.turns == [(None, 200, "complete", 12)]


def test_the_client_sees_an_answer_once_the_stages_let_it_pass():
    """A stage may note whose a response is before its client knows its id."""
    world = World()
    held = Deferred()
    judge = world.judge

    class Late:
        async def __call__(self, request, forward):
            answer = await forward(request)
            await held
            return answer

    rules = world.downstream.site.turns
    world.downstream.site.turns = TurnRules(
        compose([judge, ReadBody(1 << 20), Late()], send),
        rules.begun_above,
        rules.models,
        rules.quota,
        world.buffered,
        10_000,
    )
    world.send(create())
    answer = server_frames(created(), completed())
    world.far.feed(answer[:20])
    assert world.client.transport.take() == answer[:20]
    world.far.feed(answer[20:])
    assert world.client.transport.take() == b""
    assert world.far.paused
    held.callback(None)
    assert world.client.transport.take() == answer[20:]
    assert not world.far.paused
    assert world.turns == [("m", 200, "complete", None)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (sent(b"\xff"), 1007),
        (sent(b"x")[:1] + b"\x01x", 1002),
        (sent(b"x", opcode=2), 1003),
        (sent(b"x" * 10_001), 1009),
        (sent(b"x" * 5000) + sent(b"y" * 6000), None),
    ],
    ids=["no UTF-8", "unmasked", "binary", "too long", "two that are not"],
)
def test_what_is_not_taken_closes_the_connection(data, code):
    """With a close frame in both directions; the upstream is not left to guess."""
    world = World()
    world.send(data)
    assert world.down == ([] if code is None else [code])
    assert world.far.closed is (code is not None)
    if code is not None:
        assert world.client.transport.half_closed
        world.send(b"more that nobody wants")
        world.client.lose()
        [connection] = world.downstream.published
        assert connection.outcome.value == "rejected"
        assert world.up.startswith(b"\x88\x82")


def test_what_cannot_be_held_closes_the_connection():
    """1013: all connections together hold too much."""
    world = World(buffered_bytes=1000)
    world.send(sent(b"x" * 900))
    assert world.down == [1013]
    assert world.buffered.held_bytes == 0


def test_what_cannot_be_read_is_refused_where_a_rule_needs_it():
    """A server may be more lenient than we are."""
    world = World()
    world.send(sent(b'{"type":"response.create",}'))
    [error] = world.down
    assert error["error"]["code"] == "invalid_json"
    assert world.up == b""


def test_a_sessions_model_is_judged_where_a_rule_needs_it():
    """It will be the model of turns that name none."""
    world = World(endpoint="realtime")
    world.models.errors = [ModelNotAllowed(), None]
    update = sent({"type": "session.update", "session": {"model": "dear"}})
    world.send(update)
    [error] = world.down
    assert error["error"]["code"] == "model_not_allowed"
    assert world.up == b""
    world.send(update)
    assert world.up == update
    assert world.turns == []
    assert world.models.asked[0]["session"] == {"model": "dear"}


@pytest.mark.parametrize(
    "update",
    [
        {"type": "session.update", "session": {"Model": "dear"}},
        {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "dear"}}}}},
        {"type": "transcription_session.update", "session": {"input_audio_transcription": {"model": "dear"}}},
        b'{"type":"session.update","session":{"model":"dear"},"session":{}}',
    ],
)
def test_every_model_of_a_session_is_judged(update):
    """A session that has its input transcribed runs a second model; only `model` of the last `session` was judged."""
    world = World(endpoint="realtime")
    world.models.errors = [ModelNotAllowed()]
    world.send(sent(update))
    [error] = world.down
    assert error["error"]["code"] == "model_not_allowed"
    assert world.up == b""


def test_a_drain_closes_between_turns():
    """1012 at once if no turn is open, else as soon as none is; no new one begins."""
    idle = World()
    idle.downstream.site.drain()
    assert idle.down == [1012]
    world = World()
    world.send(create())
    world.downstream.site.drain()
    assert world.down == []
    world.send(create())
    [error] = world.down
    assert (error["status"], error["error"]["code"]) == (503, "shutting_down")
    answer = server_frames(created(), completed())
    world.far.feed(answer[:-3])
    assert world.client.transport.take() == answer[:-3]
    world.far.feed(answer[-3:])
    assert world.client.transport.take().startswith(answer[-3:] + b"\x88")
    assert [turn[2] for turn in world.turns] == ["rejected", "complete"]
    world.client.lose()
    assert world.downstream.published[-1].outcome.value == "complete"


def test_a_close_of_ours_waits_for_the_end_of_a_frame():
    """Else the client would read it as a part of what the upstream says."""
    world = World()
    message = server_frames({"type": "x"})
    world.far.feed(message[:4])
    world.downstream.site.drain()
    assert world.client.transport.take() == message[:4]
    world.far.feed(message[4:])
    assert world.client.transport.take().startswith(message[4:] + b"\x88")


def test_a_session_may_last_so_long():
    """Then it is closed between two turns, as in a drain."""
    world = World(session_s=60)
    world.downstream.advance(59)
    assert world.down == []
    world.downstream.advance(2)
    assert world.down == [1012]


def test_an_upstream_that_speaks_no_websocket():
    """It is recorded as such: none of it passes, and the close code is not a good end."""
    world = World()
    world.send(create())
    world.far.feed(b"\xff\xff\xff\xff")
    assert world.turns[0][2] == "upstream_truncated"
    assert world.down == [1011]


def test_both_ends_hold_each_other_back():
    """However slow one of them is."""
    world = World()
    world.far.producer.pauseProducing()
    assert world.client.transport.producerState == "paused"
    world.far.producer.resumeProducing()
    assert world.client.transport.producerState == "producing"
    world.client.transport.producer.pauseProducing()
    assert world.far.paused
    world.client.transport.producer.resumeProducing()
    assert not world.far.paused


def test_what_the_upstream_has_not_taken_is_counted():
    """It lies in our memory still."""
    world = World()
    world.far.producer.pauseProducing()
    world.send(sent(b"x" * 5000))
    assert world.buffered.held_bytes > 5000
    world.far.producer.resumeProducing()
    assert world.buffered.held_bytes == 0


def test_a_burst_of_tiny_frames_lets_others_have_their_turn():
    """Frame by frame in later turns of the reactor; all of them in order."""
    world = World()
    frames = [sent(b"", opcode=9) for _ in range(1200)]
    world.send(*frames)
    assert len(world.up) < len(b"".join(frames))
    assert world.client.transport.producerState == "paused"
    world.downstream.clock.advance(0)
    world.downstream.clock.advance(0)
    assert world.client.transport.producerState == "producing"


def test_a_message_in_tiny_fragments_lets_others_have_their_turn():
    """It is read on in later turns of the reactor, and passes whole."""
    world = World()
    text = json.dumps({"type": "response.create", "model": "m", "input": "x" * 5000}).encode()
    pieces = [bytes([letter]) for letter in text]
    last = len(pieces) - 1
    frames = [sent(each, fin=n == last, opcode=0 if n else 1) for n, each in enumerate(pieces)]
    world.send(*frames)
    assert (world.up, world.client.transport.producerState) == (b"", "paused")
    world.downstream.clock.pump([0, 0, 0])
    assert world.up == b"".join(frames)
    assert world.client.transport.producerState == "producing"


def test_a_clean_end():
    """Close frames pass as they come; the record is complete."""
    world = World()
    close = sent(b"\x03\xe8", opcode=8)
    world.send(close)
    assert world.up == close
    world.far.feed(b"\x88\x02\x03\xe8")
    assert world.down == [1000]
    world.far.end(ConnectionDone())
    world.client.lose()
    assert world.downstream.outcomes == ["complete"]


@pytest.mark.parametrize("cut", [None, 0])
def test_an_upstream_that_breaks_its_frames_is_told_with_a_code(cut):
    """What came whole before passes and counts; then the client learns why: 1011, not a connection that is just gone."""
    world = World()
    world.send(create(), create())
    good, bad = (
        server_frames(created(), completed(), created("r2")),
        Frame(Opcode.TEXT, b"{}").serialize(mask=True),
    )
    data = good + bad
    for piece in (data,) if cut is None else (good, bad):
        world.far.feed(piece)
    assert world.down == [created(), completed(), created("r2"), 1011]
    assert world.turns == [("m", 200, "complete", 12), ("m", 200, "upstream_truncated", 4)]
    world.client.lose()
    assert world.downstream.published[-1].outcome.value == "upstream_error"
    assert world.buffered.held_bytes == 0


def test_where_a_broken_frame_is_with_the_client_nothing_is_said_inside_it():
    """The connection is cut: a close frame there would be a part of that frame."""
    world = World()
    world.send(create())
    long = Frame(Opcode.TEXT, b"\xff" * 300).serialize(mask=False)
    world.far.feed(server_frames(created()) + long[:2])
    world.far.feed(long[2:])
    assert world.client.transport.take() == server_frames(created()) + long[:2]
    world.downstream.advance(1)
    assert world.client.ended == "aborted"
    assert [outcome for _, _, outcome, _ in world.turns] == ["upstream_truncated"]


def test_a_refusal_names_the_clients_event():
    """As Realtime's errors do, so that its client knows which of several messages it is about."""
    world = World("realtime")
    world.judge.errors = [BudgetSpent()]
    world.send(create(event_id="event_7"))
    [refused] = world.down
    assert refused["error"]["event_id"] == "event_7"
    assert refused["error"]["code"] == "insufficient_quota"
    world.models.errors = [ModelNotAllowed()]
    world.send(sent({"type": "session.update", "event_id": "event_8", "session": {"model": "x"}}))
    [refused] = world.down
    assert refused["error"]["event_id"] == "event_8"
