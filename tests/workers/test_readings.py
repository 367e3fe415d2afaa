"""An answer that goes from worker to worker as it comes."""

import pytest
from fakes import DONE, Reader, SteppedReactor, results_of
from fakes import Body as FedBody
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.exchange.upstream_errors import UpstreamTimeout
from openai_proxy.policies.cache.other_calls import OtherCallResponse
from openai_proxy.workers.link import LinkFactory
from openai_proxy.workers.readings import Reading, ReadingServer, reading_pair

HEADERS = [(b"Content-Type", b"text/event-stream"), (b"X-Twice", b"1"), (b"X-Twice", b"2")]


class Body(FedBody):
    """One that may be discarded again."""

    def discard(self):
        self.discards = 1


class Client(Reader):
    """Reads what a reading brings."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def connectionLost(self, reason=None):
        self.ends.append(reason.type)


class ReadingPair:
    """A worker that has a call, and one that reads its answer; `body` is the upstream's."""

    def __init__(self):
        self.reactor = SteppedReactor()
        self.cancels, self.begun, self.ended = [], [], []
        self.finding, self.body = Deferred(self.cancels.append), Body()
        self.server = ReadingServer(lambda: self.finding, self.begun.append, self.ended.append)
        self.reading = Reading()
        self.found = results_of(self.reading.found)
        for end, protocol in zip(reading_pair(), (self.server, self.reading), strict=True):
            self.reactor.adoptStreamConnection(end.fileno(), end.family, LinkFactory(protocol))
            end.close()
        self.reactor.turn()

    def answer(self, body=None):
        """Let the head come; return whoever reads the body then."""
        self.finding.callback(OtherCallResponse(200, b"Fine", HEADERS, body or self.body))
        self.reactor.until(lambda: self.found)
        client = Client()
        self.found[0].body.deliverBody(client)
        self.reactor.turn()
        return client

    def feed(self, *pieces):
        self.body.feed(*pieces)
        self.reactor.turn()

    @property
    def is_over(self):
        """Whether nothing is left of either end."""
        return self.begun == self.ended == [self.server] and self.reactor.open == 0


@pytest.fixture
def pair():
    pair = ReadingPair()
    yield pair
    pair.reactor.close()


def test_an_answer_comes_as_it_is_made(pair):
    """Head, then each piece before the next one is there, then the end."""
    assert pair.found == []
    client = pair.answer()
    head = pair.found[0]
    assert (head.status, head.reason, head.headers, head.body.length) == (200, b"Fine", HEADERS, None)
    for piece in (b"one ", b"two ", b"x" * 300_000):
        pair.feed(piece)
        pair.reactor.until(lambda piece=piece: client.data.endswith(piece))
    assert client.ends == []
    pair.body.end()
    pair.reactor.until(lambda: client.ends)
    assert (client.data, client.ends) == (b"one two " + b"x" * 300_000, [ResponseDone])
    pair.reactor.until(lambda: pair.is_over)


def test_a_length_that_is_known_comes_with_the_head(pair):
    """A client receives it, as the first one did."""
    pair.answer(Body(length=3))
    assert pair.found[0].body.length == 3


@pytest.mark.parametrize(
    ("reason", "expected"), [(ConnectionLost(), ConnectionLost), (UpstreamTimeout(), UpstreamTimeout)]
)
def test_what_breaks_off_breaks_off_there_too(pair, reason, expected):
    """As late if it is late."""
    client = pair.answer()
    pair.feed(b"half")
    pair.body.protocol.connectionLost(Failure(reason))
    pair.reactor.until(lambda: client.ends)
    assert (client.data, client.ends) == (b"half", [expected])
    pair.reactor.until(lambda: pair.is_over)


def test_a_worker_that_dies_in_the_middle_leaves_no_whole_answer(pair):
    """What had come is passed on, and the end is none."""
    client = pair.answer()
    pair.feed(b"half")
    pair.server.transport.abortConnection()
    pair.reactor.until(lambda: client.ends)
    assert (client.data, client.ends, pair.body.discards) == (b"half", [ConnectionLost], 1)


def test_a_worker_that_dies_before_the_head_has_no_answer(pair):
    """Whoever waits for it calls for themselves."""
    pair.server.transport.abortConnection()
    pair.reactor.until(lambda: pair.found)
    assert pair.found == [None]
    pair.reactor.until(lambda: pair.is_over)


def test_there_may_be_no_answer(pair):
    """The call failed, or must not be shared."""
    pair.finding.callback(None)
    pair.reactor.until(lambda: pair.found)
    assert pair.found == [None]
    pair.reactor.until(lambda: pair.is_over)


def test_a_defect_is_no_answer(pair):
    """Whoever waits calls, and sees what is wrong."""
    pair.finding.errback(Failure(RuntimeError("defect")))
    pair.reactor.until(lambda: pair.found)
    assert pair.found == [None]


def test_who_leaves_before_the_head_is_not_waited_for(pair):
    """The call learns that nobody waits."""
    pair.reading.found.cancel()
    pair.reactor.until(lambda: pair.is_over)
    assert pair.cancels == [pair.finding]


def test_who_leaves_while_it_reads_is_gone(pair):
    """The call continues for others, or is given up: its worker learns of it."""
    pair.answer()
    pair.feed(b"one")
    pair.found[0].body.discard()
    pair.reactor.until(lambda: pair.body.discards)
    pair.reactor.until(lambda: pair.is_over)


def test_who_never_reads_is_gone_too(pair):
    """An exchange that ended while it held the answer discards it."""
    pair.finding.callback(OtherCallResponse(200, b"Fine", HEADERS, pair.body))
    pair.reactor.until(lambda: pair.found)
    pair.found[0].body.discard()
    pair.reactor.until(lambda: pair.is_over)
    assert pair.body.discards == 1


def nobody(server):
    """Nobody counts."""


class Endless(Body):
    """Gives as much as is taken, up to `limit`; counts it."""

    given = 0

    def deliverBody(self, protocol):
        super().deliverBody(protocol)
        self.give()

    def resumeProducing(self):
        super().resumeProducing()
        self.give()

    def give(self, limit=10_000_000):
        while not self.paused and self.given < limit:
            self.given += 10_000
            self.protocol.dataReceived(bytes([self.given % 251]) * 10_000)


def test_who_does_not_read_holds_back_the_other_worker(pair):
    """What waits between two workers is bounded, before and after the reader began; then it comes, byte for byte."""
    body = Endless()
    pair.finding.callback(OtherCallResponse(200, b"Fine", HEADERS, body))
    pair.reactor.until(lambda: pair.found)
    pair.reactor.turn()
    before = body.given
    client = Client()
    pair.found[0].body.deliverBody(client)
    client.transport.pauseProducing()
    pair.reactor.turn()
    assert 0 < before <= body.given < 300_000
    client.transport.resumeProducing()
    pair.reactor.until(lambda: len(client.data) == 10_000_000)
    assert client.data == b"".join(bytes([n % 251]) * 10_000 for n in range(10_000, 10_010_000, 10_000))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_pieces_come_whole_however_the_bytes_are_split(pieces, data):
    """At any places, byte by byte, or at once."""
    writing, finding = StringTransport(), Deferred()
    server, body = ReadingServer(lambda: finding, nobody, nobody), Body(length=7)
    server.makeConnection(writing)
    finding.callback(OtherCallResponse(200, b"OK", HEADERS, body))
    body.feed(*pieces)
    body.end()
    written = writing.value()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(written)))))
    reading, client = Reading(), Client()
    reading.makeConnection(StringTransport())
    reading.found.addCallback(lambda found: found.body.deliverBody(client))
    for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True):
        reading.dataReceived(written[start:end])
    assert (client.data, client.ends) == (b"".join(pieces), [ResponseDone])
    reading.connectionLost(Failure(ConnectionDone()))
    assert client.ends == [DONE.type]


def test_an_end_that_came_before_the_reader_is_reported_to_it():
    """The other worker ended between its head and the reader's beginning."""
    reading, client = Reading(), Client()
    reading.makeConnection(StringTransport())
    answer = OtherCallResponse(200, b"OK", [], Body())
    server, transport = ReadingServer(lambda: succeed(answer), nobody, nobody), StringTransport()
    server.makeConnection(transport)
    reading.dataReceived(transport.value())
    reading.connectionLost(Failure(ConnectionDone()))
    reading.deliverBody(client)
    assert client.ends == [ConnectionLost]
