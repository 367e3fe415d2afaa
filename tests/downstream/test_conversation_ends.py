"""How a WebSocket whose turns are read ends: after a breach of its rules, at a drain, when it is old, by itself."""

import pytest
from downstream.conversation_world import World, completed, create, created, sent, server_frames
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
