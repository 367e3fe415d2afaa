"""What is read of an answer, and what is refused: only the reader, without a connection."""

import httptools
import pytest

from openai_proxy.exchange.upstream_errors import UpstreamProtocolError
from openai_proxy.upstream.response_reader import ResponseReader


def read(raw, size=100_000, is_head=False):
    reader = ResponseReader()
    reader.is_head = is_head
    for start in range(0, len(raw), size):
        (reader.parser or reader.make_parser()).feed_data(raw[start : start + size])
    return reader


@pytest.mark.parametrize("size", [1, 3, 100_000])
@pytest.mark.parametrize(
    ("raw", "length", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 2, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", None, True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 2, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 2, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2, False),
    ],
)
def test_an_answer_is_the_same_in_any_pieces(raw, length, again, size):
    """Its head, its body, and whether the connection may bring another one."""
    reader = read(raw, size)
    assert (reader.status, reader.reason, reader.judge_head()) == (200, b"OK", length)
    assert reader.take_body() == b"ok"
    assert (reader.complete, reader.error) == (True, None)
    assert reader.end() is again


@pytest.mark.parametrize(
    ("raw", "is_head"),
    [
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", True),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(raw, is_head):
    """Whatever length that announces; the next answer gets a parser that does not wait for it."""
    reader = read(raw, is_head=is_head)
    assert (reader.complete, reader.bodiless, reader.judge_head()) == (True, True, 0)
    assert reader.end()
    reader.reset()
    reader.make_parser().feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (reader.complete, reader.bodiless) == (True, is_head)


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\t\r\n",  # llhttp reads until the connection closes
        b"Content-Length: " + b"0" * 5000 + b"5\r\n",
    ],
)
def test_a_framing_that_two_could_read_differently_is_refused(lines):
    """RFC 9112 §6.3: who disagrees about where a body ends can be made to mix up answers."""
    reader = read(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")
    with pytest.raises(UpstreamProtocolError):
        reader.judge_head()


@pytest.mark.parametrize("trailers", [b"X: " + b"y" * 17_000 + b"\r\n", b"X: y\r\n" * 4_000])
def test_trailers_are_limited(trailers):
    """However many reads they come in: such an answer never looks whole."""
    reader = ResponseReader()
    parser = reader.make_parser()
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + trailers + b"\r\n"
    with pytest.raises(httptools.HttpParserCallbackError):
        parser.feed_data(raw)
    assert isinstance(reader.error, UpstreamProtocolError)
    assert (reader.take_body(), reader.complete) == (b"ok", False)


def test_reads_without_a_byte_of_body_are_limited():
    """A chunk extension without end would keep a stream, of which nothing comes, open for ever."""
    reader = ResponseReader()
    for _ in range(100_000):
        reader.note_bodiless_read(
            len(b"\r\n7fff\r\n")
        )  # chunk by chunk from an upstream that writes lines apart
    assert reader.error is None
    for _ in range(18):
        reader.note_bodiless_read(1000)
    assert isinstance(reader.error, UpstreamProtocolError)


def test_interim_answers_are_limited():
    """An upstream cannot keep us busy with them."""
    reader = read(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 33)
    assert isinstance(reader.error, UpstreamProtocolError)


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "status", [b"100 Continue", b"101 Switching", b"103 Early", b"104 X", b"150 X", b"199 X"]
)
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3", b"content-length: 0", b"Transfer-Encoding: chunked"]
)
def test_an_interim_answer_with_a_body_is_refused(framing, status, size):
    """What one reads as its body is the next answer for another: a forged one."""
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    raw = b"HTTP/1.1 %b\r\nX: y\r\n%b\r\n\r\n" % (status, framing) + forged
    reader = ResponseReader()
    parser = reader.make_parser()
    try:
        for start in range(0, len(raw), size):
            parser.feed_data(raw[start : start + size])
    except httptools.HttpParserError:
        pass
    assert isinstance(reader.error, UpstreamProtocolError)
    assert not reader.head_done


@pytest.mark.parametrize(
    "surplus",
    [
        b"HTTP/1.1 500 Surplus\r\nX: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 Again\r\n",
        b"HTTP/1.1 200 Again\r\nContent-Length: 3\r\n\r\n[1]",
        b"HTTP/1.1 200 Again\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_surplus_answer_changes_nothing_of_the_first(surplus, size):
    """Its reason was added to that of the first one."""
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + surplus, size)
    assert (reader.status, reader.reason, reader.pairs) == (200, b"OK", [(b"Content-Length", b"2")])
    assert (reader.take_body(), reader.surplus) == (b"{}", True)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"200 OK"])
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_body_where_there_is_none_is_nobodys(status, size):
    """A server that answers HEAD, or 204, with a body must not have it taken for the next answer, nor for this one's."""
    reader = ResponseReader()
    reader.is_head = status == b"200 OK"
    parser = reader.make_parser()
    raw = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nHTTP/"
    try:
        for at in range(0, len(raw), size):
            parser.feed_data(raw[at : at + size])
    except httptools.HttpParserError:  # llhttp takes it for an answer after a 204
        reader.surplus = True
    assert (reader.take_body(), reader.complete, reader.end()) == (b"", True, False)


@pytest.mark.parametrize("line", [b"5 ", b"5  ", b"5\t", b"5 ;a=b", b"05", b"5;a=b"])
def test_chunk_sizes_may_be_padded(line):
    """Some servers do so (RFC 9112 §7.1.1, BWS); such answers were reset."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"\r\nhello\r\n0 \r\n\r\n"
    for size in (1, 100_000):
        reader = read(raw, size)
        assert (reader.take_body(), reader.complete, reader.error) == (b"hello", True, None)


@pytest.mark.parametrize("line", [b" 5", b"5 5", b"5 x", b"+5", b"0x5", b"5,"])
def test_chunk_sizes_that_two_could_read_differently_are_refused(line):
    """White space is allowed only after the size."""
    with pytest.raises(httptools.HttpParserError):
        read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"\r\nhello\r\n")


def test_a_padded_length_goes_on_as_a_plain_number():
    """With leading zeros some clients would read octal."""
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\nok")
    assert (reader.judge_head(), reader.passing) == (2, [(b"Content-Length", b"2")])


@pytest.mark.parametrize(
    "pairs",
    [
        [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"0")],
        [(b"Content-Length", b"5"), (b"content-length", b"5")],
        [(b"Content-Length", b"5"), (b"CONTENT-LENGTH", b"6")],
        [(b"Content-Length", b"0"), (b"Content-Length", b"0")],
    ],
    ids=str,
)
def test_two_framings_are_refused_whatever_a_parser_lets_through(pairs):
    """llhttp refuses most of them before; what its next version takes must not reach a client."""
    reader = ResponseReader()
    reader.pairs = list(pairs)
    with pytest.raises(UpstreamProtocolError):
        reader.judge_head()
