"""One body, several readers at their own pace."""

import pytest
from fakes import Body, delivered
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.policies.cache.bodies import replay_body
from openai_proxy.policies.cache.recording import LAG_BYTES, Recording

WHOLE = Failure(ResponseDone())


class Origin(Body):
    """An upstream body that is never paused or resumed twice."""

    def pauseProducing(self):
        assert not self.paused
        super().pauseProducing()

    def resumeProducing(self):
        assert self.paused
        super().resumeProducing()


class Shared:
    """A recording with its origin and what it reported."""

    def __init__(self, limit_bytes=1000):
        self.origin = Origin()
        self.events = []
        self.recording = Recording(
            self.origin, limit_bytes, lambda: self.events.append("passing"), self.events.append
        )

    def read(self, window=None):
        body = self.recording.read()
        return body, delivered(body, window)

    def feed(self, *chunks):
        for chunk in chunks:
            self.origin.protocol.dataReceived(chunk)

    def end(self, reason=WHOLE):
        self.origin.protocol.connectionLost(reason)


def test_a_late_reader_gets_everything_from_the_start():
    """Who joins a stream in its middle sees it whole, in the pieces it came in."""
    shared = Shared()
    _, first = shared.read()
    shared.feed(b"a", b"b")
    _, second = shared.read()
    shared.feed(b"c")
    shared.end()
    _, third = shared.read()
    assert [r.chunks for r in (first, second, third)] == [[b"a", b"b", b"c"]] * 3
    assert [r.end for r in (first, second, third)] == [ResponseDone] * 3
    assert shared.events == [True]


def test_the_fastest_reader_sets_the_pace_while_all_is_kept():
    """A slow client does not slow the others; with all of them full the upstream waits."""
    shared = Shared()
    _, fast = shared.read()
    slow_body, slow = shared.read(window=1)
    shared.feed(b"a", b"b")
    assert (fast.chunks, slow.chunks, shared.origin.paused) == ([b"a", b"b"], [b"a"], False)
    fast.transport.pauseProducing()
    assert shared.origin.paused
    slow.transport.resumeProducing()
    assert (slow.chunks, shared.origin.paused) == ([b"a", b"b"], True)
    fast.transport.resumeProducing()
    assert not shared.origin.paused
    slow_body.discard()
    fast.transport.pauseProducing()
    assert shared.origin.paused


def test_the_slowest_reader_sets_the_pace_of_what_is_too_large():
    """A body that cannot be kept takes no more memory than the bound, whoever reads slowly."""
    shared = Shared(limit_bytes=LAG_BYTES)
    _, fast = shared.read()
    _, slow = shared.read(window=1)
    shared.feed(b"x" * LAG_BYTES, b"y", b"z")
    assert shared.events == ["passing"]
    assert shared.origin.paused is False
    shared.feed(b"w" * LAG_BYTES)
    assert shared.origin.paused
    assert sum(map(len, shared.recording.chunks)) <= 2 * LAG_BYTES + 2
    for _ in range(3):
        slow.transport.resumeProducing()
    assert (shared.origin.paused, shared.recording.chunks) == (False, [])
    shared.end()
    assert slow.chunks == fast.chunks
    assert (slow.end, shared.events) == (ResponseDone, ["passing", False])


def test_a_body_announced_too_large_is_not_kept_from_the_start():
    """A large answer passes through without being gathered."""
    shared = Shared()
    shared.origin.length = 1001
    shared.recording = Recording(shared.origin, 1000, lambda: None, shared.events.append)
    _, reader = shared.read()
    shared.feed(b"a")
    assert (reader.chunks, shared.recording.chunks, shared.recording.kept) == ([b"a"], [], False)


def test_the_last_one_out_stops_the_upstream():
    """The upstream works while one client is there, and for nobody it does not."""
    shared = Shared()
    first, _ = shared.read()
    second, reader = shared.read()
    shared.feed(b"a")
    first.discard()
    first.discard()
    assert shared.origin.discards == 0
    shared.feed(b"b")
    assert reader.chunks == [b"a", b"b"]
    second.stopProducing()
    shared.feed(b"c")
    shared.end(Failure(ConnectionLost()))
    assert (shared.origin.discards, reader.chunks, reader.end) == (1, [b"a", b"b"], None)
    assert shared.events == [False]


def test_a_body_nobody_took_is_discarded():
    """A client that leaves between head and body frees the connection."""
    shared = Shared()
    shared.recording.read().discard()
    assert (shared.origin.discards, shared.events) == (1, [False])


def test_a_cut_body_is_cut_for_everybody():
    """A truncated answer looks truncated to each reader, also to a slower one, and is not whole."""
    shared = Shared()
    _, fast = shared.read()
    _, slow = shared.read(window=1)
    shared.feed(b"a", b"b")
    shared.end(Failure(ConnectionLost()))
    assert (fast.end, slow.end, shared.events) == (ConnectionLost, None, [False])
    slow.transport.resumeProducing()
    assert (slow.chunks, slow.end) == ([b"a", b"b"], ConnectionLost)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=20),
    st.lists(st.sampled_from([1, 2, 3, None]), min_size=1, max_size=4),
    st.sampled_from([0, 30, 10_000]),
    st.randoms(use_true_random=False),
)
def test_every_reader_gets_the_same_bytes(chunks, windows, limit_bytes, random):
    """Whatever the speeds and the bound, each client gets the whole body in order."""
    shared = Shared(limit_bytes)
    readers = [reader for _, reader in map(shared.read, windows)]
    for chunk in chunks:
        while shared.origin.paused:
            random.choice(readers).transport.resumeProducing()
        shared.feed(chunk)
    shared.end()
    for _ in range(len(chunks) + 1):
        for reader in readers:
            reader.transport.resumeProducing()
    assert [reader.chunks for reader in readers] == [chunks] * len(readers)
    assert [reader.end for reader in readers] == [ResponseDone] * len(readers)


@pytest.mark.parametrize("length", [None, 2])
def test_a_replay_waits_for_its_reader(length):
    """A stored body is pushed no faster than the client takes it."""
    body = replay_body((b"a", b"b"), length)
    reader = delivered(body, window=1)
    assert (body.length, reader.chunks, reader.end) == (length, [b"a"], None)
    reader.transport.resumeProducing()
    assert (reader.chunks, reader.end) == ([b"a", b"b"], ResponseDone)


def test_an_empty_replay_ends_at_once():
    """A stored answer without a body is an answer."""
    assert delivered(replay_body((), 0)).end is ResponseDone


def test_whoever_joins_after_the_last_event_gets_all_of_it_and_its_end():
    """A store may take a while, and who comes meanwhile still joins: it must not wait for an end that never comes."""
    shared = Shared()
    first, _ = shared.read()
    shared.feed(b"data: 1\n\n", b"data: [DONE]\n\n")
    first.discard()
    assert shared.events == [True]
    _, late = shared.read()
    assert (late.chunks, late.end) == ([b"data: 1\n\n", b"data: [DONE]\n\n"], ResponseDone)
    assert shared.events == [True]
