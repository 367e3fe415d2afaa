"""A body whose pieces take long to decode and filter leaves time for everybody else."""

import pytest
from twisted.internet.protocol import Protocol
from upstream.edge import UpstreamEdge

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"


class Laborious(Protocol):
    """Takes a body; each piece is the work of `work_s` seconds."""

    def __init__(self, edge, work_s):
        self.edge = edge
        self.work_s = work_s
        self.size = 0
        self.end = None

    def dataReceived(self, data):
        self.size += len(data)
        self.edge.worked_s += self.work_s

    def connectionLost(self, reason):
        self.end = reason.type.__name__


@pytest.fixture
def edge():
    edge = UpstreamEdge(idle=60.0)
    edge.worked_s = 0.0
    edge.agent.work_clock = lambda: edge.worked_s
    return edge


def stream(edge, work_s):
    """Return the server of a stream whose body is taken, and who takes it."""
    results = edge.send()
    server = edge.accept()
    server.say(HEAD)
    taker = Laborious(edge, work_s)
    results[0].deliverBody(taker)
    return server, taker


def is_read(server):
    return server.transport.producerState == "producing"


def test_after_a_piece_that_took_long_others_have_their_turn(edge):
    """Three seconds of pause for each of work; then it is read on, and ends as it would."""
    server, taker = stream(edge, 0.1)
    server.say(PIECE)
    assert not is_read(server)
    edge.reactor.advance(0.29)
    assert not is_read(server)
    edge.reactor.advance(0.02)
    assert is_read(server)
    server.say(PIECE)
    edge.reactor.advance(0.31)
    server.say(b"0\r\n\r\n")
    assert (taker.size, taker.end) == (2 * 0x2000, "ResponseDone")


@pytest.mark.parametrize(("work_s", "piece"), [(0.005, PIECE), (1.0, b"1\r\nx\r\n")], ids=["quick", "small"])
def test_ordinary_pieces_are_read_without_a_pause(edge, work_s, piece):
    """Nearly all are; small ones are not even measured."""
    server, _ = stream(edge, work_s)
    server.say(piece)
    assert is_read(server)


def test_laborious_streams_take_turns(edge):
    """However many there are, three quarters of the time are everybody else's."""
    streams = [stream(edge, 0.1) for _ in range(3)]
    for server, _ in streams:
        server.say(PIECE)
    going_on = []
    for _ in range(3):
        edge.reactor.advance(0.301)
        going_on.append([is_read(server) for server, _ in streams])
    assert going_on == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("first", ["rest", "client"])
def test_a_rest_does_not_read_on_for_a_client_that_takes_nothing(edge, first):
    """Whoever is over first waits for the other."""
    server, taker = stream(edge, 0.1)
    server.say(PIECE)
    taker.transport.pauseProducing()
    if first == "rest":
        edge.reactor.advance(0.31)
        assert not is_read(server)
        taker.transport.resumeProducing()
    else:
        taker.transport.resumeProducing()
        assert not is_read(server)
        edge.reactor.advance(0.31)
    assert is_read(server)


def test_a_stream_that_is_left_while_it_rests_is_cut(edge):
    """And its turn passes."""
    server, taker = stream(edge, 0.1)
    server.say(PIECE)
    taker.transport.stopProducing()
    assert server.transport.ended == "aborted"
    server.lose()
    edge.reactor.advance(1.0)


def test_the_time_of_a_rest_is_no_silence_of_the_upstream(edge):
    """It may last longer than the upstream may be silent, and what waits to be read is no fault of its."""
    server, taker = stream(edge, 30.0)
    server.say(PIECE)
    edge.reactor.pump([1.0] * 95)
    assert taker.end is None
    assert is_read(server)
