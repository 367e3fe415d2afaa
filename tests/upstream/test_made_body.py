"""Bodies that are made here, in their own time."""

import pytest
from fakes import delivered
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone

from openai_proxy.exchange.upstream_errors import UpstreamTimeout
from openai_proxy.upstream.answer_timer import NEVER
from openai_proxy.upstream.made_body import Cut, MadeBody


def body(steps, **limits):
    clock = Clock()
    return clock, MadeBody(iter(steps), clock, **limits)


def test_what_takes_no_time_comes_at_once():
    """Then the end, as of any whole body."""
    clock, made = body([(0, b"a"), (0, b"b")])
    reader = delivered(made)
    assert (reader.chunks, type(reader.reason)) == ([b"a", b"b"], ResponseDone)
    assert clock.getDelayedCalls() == []


def test_nothing_is_made_while_its_reader_is_paused():
    """A slow client holds up what it is sent; nothing piles up."""
    taken = []

    def steps():
        for number in range(5):
            taken.append(number)
            yield 0, b"%d" % number

    made = MadeBody(steps(), Clock())
    reader = delivered(made, window=2)
    assert (reader.chunks, taken) == ([b"0", b"1"], [0, 1])
    reader.window = None
    made.resumeProducing()
    assert reader.chunks == [b"0", b"1", b"2", b"3", b"4"]
    assert isinstance(reader.reason, ResponseDone)


def test_each_chunk_waits_for_its_time():
    """The delays are those between one chunk and the next."""
    clock, made = body([(0.5, b"a"), (1, b"b")])
    reader = delivered(made)
    seen = []
    for _ in range(3):
        seen.append(len(reader.chunks))
        clock.advance(0.5)
    assert (seen, reader.chunks) == ([0, 1, 1], [b"a", b"b"])


def test_what_is_due_during_a_pause_comes_when_the_reader_goes_on():
    """Time runs on while a client is slow."""
    clock, made = body([(1, b"a"), (1, b"b")])
    reader = delivered(made, window=1)
    clock.advance(1)
    made.resumeProducing()
    made.pauseProducing()
    clock.advance(1)
    assert reader.chunks == [b"a"]
    made.resumeProducing()
    assert reader.chunks == [b"a", b"b"]


@pytest.mark.parametrize("leave", ["discard", "stopProducing"])
def test_who_leaves_leaves_no_timer(leave):
    """A client that goes in mid-stream costs nothing more."""
    clock, made = body([(0, b"a"), (1, b"b")])
    reader = delivered(made)
    getattr(made, leave)()
    getattr(made, leave)()
    assert (reader.chunks, reader.reason, clock.getDelayedCalls()) == ([b"a"], None, [])


def test_a_cut_is_no_end():
    """The client must not take half an answer for a whole one."""

    def steps():
        yield 0, b"a"
        raise Cut

    made = MadeBody(steps(), Clock(), 10)
    reader = delivered(made)
    assert (reader.chunks, type(reader.reason)) == ([b"a"], ConnectionLost)


@pytest.mark.parametrize(
    ("limits", "after_s", "kind"),
    [
        ({"idle_s": 5}, 5, "timeout_idle"),
        ({"total_s": 3}, 3, "timeout_total"),
        ({"idle_s": 5, "total_s": 6}, 5, "timeout_idle"),
    ],
)
def test_silence_ends_as_that_of_a_server_does(limits, after_s, kind):
    """The deadlines of the settings hold for what is made here too."""
    clock, made = body([(0, b"a"), (NEVER, b"")], **limits)
    reader = delivered(made)
    clock.advance(after_s - 0.1)
    assert reader.reason is None
    clock.advance(0.2)
    assert isinstance(reader.reason, UpstreamTimeout)
    assert reader.reason.kind == kind


def test_silence_without_a_deadline_lasts():
    """Until the client leaves."""
    clock, made = body([(NEVER, b"")])
    reader = delivered(made)
    clock.advance(1e6)
    assert reader.reason is None
    made.discard()


def test_the_whole_time_is_counted_over_all_chunks():
    """Many short delays are a long one together."""
    clock, made = body([(1, b"a")] * 5, total_s=2.5)
    reader = delivered(made)
    for _ in range(10):
        clock.advance(0.5)
    assert (reader.chunks, reader.reason.kind) == ([b"a", b"a"], "timeout_total")


class LateClock(Clock):
    """Whose calls come 30 ms late, as those of a busy reactor do."""

    def callLater(self, delay, *call):
        return super().callLater(delay + 0.03, *call)


def test_lateness_does_not_add_up():
    """A stream of a hundred events that each came a little late would end seconds after the recorded one."""
    clock = LateClock()
    made = MadeBody(iter([(0.05, b"%d" % number) for number in range(100)]), clock)
    reader = delivered(made)
    while reader.reason is None:
        clock.advance(0.01)
    assert b"".join(reader.chunks) == b"".join(b"%d" % number for number in range(100))
    assert 5.0 <= clock.seconds() < 5.1


def test_a_body_may_have_begun_before_it_is_delivered():
    """What its head was late by is made good."""
    clock = Clock()
    clock.advance(1.2)
    made = MadeBody(iter([(0.5, b"a"), (0.5, b"b")]), clock, began_at=1.0)
    reader = delivered(made)
    clock.advance(0.29)
    assert reader.chunks == []
    clock.advance(0.02)
    assert reader.chunks == [b"a"]
    clock.advance(0.5)
    assert reader.chunks == [b"a", b"b"]
