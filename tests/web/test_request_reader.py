"""A client's bytes read as requests: the reader alone, without a connection."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.errors import HeadersTooLarge, MalformedRequest, MethodNotAllowed
from openai_proxy.web.request_reader import DownstreamLimits, RequestReader

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
COUNTED = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
)
UPGRADING = COUNTED.replace(b"Host: a\r\n", b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n")
PIPELINE = GET + COUNTED + CHUNKED + UPGRADING + GET


class Source:
    """What bodies ask of the connection: noted."""

    def __init__(self):
        self.held = 0

    def hold_body(self):
        self.held += 1

    def release_body(self):
        """Nothing was held back."""

    def want_body(self):
        """Nobody waits for it."""


def read(*pieces, **limits):
    reader = RequestReader(Source(), DownstreamLimits(**limits), b"openai-proxy")
    for piece in pieces:
        if reader.broken is None:
            reader.feed(piece)
    return reader


def requests(reader):
    return [
        (each.method, each.target, b"".join(each.body._parts), each.body.complete) for each in reader.queue
    ]


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
    """Where reads end is chance."""
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
    """The cause is told; what was read of the request is answered with it."""
    reader = read(raw[:90], raw[90:], header_bytes=500)
    assert type(reader.broken) is error
    assert not reader.broken_request().head.keep_alive


def test_a_body_that_nobody_reads_yet_is_held_back():
    """A request behind another may not fill the memory."""
    reader = read(COUNTED.replace(b"Length: 5", b"Length: 100000"), b"x" * 70_000)
    assert reader._source.held


def test_many_requests_that_ask_for_another_protocol_in_one_read():
    """Each stops the parser; going on behind it is no recursion."""
    upgrading = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    reader = read(upgrading * 1000)
    assert len(reader.queue) == 1000
    assert reader.broken is None
