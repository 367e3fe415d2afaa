"""What the messages of the API's WebSockets say."""

import json

import pytest

from openai_proxy.exchange.access_errors import ModelNotAllowed
from openai_proxy.exchange.errors import InvalidJSON
from openai_proxy.wire.websocket_events import (
    NOTHING_ASKED,
    is_sound,
    may_matter,
    maybe_server_event,
    parameters,
    read_client_event,
    refusal,
    stream_id_of,
)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        (b'{"type":"response.create"}', True),
        (b'{"type":"response.create","type":"response.cancel"}', True),
        (b'{"type":"x","type":"response.create"}', True),
        (b'{"Type":"response.create"}', True),
        (b'{"t\\u0079pe":"response\\u002ecreate"}', True),
        (b'\xef\xbb\xbf {"type":"response.create"}', True),
        (b'{"a":NaN,"type":"response.create"}', True),
        (b'{"type":"response.cancel"}', False),
        (b'{"type":["response.create"]}', False),
        (b'{"item":{"type":"response.create"}}', False),
        (b"{}", False),
    ],
)
def test_what_begins_a_turn(text, begins):
    """Any of several `type` members counts: servers differ in which they take."""
    assert may_matter(text) or not begins
    assert read_client_event(text).begins_turn is begins


def test_most_messages_need_not_be_read():
    """Audio, above all."""
    assert not may_matter(b'{"type":"input_audio_buffer.append","audio":"AAAA/+=="}')


@pytest.mark.parametrize("text", [b"", b"hello", b"[]", b'{"type":"response.create"', b"[" * 1000])
def test_what_is_no_object_is_refused(text):
    """As the body of a request would be."""
    with pytest.raises(InvalidJSON):
        read_client_event(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('{"type":"response.create","model":"a","input":"x"}', [("model", "a"), ("input", "x")]),
        ('{"type":"response.create","input":"x"}', [("input", "x"), ("model", "last")]),
        ('{"type":"response.create","response":{"model":"b","tools":[]}}', [("model", "b"), ("tools", [])]),
        (
            '{"response":{"model":"b"},"model":"a","Response":{"model":"c"},"type":"response.create"}',
            [("model", "b"), ("model", "a"), ("model", "c")],
        ),
        ('{"type":"response.create","response":{}}', [("model", "last")]),
        ('{"type":"response.create","response":7}', [("response", 7), ("model", "last")]),
    ],
)
def test_the_parameters_of_a_turn(text, asked):
    """Of both shapes, each member that is given more than once, and the session's model if none is named."""
    found = parameters(read_client_event(text.encode()), "last")
    members = json.loads(found, object_pairs_hook=list)
    assert [pair for pair in map(tuple, members) if pair[0] != "type"] == asked


def test_a_flat_turn_is_its_own_parameters():
    """Byte for byte: the exchange log shows what was sent."""
    text = b' {"type": "response.create" , "model":"a"}'
    assert parameters(read_client_event(text), "b") == text
    assert parameters(read_client_event(b'{"type":"response.create"}'), None) == b'{"type":"response.create"}'
    assert parameters(NOTHING_ASKED, 'a"b') == b'{"model":"a\\"b"}'


def test_lanes_and_sessions():
    """`stream_id` as sent, and as the server will say it."""
    event = read_client_event(b'{"type":"response.create","stream_id":"a\\u0062","event_id":"e1"}')
    assert (event.stream_id, stream_id_of(event), event.event_id) == (b'"a\\u0062"', "ab", "e1")
    assert stream_id_of(read_client_event(b'{"stream_id":null}')) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"type":"session.update","session":{"model":"m"}}', True),
        (b'{"type":"session.update","session":{"Model":"m"}}', True),
        (b'{"type":"session.update","session":{"m\\u006fdel":"m"}}', True),
        (b'{"type":"session.update","session":{"audio":{"input":{"transcription":{}}}}}', True),
        (b'{"type":"transcription_session.update","session":{"input_audio_transcription":{}}}', True),
        (b'{"type":"session.update","type":"x","session":{"model":"m"}}', True),
        (b'{"type":"session.update","session":{"voice":"ash"}}', False),
        (b'{"type":"x","session":{"model":"m"}}', False),
        (b'{"type":["session.update"],"session":{"model":"m"}}', False),
    ],
)
def test_an_update_of_the_session_may_name_a_model(text, expected):
    """Wherever in it and however spelled; what it names is for the rules to say."""
    event = read_client_event(text)
    assert (event.updates_session, event.begins_turn) == (expected, False)


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ({"type": "response.created", "response": {"id": "r"}}, {"response_id": "r", "ends_turn": False}),
        ({"type": "response.done", "response": {"id": "r"}}, {"response_id": "r", "ends_turn": True}),
        ({"type": "response.completed", "stream_id": "s"}, {"stream_id": "s", "ends_turn": True}),
        ({"type": "response.text.delta", "response_id": "r"}, {"response_id": "r"}),
        ({"type": "session.updated", "session": {"model": "m"}}, {"model": "m"}),
        ({"type": "conversation.item.created", "session": {"model": "m"}}, {"model": None}),
        ({"type": "error", "status": 429, "error": {"event_id": "e"}}, {"status": 429, "event_id": "e"}),
        ({"type": "error", "status": 200}, {"status": None}),
        ({"type": "error", "status": True}, {"status": None}),
        ({"type": "x", "stream_id": 7, "response": [], "session": 1, "error": "e"}, {"stream_id": None}),
    ],
)
def test_a_servers_events(event, fields):
    """What distinguishes turns."""
    found = maybe_server_event(json.dumps(event).encode())
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"type":1}', b"\xff", b"{" * 3000])
def test_what_is_no_event(text):
    """Passes unread."""
    assert maybe_server_event(text) is None


def test_sound_is_distinguished_from_text():
    """What a model says aloud is no text to be counted by its bytes."""
    assert is_sound(b'{"type":"response.output_audio.delta","delta":"AAAA"}')
    assert not is_sound(b'{"type":"response.output_audio_transcript.delta","delta":"hi"}')


def test_a_refusal_has_all_that_an_answer_would():
    """Status, the four members of the error, headers, and the lane as the client named it."""
    error = ModelNotAllowed("no", param="model")
    text = refusal(error.body(), error.status, {"retry-after": "3"}, b'"a\\u0062"')
    assert json.loads(text) == {
        "type": "error",
        "status": 403,
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_allowed",
        },
        "headers": {"retry-after": "3"},
        "stream_id": "ab",
    }
    assert b"stream_id" not in refusal(error.body(), 403, {}, None)
    for event_id in ("event_1", 'a"\\', "\ud800"):
        document = json.loads(refusal(error.body(), 403, {}, None, event_id))
        assert document["error"] == {**json.loads(error.body())["error"], "event_id": event_id}
    assert b"stream_id" not in refusal(error.body(), 403, {}, b'"%b"' % (b"x" * 2000))
