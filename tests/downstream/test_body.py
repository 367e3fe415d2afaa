"""A request's body while it arrives: read whole, produced, or dropped."""

import pytest
from fakes import Sink, Source, results_of
from twisted.web.iweb import UNKNOWN_LENGTH

from openai_proxy.downstream.body import HIGH_WATER_BYTES, IncomingBody
from openai_proxy.exchange.errors import ClientGone, Overloaded, RequestTimeout, RequestTooLarge


def incoming(length=None, limit=None):
    source = Source()
    return source, IncomingBody(source, length, limit)


def reading(body, limit=1000):
    """Start reading; returns a list that will hold the result or the exception."""
    return results_of(body.read(limit))


def test_body_is_read_whole():
    """What came before and after the question, in order."""
    source, body = incoming(6)
    body.feed(b"abc")
    results = reading(body)
    assert (results, source.wanted) == ([], True)
    body.feed(b"def")
    body.end()
    assert results == [b"abcdef"]
    assert reading(body) == [b"abcdef"]


@pytest.mark.parametrize("length", [None, 1001])
def test_reading_stops_at_the_limit(length):
    """An announced size is refused unread, a counted one as soon as it is passed."""
    source, body = incoming(length)
    results = reading(body)
    body.feed(b"x" * 1001)
    assert [type(result) for result in results] == [RequestTooLarge]
    assert source.wanted is (length is None)


def test_the_lower_of_two_limits_counts_before_the_client_is_asked_to_send():
    """`limits.body_bytes` is below the JSON limit: no 100 Continue for a body that will be refused."""
    source, body = incoming(900, limit=800)
    results = reading(body, 1000)
    assert [type(result) for result in results] == [RequestTooLarge]
    assert not source.wanted


def test_an_announced_size_is_judged_before_the_body_is_taken():
    """An upload that will be refused opens no connection to the upstream."""
    source, body = incoming(900, limit=800)
    with pytest.raises(RequestTooLarge):
        body.check_announced()
    for length, limit in ((800, 800), (None, 800), (900, None)):
        incoming(length, limit=limit)[1].check_announced()
    assert not source.wanted


def test_unclaimed_body_holds_the_client_back():
    """Nothing piles up while the stages think."""
    source, body = incoming()
    body.feed(b"x" * HIGH_WATER_BYTES)
    assert not source.held
    body.feed(b"x")
    assert source.held
    reading(body, 1 << 20)
    assert not source.held


def test_body_is_produced_as_it_comes():
    """The upstream gets what came, then every read; its pauses reach the client."""
    source, body = incoming()
    assert body.length is UNKNOWN_LENGTH
    body.feed(b"a")
    sink = Sink()
    done = results_of(body.startProducing(sink))
    body.feed(b"b")
    assert (sink.data, done, source.wanted) == (b"ab", [], True)
    body.pauseProducing()
    assert source.held
    body.resumeProducing()
    assert not source.held
    body.end()
    assert done == [None]
    body.pauseProducing()
    assert not source.held


def test_complete_body_is_produced_at_once():
    """Nothing is asked of a client that has sent all."""
    source, body = incoming(1)
    body.feed(b"a")
    body.end()
    sink = Sink()
    done = results_of(body.startProducing(sink))
    assert (sink.data, done, source.wanted) == (b"a", [None], False)


@pytest.mark.parametrize("before", [True, False])
def test_failed_body_is_never_whole(before):
    """Whoever takes it hears why, whenever it asks."""
    _, body = incoming()
    failures = []
    if before:
        body.fail(ClientGone())
    body.startProducing(Sink()).addErrback(lambda failure: failures.append(failure.type))
    if not before:
        body.fail(ClientGone())
    assert failures == [ClientGone]
    assert [type(result) for result in reading(body)] == [ClientGone]


def test_produced_body_stops_at_the_limit():
    """A chunked upload is cut where it passes the limit."""
    _, body = incoming(limit=5)
    failures = []
    body.startProducing(Sink()).addErrback(lambda failure: failures.append(failure.type))
    body.feed(b"123456")
    assert failures == [RequestTooLarge]


def test_abandoned_body_is_dropped_as_it_comes():
    """Nobody wants the rest; the client is not held back with it."""
    source, body = incoming()
    sink = Sink()
    body.startProducing(sink)
    body.pauseProducing()
    body.stopProducing()
    assert not source.held
    body.feed(b"x" * (2 * HIGH_WATER_BYTES))
    assert (sink.data, source.held) == (b"", False)


def test_watcher_sees_what_goes_up():
    """For a log that keeps bodies: the bytes in order, whenever they came."""
    _, body = incoming()
    seen = []
    body.watch = seen.append
    body.feed(b"a")
    body.startProducing(Sink())
    body.feed(b"b")
    assert seen == [b"a", b"b"]


def test_what_is_kept_asks_for_room_as_it_comes():
    """Strangers who announce much hold no more than they send."""
    asked = []

    def hold(size):
        asked.append(size)
        return sum(asked) <= 10

    _, body = incoming(1000, None)
    body.feed(b"12345")
    failures = results_of(body.read(5000, hold))
    body.feed(b"678")
    assert not failures
    assert body.kept
    body.feed(b"9abc")
    assert asked == [5, 3, 4]
    assert isinstance(failures[0], Overloaded)


def test_the_first_bytes_can_be_looked_at():
    """They stay in the body, whoever takes it then."""
    _, body = incoming(None, None)
    seen = results_of(body.beginning())
    assert not seen
    body.feed(b"{}")
    assert seen == [b"{}"]
    read = reading(body)
    body.feed(b" ")
    body.end()
    assert read == [b"{} "]


def test_a_body_that_breaks_before_its_first_byte():
    """Whoever looks sees it."""
    _, body = incoming(None, None)
    failures = results_of(body.beginning())
    body.fail(RequestTimeout())
    assert isinstance(failures[0], RequestTimeout)


def inspecting(body, inspector):
    """Start inspecting; returns a list that will hold None or the exception."""
    return results_of(body.inspect(inspector))


def test_the_beginning_is_inspected_and_nothing_taken():
    """It waits until the inspector has seen enough; the upload is the client's bytes."""
    source, body = incoming(9)
    seen = []
    body.feed(b"abc")

    def inspector(data):
        seen.append(data)
        return b"f" in data

    results = inspecting(body, inspector)
    assert (results, source.wanted) == ([], True)
    body.feed(b"def")
    assert results == [None]
    sink = Sink()
    body.startProducing(sink)
    body.feed(b"ghi")
    body.end()
    assert (sink.data, seen) == (b"abcdefghi", [b"abc", b"def", b"ghi"])


def test_several_inspectors_see_all_of_it():
    """The first one goes on watching after the second one has begun; either may refuse."""
    _, body = incoming(9)
    seen = [], []

    def first(data):
        seen[0].append(data)
        return True

    def second(data):
        seen[1].append(data)
        if b"g" in data:
            raise RequestTimeout
        return b"e" in data

    body.feed(b"abc")
    assert inspecting(body, first) == [None]
    results = inspecting(body, second)
    assert results == []
    body.feed(b"def")
    assert results == [None]
    assert seen == ([b"abc", b"def"], [b"abc", b"def"])
    body.feed(b"ghi")
    assert inspecting(body, first)[0].code == RequestTimeout.code


def test_a_body_that_ends_has_been_inspected():
    """A short one is never enough."""
    _, body = incoming(3)
    results = inspecting(body, lambda data: False)
    body.feed(b"abc")
    body.end()
    assert results == [None]


@pytest.mark.parametrize("fed", [0, 1, 2])
def test_what_an_inspector_refuses_breaks_the_body(fed):
    """Before it is asked for, while it is waited for, and while it goes up."""
    _, body = incoming(100)

    def inspector(data):
        if b"!" in data:
            raise Overloaded
        return b"." in data

    pieces = [b"!", b"a!", b".!"]
    if fed == 0:
        body.feed(pieces[0])
        assert isinstance(inspecting(body, inspector)[0], Overloaded)
        return
    results = inspecting(body, inspector)
    if fed == 1:
        body.feed(pieces[1])
        assert isinstance(results[0], Overloaded)
        return
    body.feed(b".")
    assert results == [None]
    failures = []
    sink = Sink()
    body.startProducing(sink).addErrback(lambda failure: failures.append(failure.value))
    body.feed(pieces[2])
    assert isinstance(failures[0], Overloaded)
    assert sink.data == b"."
