"""Frames are separated however the reads divide them, and pass unchanged."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import FrameProtocol

from openai_proxy.wire.websocket_messages import (
    PART,
    BrokenFrames,
    ClientMessages,
    ServerMessages,
    close_frame,
    text_frame,
)

LIMIT = 64 * 1024


def frame(opcode, data, masked, fin=True):
    """Return a frame as another library writes it."""
    return Frame(Opcode(opcode), data, fin).serialize(mask=masked)


def split(data, cuts):
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(marks)]


def read(messages, data, cuts=()):
    """Return everything that is whole in `data`."""
    found = []
    for piece in split(data, cuts):
        messages.feed(piece)
        while (whole := messages.next()) is not None:
            found += [] if whole is PART else [whole]
    return found


CONTROL = st.tuples(st.sampled_from([0x9, 0xA]), st.binary(max_size=125))
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([0x1, 0x2]),
        st.lists(st.text(max_size=300), min_size=1, max_size=5),
        st.lists(CONTROL, max_size=3),
    ),
    max_size=5,
)


def rendered(messages, masked):
    """Return bytes of messages, in fragments with control frames between them; and what a reader must find."""
    sent, found = [], []
    for opcode, texts, controls in messages:
        own = []
        for index, text in enumerate(texts):
            last = index == len(texts) - 1
            own.append(frame(0 if index else opcode, text.encode(), masked, fin=last))
            sent.append(own[-1])
            if not last and controls:
                kind, data = controls.pop()
                sent.append(frame(kind, data, masked))
                found.append((kind, sent[-1], b""))
        text = "".join(texts).encode() if opcode == 1 else b""
        found.append((opcode, b"".join(own), text))
        for kind, data in controls:
            sent.append(frame(kind, data, masked))
            found.append((kind, sent[-1], b""))
    return b"".join(sent), found


@given(MESSAGES, st.lists(st.integers(0, 5000), max_size=30))
def test_a_clients_messages_are_whole_and_as_they_came(messages, cuts):
    """Mask and fragments included; control frames overtake what is not whole."""
    data, expected = rendered(messages, masked=True)
    found = read(ClientMessages(LIMIT), data, cuts)
    assert [(each.opcode, each.raw, each.data) for each in found] == expected


@given(MESSAGES, st.lists(st.integers(0, 5000), max_size=30))
def test_a_servers_messages_are_read_along(messages, cuts):
    """Every text, and each place where a message of ours could stand."""
    data, expected = rendered(messages, masked=False)
    server, texts, ends, base = ServerMessages(LIMIT), [], [], 0
    for piece in split(data, cuts):
        for end, text in server.read(piece):
            ends.append(base + end)
            texts += [] if text is None else [text]
        base += len(piece)
    assert texts == [text for opcode, _, text in expected if opcode == 1]
    assert server.is_between_messages
    for end in ends:
        other = FrameProtocol(client=True, extensions=[])
        other.receive_bytes(data[:end])
        frames = list(other.received_frames())
        data_frames = [each for each in frames if each.opcode <= 2]
        assert not data_frames or data_frames[-1].message_finished


PLAIN = frame(1, b"hello", masked=True)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(1, b"x", masked=False), 1002),
        (b"\xc1\x80\x00\x00\x00\x00", 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (b"\x8b\x80\x00\x00\x00\x00", 1002),
        (b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126), 1002),
        (b"\x09\x80\x00\x00\x00\x00", 1002),
        (frame(0, b"x", masked=True), 1002),
        (frame(1, b"x", masked=True, fin=False) + PLAIN, 1002),
        (frame(1, b"\xff", masked=True), 1007),
        (frame(1, b"\xc3", masked=True), 1007),
        (frame(1, b"\xed\xa0\x80", masked=True), 1007),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
        (frame(1, b"x" * (LIMIT + 1), masked=True), 1009),
        (frame(2, b"x" * (LIMIT + 1), masked=True), 1009),
    ],
    ids=[
        "unmasked",
        "reserved bit",
        "reserved opcode",
        "reserved control opcode",
        "long control frame",
        "control frame in fragments",
        "continuation of nothing",
        "message in a message",
        "no UTF-8",
        "half a character",
        "surrogate",
        "HTTP",
        "long text",
        "long binary",
    ],
)
@pytest.mark.parametrize("step", [1 << 30, 7])
def test_what_is_no_websocket_closes_it(data, code, step):
    """With the code of RFC 6455 §7.4.1; whole messages before that have been returned."""
    messages = ClientMessages(LIMIT)
    assert [each.data for each in read(messages, PLAIN)] == [b"hello"]
    with pytest.raises(BrokenFrames) as broken:
        read(messages, data, range(0, len(data), step))
    assert broken.value.code == code


@pytest.mark.parametrize("step", [1 << 30, 7])
def test_empty_fragments_without_end_close_it(step):
    """They add no byte to a message, but each is held."""
    messages = ClientMessages(2000)
    data = b"\x01\x80\x00\x00\x00\x00" + b"\x00\x80\x00\x00\x00\x00" * 6000
    with pytest.raises(BrokenFrames) as broken:
        read(messages, data, range(0, len(data), step))
    assert broken.value.code == 1009


def test_a_message_in_frames_of_one_byte_stays_within_its_bound():
    """As large as a message may be, however it is cut up; what is held is counted."""
    held = []
    messages = ClientMessages(1000, lambda size: held.append(size) or True)
    frames = [frame(0 if n else 1, b"x", masked=True, fin=n == 999) for n in range(1000)]
    [whole] = read(messages, b"".join(frames), range(0, 7000, 13))
    assert (whole.data, whole.raw) == (b"x" * 1000, b"".join(frames))
    assert sum(held) == 8 * 1000


def test_where_there_is_no_room_it_is_closed():
    """As a request would get 503: try again later."""
    messages = ClientMessages(LIMIT, lambda size: False)
    with pytest.raises(BrokenFrames) as broken:
        read(messages, PLAIN)
    assert broken.value.code == 1013


def test_a_servers_long_message_is_not_read():
    """It passes all the same, and the next one is read."""
    freed = []
    server = ServerMessages(1000, free=lambda: freed.append(1))
    data = frame(1, b"x" * 1001, masked=False) + frame(1, b"short", masked=False)
    assert [text for _, text in server.read(data)] == [None, b"short"]
    assert freed


def test_a_server_that_speaks_no_websocket_is_recognised():
    """Masked frames and nonsense."""
    for data in (frame(1, b"x", masked=True), b"HTTP/1.1 200 OK\r\n"):
        server = ServerMessages(LIMIT)
        assert server.read(data) == []
        assert server.broken is not None
        assert (server.whole_bytes, server.is_between_messages) == (0, True)


@pytest.mark.parametrize("cut", range(60))
def test_what_precedes_a_break_is_read(cut):
    """However the bytes are cut: the messages, and whether the break is at the end of a frame."""
    good = (
        frame(1, b"one", masked=False)
        + frame(1, b"two ", masked=False, fin=False)
        + frame(9, b"?", masked=False)
    )
    data, server = good + frame(0, b"no", masked=True), ServerMessages(LIMIT)
    texts, passed = [], 0
    for piece in split(data, [cut]):
        if server.broken is None:
            texts += [text for _, text in server.read(piece)]
            passed += len(piece) if server.broken is None else max(0, server.whole_bytes)
    assert texts == [b"one"]
    assert server.broken is not None
    assert not server.is_between_messages
    assert server.is_between_frames == (passed == len(good))
    assert passed >= len(good)


def read_all(masked, data, cuts):
    """Read whatever it is; return the code of the break, None if there was none."""
    try:
        if masked:
            read(ClientMessages(50), data, cuts)
        else:
            server = ServerMessages(50)
            for piece in split(data, cuts):
                server.read(piece)
                if server.broken is not None:
                    raise server.broken
    except BrokenFrames as broken:
        return broken.code
    return None


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5), st.booleans())
def test_whatever_comes_is_read_or_broken(data, cuts, masked):
    """Nothing else is raised, for either direction."""
    assert read_all(masked, data, cuts) in (None, 1002, 1007, 1009)


def test_frames_of_our_own():
    """As another library reads them."""
    other = FrameProtocol(client=True, extensions=[])
    other.receive_bytes(text_frame('{"type":"é"}'.encode()) + close_frame(1012, "x" * 200))
    text, close = other.received_frames()
    assert (text.payload, text.message_finished) == ('{"type":"é"}', True)
    assert (close.opcode, close.payload[0]) == (8, 1012)
    assert struct.unpack("!H", frame(8, close_frame(1001, "")[2:4], masked=False)[2:4]) == (1001,)
    masked = close_frame(1001, "", masked=True)
    assert (masked[0], masked[1], len(masked)) == (0x88, 0x82, 8)
