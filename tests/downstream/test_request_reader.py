"""A client's bytes read as requests: only the reader, without a connection."""

from itertools import pairwise

import pytest
from fakes import Source
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.downstream.request_reader import RequestReader
from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.errors import HeadersTooLarge, MalformedRequest, MethodNotAllowed

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
COUNTED = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
)
UPGRADING = COUNTED.replace(b"Host: a\r\n", b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n")
PIPELINE = GET + COUNTED + CHUNKED + UPGRADING + GET


def read(*pieces, **limits):
    reader = RequestReader(Source(), DownstreamLimits(**limits), b"openai-proxy")
    for piece in pieces:
        if reader.broken is None:
            reader.feed(piece)
    return reader


def _bytes(body):
    return body.data if isinstance(body, WholeBody) else b"".join(body._parts)


def requests(reader):
    return [(each.method, each.target, _bytes(each.body), each.body.complete) for each in reader.queue]


EXPECTED = [
    (b"GET", b"/v1/models", b"", True),
    *[(b"POST", b"/v1/files", b"hello", True)] * 3,
    (b"GET", b"/v1/models", b"", True),
]


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_pipeline_is_the_same_in_any_pieces(size):
    """Whole or byte by byte: the same requests with the same bodies."""
    reader = read(*(PIPELINE[i : i + size] for i in range(0, len(PIPELINE), size)))
    assert requests(reader) == EXPECTED
    assert (reader.receiving, reader.broken, reader.inside_message) == (None, None, False)


@given(cuts=st.lists(st.integers(0, len(PIPELINE)), max_size=12))
def test_a_pipeline_is_the_same_however_it_is_cut(cuts):
    """The ends of reads are random."""
    edges = [0, *sorted(cuts), len(PIPELINE)]
    reader = read(*(PIPELINE[a:b] for a, b in pairwise(edges) if a < b))
    assert requests(reader) == EXPECTED


def test_what_arrives_for_the_request_being_answered_waits_to_be_taken():
    """Given on from inside the parser it could end the request there."""
    reader = read(COUNTED[:-5])
    reader.active = reader.receiving
    reader.feed(b"he")
    reader.feed(b"llo" + GET)
    assert (reader.body_parts, reader.body_ended) == ([b"he", b"llo"], True)
    assert not reader.active.body.complete
    assert [each.method for each in reader.queue] == [b"POST", b"GET"]


def test_what_follows_a_handshake_is_kept_for_the_tunnel():
    """It is another protocol's."""
    handshake = GET.replace(b"Host: a\r\n", b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
    reader = read(handshake + b"\x81\x02hi")
    assert reader.behind_upgrade == b"\x81\x02hi"
    assert reader.queue[0].head.upgrade == b"websocket"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"BREW /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", MalformedRequest),
        (GET.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 600), HeadersTooLarge),
        (COUNTED.replace(b"Host: a", b"Host: a\r\nHost: b"), MalformedRequest),
        (CHUNKED.replace(b"x=y", b"x=" + b"y" * 20_000)[:-9], MalformedRequest),
    ],
)
def test_what_can_not_be_read_breaks_the_connection(raw, error):
    """The cause is reported, and what was read of the request is answered with it."""
    reader = read(raw[:90], raw[90:], header_bytes=500)
    assert type(reader.broken) is error
    assert not reader.broken_request().head.keep_alive


BEFORE = CHUNKED.partition(b"2;x=y")[0]
LAST = b"5\r\nhello\r\n0\r\n"
BESIDE = {
    "a trailer": (LAST + b"X: " + b"y" * 17_000 + b"\r\n\r\n", HeadersTooLarge),
    "many trailers": (LAST + b"X: y\r\n" * 4_000 + b"\r\n", HeadersTooLarge),
    "an extension": (b"5;x=" + b"y" * 17_000 + b"\r\nhello\r\n0\r\n\r\n", MalformedRequest),
    "many extensions": ((b"1;x=" + b"y" * 30 + b"\r\nz\r\n") * 2_000 + b"0\r\n\r\n", MalformedRequest),
    "the last chunk's extension": (b"5\r\nhello\r\n0;" + b"y" * 17_000 + b"\r\n\r\n", MalformedRequest),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("pieces", ["one read", "head first", "thousands"])
def test_what_comes_besides_a_chunked_body_is_limited(name, pieces):
    """Up to a read of it passed if the message ended in that read; now it is never a whole request."""
    raw, error = BESIDE[name]
    if pieces == "one read":
        reader = read(BEFORE + raw)
    elif pieces == "head first":
        reader = read(BEFORE, raw)
    else:
        reader = read(BEFORE, *(raw[i : i + 1000] for i in range(0, len(raw), 1000)))
    assert type(reader.broken) in (error, MalformedRequest)  # in pieces the sum is noticed first
    assert reader.receiving is reader.queue[0]
    assert not reader.queue[0].body.complete


@pytest.mark.parametrize("name", ["a trailer", "many trailers"])
def test_trailers_are_limited_behind_another_request_too(name):
    """Their bytes are counted one by one, whatever the read began with."""
    reader = read(GET + BEFORE + BESIDE[name][0])
    assert type(reader.broken) is HeadersTooLarge
    assert [each.body.complete for each in reader.queue] == [True, False]


@pytest.mark.parametrize("size", [7, 1000, 1_000_000])
@pytest.mark.parametrize("upgrade", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
def test_much_body_and_what_follows_it_are_not_besides_it(size, upgrade):
    """Only what is neither body nor another message counts."""
    body = b"1;x\r\nz\r\n" * 3_000 + b"7530\r\n" + b"z" * 30_000 + b"\r\n0\r\nX: y\r\n\r\n"
    raw = BEFORE.replace(b"Host: a\r\n", b"Host: a\r\n" + upgrade) + body
    raw += COUNTED.replace(b"Length: 5", b"Length: 40005") + b"z" * 40_000 + raw + GET
    reader = read(*(raw[i : i + size] for i in range(0, len(raw), size)))
    assert [each.body.received for each in reader.queue] == [33_000, 40_005, 33_000, 0]
    assert all(each.body.complete for each in reader.queue)
    assert (reader.broken, reader.receiving) == (None, None)


def test_nonsense_behind_a_chunked_request_does_not_break_that():
    """It is answered first."""
    reader = read(CHUNKED + b"\x00\x01\r\n\r\n")
    assert requests(reader) == [(b"POST", b"/v1/files", b"hello", True)]
    assert type(reader.broken) is MalformedRequest


def test_a_body_that_nobody_reads_yet_is_held_back():
    """A request after another must not fill the memory."""
    reader = read(COUNTED.replace(b"Length: 5", b"Length: 100000"), b"x" * 70_000)
    assert reader._source.holds


def test_many_requests_that_ask_for_another_protocol_in_one_read():
    """Each stops the parser; continuing after it is no recursion."""
    upgrading = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    reader = read(upgrading * 1000)
    assert len(reader.queue) == 1000
    assert reader.broken is None


class Sliced(bytes):
    """Bytes of one read that count how many of them are copied, and copied again."""

    def __new__(cls, data, sizes):
        made = super().__new__(cls, data)
        made.sizes = sizes
        return made

    def __getitem__(self, key):
        found = super().__getitem__(key)
        if not isinstance(key, slice):
            return found
        self.sizes.append(len(found))
        return Sliced(found, self.sizes)


@pytest.mark.parametrize(
    "message",
    [
        GET,
        b"\r\n" + GET,
        COUNTED,
        UPGRADING,
        GET.replace(b"Host: a\r\n", b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"),
    ],
)
def test_pipelined_requests_are_not_copied_for_each_that_precedes_them(message):
    """A read of 64 KiB holds more than a thousand small requests."""
    data = Sliced(message * (65536 // len(message)), [])
    reader = read(data)
    assert reader.broken is None
    assert len(reader.queue) == 65536 // len(message)
    assert sum(data.sizes) <= 2 * len(data)
