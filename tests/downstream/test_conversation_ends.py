"""How a WebSocket whose turns are read ends: after a breach of its rules, at a drain, when it is old, by itself."""

import pytest
from downstream.conversation import Conversation, completed, create, created, sent, server_frames
from twisted.internet.error import ConnectionDone
from websockets.frames import Frame, Opcode


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
    conversation = Conversation()
    conversation.send(data)
    assert conversation.down == ([] if code is None else [code])
    assert conversation.far.closed is (code is not None)
    if code is not None:
        assert conversation.client.transport.half_closed
        conversation.send(b"more that nobody wants")
        conversation.client.lose()
        [connection] = conversation.downstream.published
        assert connection.outcome.value == "rejected"
        assert conversation.up.startswith(b"\x88\x82")


def test_what_cannot_be_held_closes_the_connection():
    """1013: all connections together hold too much."""
    conversation = Conversation(buffered_bytes=1000)
    conversation.send(sent(b"x" * 900))
    assert conversation.down == [1013]
    assert conversation.buffered.held_bytes == 0


def test_a_drain_closes_between_turns():
    """1012 at once if no turn is open, else as soon as none is; no new one begins."""
    idle = Conversation()
    idle.downstream.site.drain()
    assert idle.down == [1012]
    conversation = Conversation()
    conversation.send(create())
    conversation.downstream.site.drain()
    assert conversation.down == []
    conversation.send(create())
    [error] = conversation.down
    assert (error["status"], error["error"]["code"]) == (503, "shutting_down")
    answer = server_frames(created(), completed())
    conversation.far.feed(answer[:-3])
    assert conversation.client.transport.take() == answer[:-3]
    conversation.far.feed(answer[-3:])
    assert conversation.client.transport.take().startswith(answer[-3:] + b"\x88")
    assert [turn[2] for turn in conversation.turns] == ["rejected", "complete"]
    conversation.client.lose()
    assert conversation.downstream.published[-1].outcome.value == "complete"


def test_a_close_of_ours_waits_for_the_end_of_a_frame():
    """Else the client would read it as a part of what the upstream says."""
    conversation = Conversation()
    message = server_frames({"type": "x"})
    conversation.far.feed(message[:4])
    conversation.downstream.site.drain()
    assert conversation.client.transport.take() == message[:4]
    conversation.far.feed(message[4:])
    assert conversation.client.transport.take().startswith(message[4:] + b"\x88")


def test_a_session_may_last_so_long():
    """Then it is closed between two turns, as in a drain."""
    conversation = Conversation(session_s=60)
    conversation.downstream.advance(59)
    assert conversation.down == []
    conversation.downstream.advance(2)
    assert conversation.down == [1012]


def test_an_upstream_that_speaks_no_websocket():
    """It is recorded as such: none of it passes, and the close code is not a good end."""
    conversation = Conversation()
    conversation.send(create())
    conversation.far.feed(b"\xff\xff\xff\xff")
    assert conversation.turns[0][2] == "upstream_truncated"
    assert conversation.down == [1011]


def test_a_clean_end():
    """Close frames pass as they come; the record is complete."""
    conversation = Conversation()
    close = sent(b"\x03\xe8", opcode=8)
    conversation.send(close)
    assert conversation.up == close
    conversation.far.feed(b"\x88\x02\x03\xe8")
    assert conversation.down == [1000]
    conversation.far.end(ConnectionDone())
    conversation.client.lose()
    assert conversation.downstream.outcomes == ["complete"]


@pytest.mark.parametrize("cut", [None, 0])
def test_an_upstream_that_breaks_its_frames_is_told_with_a_code(cut):
    """What came whole before passes and counts; then the client learns why: 1011, not a connection that is just gone."""
    conversation = Conversation()
    conversation.send(create(), create())
    good, bad = (
        server_frames(created(), completed(), created("r2")),
        Frame(Opcode.TEXT, b"{}").serialize(mask=True),
    )
    data = good + bad
    for piece in (data,) if cut is None else (good, bad):
        conversation.far.feed(piece)
    assert conversation.down == [created(), completed(), created("r2"), 1011]
    assert conversation.turns == [("m", 200, "complete", 12), ("m", 200, "upstream_truncated", 4)]
    conversation.client.lose()
    assert conversation.downstream.published[-1].outcome.value == "upstream_error"
    assert conversation.buffered.held_bytes == 0


def test_where_a_broken_frame_is_with_the_client_nothing_is_said_inside_it():
    """The connection is cut: a close frame there would be a part of that frame."""
    conversation = Conversation()
    conversation.send(create())
    long = Frame(Opcode.TEXT, b"\xff" * 300).serialize(mask=False)
    conversation.far.feed(server_frames(created()) + long[:2])
    conversation.far.feed(long[2:])
    assert conversation.client.transport.take() == server_frames(created()) + long[:2]
    conversation.downstream.advance(1)
    assert conversation.client.ended == "aborted"
    assert [outcome for _, _, outcome, _ in conversation.turns] == ["upstream_truncated"]
