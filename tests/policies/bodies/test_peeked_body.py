"""A body whose beginning a stage has read: nothing of it is lost, and nothing runs on for nobody."""

import pytest
from fakes import Body, ReadyBody, delivered, response, results_of
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.web.client import ResponseDone

from openai_proxy.policies.bodies.peeked_body import peek


def begin(body, limit_bytes=4):
    """Peek into `body`; return the Deferred of it and the list that its result comes into."""
    peeking = Deferred.fromCoroutine(peek(response(body), limit_bytes))
    return peeking, results_of(peeking)


def test_a_small_body_is_seen_whole_and_delivered_again():
    """Its end comes after it."""
    _, results = begin(ReadyBody(b"abc"))
    [(peeked, beginning)] = results
    reader = delivered(peeked.body)
    assert (beginning, reader.data, reader.end) == (b"abc", b"abc", ResponseDone)
    assert peeked.body.length == 3


def test_of_a_large_body_no_more_is_read_until_it_is_taken():
    """It is held back after the first bytes, and continues when it is delivered."""
    body = Body()
    _, results = begin(body)
    body.feed(b"ab")
    assert results == []
    body.feed(b"cdef")
    [(peeked, beginning)] = results
    assert (beginning, body.paused) == (b"abcdef", True)
    reader = delivered(peeked.body)
    assert not body.paused
    body.feed(b"gh")
    body.end()
    assert (reader.data, reader.end) == (b"abcdefgh", ResponseDone)


def test_a_reader_that_is_full_at_once_is_given_no_more():
    """Its pause lasts, and so does its end of it."""
    body = Body()
    _, results = begin(body)
    body.feed(b"abcdef")
    reader = delivered(results[0][0].body, window=1)
    assert body.paused
    reader.transport.resumeProducing()
    assert not body.paused


def test_a_body_that_breaks_off_is_seen_as_far_as_it_came():
    """Whoever takes it learns that it is cut."""
    body = Body(9)
    _, results = begin(body, 100)
    body.feed(b"ab")
    body.cut()
    [(peeked, beginning)] = results
    reader = delivered(peeked.body)
    assert (beginning, reader.data, reader.end) == (b"ab", b"ab", ConnectionLost)


@pytest.mark.parametrize("ended", [False, True])
def test_a_body_that_nobody_wants_is_given_back(ended):
    """One that has ended has nothing to give back."""
    body = Body()
    _, results = begin(body)
    body.feed(b"abcdef")
    if ended:
        body.end()
    results[0][0].body.discard()
    assert body.discards == (0 if ended else 1)


def test_a_client_that_leaves_meanwhile_takes_the_body_with_it():
    """The upstream stops; what still comes goes nowhere."""
    body = Body()
    peeking, results = begin(body)
    body.feed(b"ab")
    peeking.cancel()
    assert ([type(each) for each in results], body.discards) == ([CancelledError], 1)
    body.feed(b"cdefgh")
    body.end()


def test_a_reader_that_leaves_stops_the_upstream():
    """As it would without anybody having looked."""
    body = Body()
    _, results = begin(body)
    body.feed(b"abcdef")
    reader = delivered(results[0][0].body)
    reader.transport.stopProducing()
    assert body.discards == 1
