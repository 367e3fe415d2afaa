"""Events are cut out of a stream however the reads cut it, and no byte is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wire.sse import SSEDecoder, with_data

LIMIT = 1000


def decode(pieces, limit=LIMIT):
    decoder = SSEDecoder(limit)
    blocks = [block for piece in pieces for block in decoder.feed(piece)]
    return blocks + decoder.finish()


def events(blocks):
    return [block.data for block in blocks if block.data is not None]


def split(data, cuts):
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(marks)]


def reference(stream):
    """Interpret a whole stream as WHATWG HTML §9.2.6 does, plus the last event without a blank line."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, lines = [], []
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if lines:
                found.append(b"\n".join(lines))
            lines = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return found


lines = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data",
        b"data:  c",
        b"datax: d",
        b": ping",
        b":",
        b"event: e",
        b"id: 1",
        b"",
        b"x",
    ]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
streams = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef"]),
    st.lists(st.tuples(lines, ends).map(b"".join), max_size=10).map(b"".join),
    lines,
).map(b"".join)
cuts = st.lists(st.integers(0, 200), max_size=8)


@given(streams, cuts)
def test_any_split_gives_the_same_events(stream, cuts):
    """Whole, byte by byte or cut anywhere: all bytes in order, and the events of the standard."""
    for pieces in ([stream], split(stream, cuts), [stream[i : i + 1] for i in range(len(stream))]):
        blocks = decode(pieces)
        assert b"".join(block.raw for block in blocks) == stream
        assert events(blocks) == reference(stream)


@given(streams, cuts, st.integers(1, 12))
def test_oversize_blocks_pass_whole(stream, cuts, limit):
    """With any limit no byte is lost, and the events within it are the standard's."""
    blocks = decode(split(stream, cuts), limit)
    assert b"".join(block.raw for block in blocks) == stream
    wanted = reference(stream)
    for data in events(blocks):
        assert data in wanted


def test_an_event_comes_with_its_blank_line():
    """An event is complete, and passed on, as soon as its blank line is there."""
    decoder = SSEDecoder(LIMIT)
    assert decoder.feed(b"data: a\n") == []
    (block,) = decoder.feed(b"\n")
    assert (block.raw, block.data) == (b"data: a\n\n", b"a")


def test_a_cr_is_not_waited_upon():
    """A blank line that may be half of a CRLF ends the event at once; its LF follows, marked."""
    decoder = SSEDecoder(LIMIT)
    (block,) = decoder.feed(b"data: a\r\n\r")
    assert block.data == b"a"
    late, second = decoder.feed(b"\n" + b"data: b\n\n")
    assert (late.raw, late.continued, second.data) == (b"\n", True, b"b")


@pytest.mark.parametrize("stream", [b": ping\n", b": pi", b"\n", b"\r\n"])
def test_comments_are_not_held(stream):
    """A keep-alive comment passes at once, even half of it."""
    assert b"".join(block.raw for block in SSEDecoder(LIMIT).feed(stream)) == stream


def test_oversize_block_is_passed_on_and_the_next_is_seen():
    """A block above the limit goes on as it comes; the event after it is read again."""
    decoder = SSEDecoder(10)
    assert [block.raw for block in decoder.feed(b"data: 0123456789")] == [b"data: 0123456789"]
    assert [block.raw for block in decoder.feed(b"more\n")] == [b"more\n"]
    first, second = decoder.feed(b"\ndata: b\n\n")
    assert (first.raw, first.data, second.data) == (b"\n", None, b"b")


def test_a_last_line_without_end_is_a_line():
    """What follows the last line end is a line of its own."""
    (block,) = decode([b"data: a\nx"])
    assert block.data == b"a"


def test_data_is_replaced_in_its_place():
    """Other fields, comments, prefixes and line ends stay when an event's data changes."""
    raw = b"event: e\r\n:c\r\ndata:one\r\ndata: two\r\nid: 7\r\n\r\n"
    assert with_data(raw, b"new") == b"event: e\r\n:c\r\ndata:new\r\nid: 7\r\n\r\n"
    assert with_data(b"data: x\n\n", b"a\nb") == b"data: a\ndata: b\n\n"
    assert with_data(b"data: x", b"y") == b"data: y"


def test_blocks_that_were_skipped_end_the_beginning():
    """A BOM counts as one at the beginning only, also if that was not fed."""
    decoder = SSEDecoder(100)
    assert decoder.skip(b"data: 1\n\n")
    assert [block.data for block in decoder.feed(b"\xef\xbb\xbfdata: 2\n\n")] == [None]
    assert not SSEDecoder(100).skip(b"\xef\xbb\xbfdata: 2\n\n")
