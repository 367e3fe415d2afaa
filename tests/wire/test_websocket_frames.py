"""Where the frames of a WebSocket end."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from openai_proxy.wire.websocket_frames import POLICY_VIOLATION, FrameEnds, close_frame

SIZES = st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536])


@st.composite
def frames(draw):
    made = []
    for size in draw(st.lists(SIZES, min_size=1, max_size=4)):
        frame = Frame(draw(st.sampled_from([Opcode.TEXT, Opcode.CONT, Opcode.BINARY])), b"\x81" * size)
        made.append(frame.serialize(mask=draw(st.booleans())))
    return made


@given(frames(), st.data())
def test_ends_are_found_however_the_bytes_are_cut(made, data):
    """At the end of each frame, and nowhere else."""
    whole = b"".join(made)
    ends, position = set(), 0
    for frame in made:
        position += len(frame)
        ends.add(position)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
    cuts += [end + step for end in ends for step in (-1, 1) if 0 < end + step < len(whole)]
    follow, at = FrameEnds(), 0
    for cut in [*sorted({*cuts, *ends}), len(whole)]:
        follow.feed(whole[at:cut])
        at = cut
        assert follow.at_end == (at in ends or at == 0)


@given(frames(), st.data())
def test_one_frame_is_taken_at_a_time(made, data):
    """What follows the frame that has begun, or the next one, is left."""
    whole = b"".join(made)
    cut = data.draw(st.integers(0, len(whole) - 1))
    ends = [len(b"".join(made[: n + 1])) for n in range(len(made))]
    follow = FrameEnds()
    follow.feed(whole[:cut])
    assert cut + follow.feed_one(whole[cut:]) == next(end for end in ends if end > cut)
    assert follow.at_end


def test_close_frame_is_read_by_others():
    """The status and the reason."""
    frame = close_frame(POLICY_VIOLATION, b"cancelled")
    assert frame[0] == 0x88
    assert frame[1] == len(frame) - 2
    assert Close.parse(frame[2:]) == Close(1008, "cancelled")
