"""Turns of a WebSocket as exchanges, between two ends in memory."""

import json

import pytest
from downstream.conversation import (
    USAGE,
    Conversation,
    completed,
    create,
    created,
    send,
    sent,
    server_frames,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from websockets.frames import Frame, Opcode

from openai_proxy.downstream.contract import TurnRules
from openai_proxy.downstream.conversation import MOST_REFUSALS
from openai_proxy.exchange.access_errors import ModelNotAllowed
from openai_proxy.exchange.errors import BudgetSpent, RequestLimitReached
from openai_proxy.policies.bodies.read_body import ReadBody
from openai_proxy.policies.chains import compose


def test_a_turn_is_an_exchange():
    """With an id, a number and the connection's id; its bytes pass as they came."""
    conversation = Conversation()
    message = create(input="hi")
    conversation.send(message)
    assert conversation.up == message
    assert conversation.judge.asked == [{"type": "response.create", "model": "m", "input": "hi"}]
    delta = {"type": "response.output_text.delta", "delta": "hello"}
    answer = server_frames(created(), delta, completed())
    conversation.far.feed(answer)
    assert conversation.client.transport.take() == answer
    [turn] = conversation.downstream.published
    assert (turn.method, turn.endpoint, turn.turn, turn.upstream) == ("WS", "responses", 1, "default")
    assert conversation.turns == [("m", 200, "complete", 12)]
    conversation.client.lose()
    connection = conversation.downstream.published[-1]
    assert (turn.connection, connection.method) == (connection.id, "GET")
    assert connection.turn is None
    assert conversation.buffered.held_bytes == 0


def test_what_is_no_turn_passes():
    """Other events, events of the server's own, pings; each at once and as it came."""
    conversation = Conversation(is_strict=False)
    ping, binary = sent(b"p", opcode=9), sent(b"\xff", opcode=2)
    others = [sent({"type": "response.cancel"}), binary, sent(b"no JSON \\"), ping]
    conversation.send(*others)
    assert conversation.up == b"".join(others)
    start = server_frames({"type": "session.created", "session": {"model": "s"}})
    conversation.far.feed(start)
    assert conversation.client.transport.take() == start
    assert conversation.turns == []


def test_fragments_are_held_and_control_frames_overtake():
    """Until the message is whole, and is judged as one."""
    conversation = Conversation()
    first = sent(b'{"type":"response.cre', fin=False)
    last = sent(b'ate","model":"m"}', opcode=0)
    ping = sent(b"x", opcode=9)
    conversation.send(first, ping)
    assert conversation.up == ping
    conversation.send(last)
    assert conversation.up == first + last
    assert len(conversation.judge.asked) == 1


def test_a_refused_turn_is_told_and_dropped():
    """The connection stays; what the client sees is an event with status, headers and its lane."""
    conversation = Conversation()
    conversation.judge.errors = [
        RequestLimitReached("slow down", headers=((b"retry-after", b"3"), (b"Retry-After-Ms", b"2500"))),
        None,
    ]
    refused, admitted = create(stream_id="a"), create()
    conversation.send(refused, admitted)
    [error] = conversation.down
    turn = conversation.downstream.published[0]
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
    assert conversation.up == admitted
    assert conversation.turns == [(None, 429, "limit", None)]


def test_who_goes_on_after_a_hundred_refusals_is_closed():
    """1008; one turn in between begins the count anew."""
    conversation = Conversation()
    conversation.judge.errors = [ModelNotAllowed()] * MOST_REFUSALS + [None] + [ModelNotAllowed()] * 1000
    for _ in range(MOST_REFUSALS + 1):
        conversation.send(create())
    assert len(conversation.down) == MOST_REFUSALS
    conversation.far.feed(server_frames(created(), completed()))
    for _ in range(MOST_REFUSALS):
        conversation.send(create())
    assert 1008 not in conversation.down
    conversation.send(create())
    assert conversation.down[-1] == 1008
    assert conversation.far.closed


def test_an_error_of_ours_waits_for_a_place_between_messages():
    """Not inside a frame, nor between the fragments of a message."""
    conversation = Conversation()
    conversation.judge.errors = [ModelNotAllowed()]
    first = Frame(Opcode.TEXT, b'{"type":', fin=False).serialize(mask=False)
    last = Frame(Opcode.CONT, b'"x"}', fin=True).serialize(mask=False)
    conversation.far.feed(first)
    conversation.send(create())
    assert conversation.client.transport.take() == first
    conversation.far.feed(last[:3])
    assert conversation.client.transport.take() == last[:3]
    following = server_frames({"type": "y"})
    conversation.far.feed(last[3:] + following[:5])
    data = conversation.client.transport.take()
    assert data.startswith(last[3:])
    assert data.endswith(following[:5])
    assert b"model_not_allowed" in data


def test_a_waiting_turn_holds_its_lane_alone():
    """Messages after it in the same lane wait too, in order; others overtake."""
    conversation = Conversation()
    held = Deferred()
    conversation.judge.waits = [held]
    a1, a2, b1 = create(stream_id="a"), create(stream_id="a", n=2), create(stream_id="b")
    cancel = sent({"type": "response.cancel", "stream_id": "a"})
    conversation.send(a1, cancel, a2, b1)
    assert conversation.up == b1
    held.callback(None)
    assert conversation.up == a1 + cancel + a2


def test_while_much_waits_the_client_is_not_read():
    """Memory is bounded however eager it is."""
    conversation = Conversation(is_strict=False, message_bytes=1 << 21, buffered_bytes=1 << 30)
    held = Deferred()
    conversation.judge.waits = [held]
    conversation.send(create(), sent(b" " * (1 << 20)), sent(b" " * 1000))
    assert conversation.client.transport.producerState == "paused"
    held.callback(None)
    assert conversation.client.transport.producerState == "producing"
    assert len(conversation.up) > 1 << 20
    conversation.client.lose()
    assert conversation.buffered.held_bytes == 0


def test_turns_are_told_apart_by_lane_and_by_id():
    """Eight at once, interleaved."""
    conversation = Conversation()
    lanes = [f"lane{n}" for n in range(8)]
    conversation.send(*[create(model=lane, stream_id=lane) for lane in lanes])
    conversation.far.feed(server_frames(*[created(f"r{lane}", stream_id=lane) for lane in reversed(lanes)]))
    for n, lane in enumerate(lanes):
        usage = {"input_tokens": n, "output_tokens": 1, "total_tokens": n + 1}
        conversation.far.feed(server_frames(completed(f"r{lane}", usage=usage)))
    assert conversation.turns == [(lane, 200, "complete", n + 1) for n, lane in enumerate(lanes)]


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
    conversation = Conversation()
    conversation.send(create())
    conversation.far.feed(server_frames(error))
    assert conversation.turns == [expected]


def test_an_error_of_realtime_that_is_about_something_else_ends_no_turn():
    """It names the client's event; an answer that has begun ends with response.done."""
    conversation = Conversation(endpoint="realtime")
    conversation.send(create(event_id="e1"), create(event_id="e2"))
    conversation.far.feed(server_frames(created("r1")))
    conversation.far.feed(server_frames({"type": "error", "error": {"code": "x", "event_id": "other"}}))
    assert conversation.turns == []
    conversation.far.feed(server_frames({"type": "error", "error": {"code": "x", "event_id": "e2"}}))
    assert conversation.turns == [("m", 200, "upstream_error", None)]
    conversation.far.feed(server_frames(completed("r1", "response.done")))
    assert conversation.turns[1:] == [("m", 200, "complete", 12)]


@pytest.mark.parametrize(("how", "outcome"), [("client", "client_gone"), ("upstream", "upstream_truncated")])
@pytest.mark.parametrize("begun", [True, False])
def test_a_lost_connection_settles_its_turns_by_estimate(how, outcome, begun):
    """Whether an event had come or not: the message was sent."""
    conversation = Conversation()
    conversation.send(create(input="x" * 400))
    if begun:
        conversation.far.feed(
            server_frames(created(), {"type": "response.output_text.delta", "delta": "abcdefgh"})
        )
    if how == "client":
        conversation.client.lose(ConnectionLost())
    else:
        conversation.far.end(ConnectionLost())
    [turn] = [each for each in conversation.downstream.published if each.turn]
    assert turn.outcome.value == outcome
    assert turn.usage.estimated
    assert turn.usage.input_tokens > 50
    assert turn.usage.output_tokens == (2 if begun else 0)
    assert conversation.buffered.held_bytes == 0


def test_a_turn_that_waits_when_the_client_leaves_was_never_sent():
    """Nothing is charged."""
    conversation = Conversation()
    conversation.judge.waits = [Deferred()]
    conversation.send(create(), create())
    conversation.client.lose()
    assert conversation.turns == [(None, None, "client_gone", None)]
    assert conversation.up == b""


def test_a_turn_that_the_server_begins_is_accounted():
    """By voice activity, or after a steered response; its model is the session's."""
    conversation = Conversation(endpoint="realtime")
    conversation.far.feed(server_frames({"type": "session.created", "session": {"model": "gpt-realtime"}}))
    usage = {
        **USAGE,
        "input_token_details": {"audio_tokens": 4},
        "output_token_details": {"audio_tokens": 3},
    }
    answer = server_frames(created("r9"), completed("r9", "response.done", usage))
    conversation.far.feed(answer)
    assert conversation.turns == [("gpt-realtime", 200, "complete", 12)]
    kinds = conversation.downstream.published[0].usage.kinds
    assert (kinds.audio_input_tokens, kinds.audio_output_tokens) == (4, 3)
    assert conversation.up == b""
    assert len(conversation.quota.asked) == 1


def test_when_the_server_has_spent_the_budget_the_connection_is_closed():
    """1008 insufficient_quota, after the event that says what it cost."""
    conversation = Conversation(endpoint="realtime")
    conversation.quota.errors = [BudgetSpent()]
    conversation.far.feed(server_frames(created("r9"), completed("r9", "response.done")))
    *events, code = conversation.down
    assert [event["type"] for event in events] == ["response.created", "response.done"]
    assert code == 1008
    assert conversation.far.closed
    assert conversation.client.transport.half_closed


def test_a_turn_of_the_servers_that_waits_for_its_judgement_loses_no_event():
    """The client's bytes do not wait, and all is accounted in the end."""
    conversation = Conversation(endpoint="realtime")
    held = Deferred()
    conversation.judge.waits = [held]
    conversation.far.feed(server_frames(created("r9"), completed("r9", "response.done")))
    assert len(conversation.down) == 2
    assert conversation.turns == []
    held.callback(None)
    assert conversation.turns == [(None, 200, "complete", 12)]


def test_the_client_sees_an_answer_once_the_stages_let_it_pass():
    """A stage may note whose a response is before its client knows its id."""
    conversation = Conversation()
    held = Deferred()
    judge = conversation.judge

    class Late:
        async def __call__(self, request, forward):
            answer = await forward(request)
            await held
            return answer

    rules = conversation.downstream.site.turns
    conversation.downstream.site.turns = TurnRules(
        compose([judge, ReadBody(1 << 20), Late()], send),
        rules.begun_above,
        rules.models,
        rules.quota,
        conversation.buffered,
        10_000,
    )
    conversation.send(create())
    answer = server_frames(created(), completed())
    conversation.far.feed(answer[:20])
    assert conversation.client.transport.take() == answer[:20]
    conversation.far.feed(answer[20:])
    assert conversation.client.transport.take() == b""
    assert conversation.far.paused
    held.callback(None)
    assert conversation.client.transport.take() == answer[20:]
    assert not conversation.far.paused
    assert conversation.turns == [("m", 200, "complete", None)]


def test_what_cannot_be_read_is_refused_where_a_rule_needs_it():
    """A server may be more lenient than we are."""
    conversation = Conversation()
    conversation.send(sent(b'{"type":"response.create",}'))
    [error] = conversation.down
    assert error["error"]["code"] == "invalid_json"
    assert conversation.up == b""


def test_a_sessions_model_is_judged_where_a_rule_needs_it():
    """It will be the model of turns that name none."""
    conversation = Conversation(endpoint="realtime")
    conversation.models.errors = [ModelNotAllowed(), None]
    update = sent({"type": "session.update", "session": {"model": "dear"}})
    conversation.send(update)
    [error] = conversation.down
    assert error["error"]["code"] == "model_not_allowed"
    assert conversation.up == b""
    conversation.send(update)
    assert conversation.up == update
    assert conversation.turns == []
    assert conversation.models.asked[0]["session"] == {"model": "dear"}


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
    conversation = Conversation(endpoint="realtime")
    conversation.models.errors = [ModelNotAllowed()]
    conversation.send(sent(update))
    [error] = conversation.down
    assert error["error"]["code"] == "model_not_allowed"
    assert conversation.up == b""


def test_both_ends_hold_each_other_back():
    """However slow one of them is."""
    conversation = Conversation()
    conversation.far.producer.pauseProducing()
    assert conversation.client.transport.producerState == "paused"
    conversation.far.producer.resumeProducing()
    assert conversation.client.transport.producerState == "producing"
    conversation.client.transport.producer.pauseProducing()
    assert conversation.far.paused
    conversation.client.transport.producer.resumeProducing()
    assert not conversation.far.paused


def test_what_the_upstream_has_not_taken_is_counted():
    """It lies in our memory still."""
    conversation = Conversation()
    conversation.far.producer.pauseProducing()
    conversation.send(sent(b"x" * 5000))
    assert conversation.buffered.held_bytes > 5000
    conversation.far.producer.resumeProducing()
    assert conversation.buffered.held_bytes == 0


def test_a_burst_of_tiny_frames_lets_others_have_their_turn():
    """Frame by frame in later turns of the reactor; all of them in order."""
    conversation = Conversation()
    frames = [sent(b"", opcode=9) for _ in range(1200)]
    conversation.send(*frames)
    assert len(conversation.up) < len(b"".join(frames))
    assert conversation.client.transport.producerState == "paused"
    conversation.downstream.clock.advance(0)
    conversation.downstream.clock.advance(0)
    assert conversation.client.transport.producerState == "producing"


def test_a_message_in_tiny_fragments_lets_others_have_their_turn():
    """It is read on in later turns of the reactor, and passes whole."""
    conversation = Conversation()
    text = json.dumps({"type": "response.create", "model": "m", "input": "x" * 5000}).encode()
    pieces = [bytes([letter]) for letter in text]
    last = len(pieces) - 1
    frames = [sent(each, fin=n == last, opcode=0 if n else 1) for n, each in enumerate(pieces)]
    conversation.send(*frames)
    assert (conversation.up, conversation.client.transport.producerState) == (b"", "paused")
    conversation.downstream.clock.pump([0, 0, 0])
    assert conversation.up == b"".join(frames)
    assert conversation.client.transport.producerState == "producing"


def test_a_refusal_names_the_clients_event():
    """As Realtime's errors do, so that its client knows which of several messages it is about."""
    conversation = Conversation("realtime")
    conversation.judge.errors = [BudgetSpent()]
    conversation.send(create(event_id="event_7"))
    [refused] = conversation.down
    assert refused["error"]["event_id"] == "event_7"
    assert refused["error"]["code"] == "insufficient_quota"
    conversation.models.errors = [ModelNotAllowed()]
    conversation.send(sent({"type": "session.update", "event_id": "event_8", "session": {"model": "x"}}))
    [refused] = conversation.down
    assert refused["error"]["event_id"] == "event_8"
