"""The data of a stream's events, as the decoder finds them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_proxy.wire.event_data import event_data
from openai_proxy.wire.sse import SSEDecoder

PIECES = [
    b"data: ",
    b"data:",
    b"event: x",
    b"event:",
    b"id: 1",
    b": c",
    b"{}",
    b"[DONE]",
    b"\n",
    b"\n",
    b"\n\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"data: {}\n\n",
    b"event: x\ndata: {}\n\n",
    b"\xef\xbb\xbf",
    "é".encode(),
    b"",
]


def decoded(stream):
    decoder = SSEDecoder(len(stream) + 1)
    events = [block.data for block in decoder.feed(stream) if block.data is not None]
    torn = [block.data for block in decoder.finish() if block.data is not None]
    return events, torn[0] if torn else None


@given(st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))
@example(b"event: x\n\n")
@example(b"event: x\n\nevent: x\ndata: {}\n\n")
@example(b"event: x\ndata: {}\nid: 1\n\n")
@example(b"event: x\ndata:{}\ndata: {}\n\n")
@example(b"data: {}\n\n\n\ndata: {}\n\n")
@example(b"data: \n\n")
@example(b"data: {}\n")
@example(b"\n\n")
@example(b"data: {}\n\ndata: {}\n\r\n")
@example(b"")
def test_every_stream_is_taken_apart_as_the_decoder_does(stream):
    """However it is written; a stream that was cut loses its torn end."""
    for written in (stream, stream.replace(b"\r", b"").replace(b"\n", b"\r\n")):
        assert event_data(written, True) == decoded(written)
        assert event_data(written, False) == (decoded(written)[0], None)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("line", [b"", b"event: x\n"])
def test_usual_streams_do_without_the_decoder(line, line_end, monkeypatch):
    """Lines of data, with or without a name above: this is what makes them cheap."""
    monkeypatch.setattr("openai_proxy.wire.event_data.SSEDecoder", None)
    stream = b"".join(line + b"data: {%d}\n\n" % n for n in range(5)).replace(b"\n", line_end)
    events = [b"{%d}" % n for n in range(5)]
    assert event_data(stream, True) == (events, None)
    assert event_data(stream + b"data: {to", False) == (events, None)
