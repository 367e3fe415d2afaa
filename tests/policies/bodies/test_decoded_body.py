"""Compressed bodies arrive as what they were, whole or not at all."""

import gzip
import zlib

import pytest
from fakes import Body, ReadyBody, response
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.client import ResponseDone

from openai_proxy.policies.bodies.decoded_body import STEP_BYTES, decoded


def gzipped(data):
    """The same bytes at any time: the names of tests are made of them."""
    return gzip.compress(data, mtime=0)


PLAIN = b"data: {}\n\n" * 50
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(PLAIN) + RAW.flush()


class Taker:
    """Takes a body; `take` says after how many pieces it wants a pause."""

    def __init__(self, take=None):
        self.pieces = []
        self.reason = None
        self.take = take
        self.transport = None

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.pieces.append(data)
        if self.take is not None and len(self.pieces) % self.take == 0:
            self.transport.pauseProducing()

    def connectionLost(self, reason):
        assert self.reason is None
        self.reason = reason

    @property
    def data(self):
        return b"".join(self.pieces)

    @property
    def whole(self):
        return self.reason is not None and self.reason.check(ResponseDone) is not None


def compressed(body, coding=b"gzip"):
    return decoded(response(body, (b"Content-Type", b"text/event-stream"), (b"content-encoding", coding)))


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        (b"gzip", gzipped(PLAIN)),
        (b"X-GZIP", gzipped(PLAIN)),
        (b"deflate", zlib.compress(PLAIN)),
        (b"deflate", RAW_DEFLATE),
        (b"gzip", gzipped(PLAIN[:100]) + gzipped(PLAIN[100:]) + b"\0\0"),
    ],
)
def test_codings_of_zlib_are_taken_off(coding, data):
    """With the header lines about them."""
    answer = compressed(ReadyBody(data), coding)
    taker = Taker()
    answer.body.deliverBody(taker)
    assert (taker.data, taker.whole) == (PLAIN, True)
    assert (answer.headers, answer.body.length) == ([(b"Content-Type", b"text/event-stream")], None)


@pytest.mark.parametrize("coding", [b"x-foo", b"gzip, x-foo", b"identity", b""])
def test_other_codings_stay(coding):
    """What cannot be read passes as it came."""
    answer = response(ReadyBody(b"x"), (b"Content-Encoding", coding))
    assert decoded(answer) is answer


@given(st.lists(st.integers(1, 60)), st.sampled_from((gzipped(PLAIN), RAW_DEFLATE)))
def test_any_split_gives_the_same(sizes, data):
    """However the reads cut it."""
    body = Body()
    answer = compressed(body, b"gzip" if data[:1] == b"\x1f" else b"deflate")
    taker = Taker()
    answer.body.deliverBody(taker)
    at = 0
    for size in [*sizes, len(data)]:
        body.feed(data[at : at + size])
        at += size
    assert taker.data == PLAIN
    body.end()
    assert taker.whole


@pytest.mark.parametrize("data", [gzipped(PLAIN)[:-3], gzipped(PLAIN)[:20], b"garbage", b"\x1f"])
def test_broken_data_never_looks_whole(data):
    """The client's connection is broken off, as with any truncated answer."""
    taker = Taker()
    body = ReadyBody(data)
    compressed(body).body.deliverBody(taker)
    assert taker.reason is not None
    assert not taker.whole


def test_broken_data_ends_the_upstream_call():
    """Nobody pays for what nobody can read."""
    body, taker = Body(), Taker()
    compressed(body).body.deliverBody(taker)
    body.feed(b"garbage")
    assert (body.discards, taker.whole) == (1, False)
    body.feed(b"more")
    assert taker.data == b""


def test_cut_connection_stays_cut():
    """What came before it goes out."""
    body, taker = Body(), Taker()
    compressed(body).body.deliverBody(taker)
    body.feed(gzipped(PLAIN))
    body.cut()
    assert (taker.data, taker.whole) == (PLAIN, False)


def test_empty_body_is_whole():
    """Some servers name a coding of nothing."""
    taker = Taker()
    compressed(ReadyBody(b"")).body.deliverBody(taker)
    assert (taker.data, taker.whole) == (b"", True)


def test_a_bomb_costs_one_step_at_a_time():
    """A slow client's memory is bounded by what it takes, not by what the data expands to."""
    size = 20 * STEP_BYTES + 5
    body, taker = Body(), Taker(take=1)
    compressed(body).body.deliverBody(taker)
    body.feed(gzipped(b"x" * size))
    body.end()
    assert (len(taker.data), body.paused, taker.reason) == (STEP_BYTES, True, None)
    for _ in range(20):
        taker.transport.resumeProducing()
    assert len(taker.data) == size
    taker.transport.resumeProducing()
    assert taker.whole


def test_discarding_frees_the_connection():
    """Before delivery and after it."""
    body = Body()
    answer = compressed(body)
    answer.body.discard()
    answer.body.discard()
    assert body.discards == 2
