"""Kept connections: which are used again, and what a dead one costs a request. In memory."""

import resource

import pytest
from fakes import delivered, incoming
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from upstream.edge import JSON, OK, ForwardingEdge, UpstreamEdge
from zope.interface import implementer

from openai_proxy.downstream.body import REPLAY_BYTES
from openai_proxy.exchange.upstream_errors import UpstreamProtocolError, UpstreamUnreachable
from openai_proxy.upstream.agent import UPLOAD_IDLE_S, most_idle

BODIES = {
    "none": lambda: None,
    "JSON": lambda: JSON,
    "whole form": lambda: incoming(JSON, length=len(JSON)),
    "two parts": lambda: incoming(JSON[:3], JSON[3:], length=len(JSON)),
    "arriving": lambda: incoming(JSON[:3], length=len(JSON), complete=False),
}


@pytest.mark.parametrize("error", [ConnectionLost, ConnectionDone])
@pytest.mark.parametrize("said", [b"", b"\r\n", b"\n", b"\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("kind", BODIES)
def test_a_dead_connection_is_replaced_by_a_fresh_one(kind, said, error):
    """Whatever has arrived of the body is sent again; line ends are no answer."""
    edge = ForwardingEdge()
    (old,) = edge.keep()
    body = BODIES[kind]()
    record, results = edge.ask(body)
    assert old.take() != b""
    if said:
        old.say(said)
    old.lose(error)
    assert (results, edge.connects) == ([], 2)
    fresh = edge.accept()
    if kind == "arriving":
        body.feed(JSON[3:])
        body.end()
    assert fresh.take().endswith(b"\r\n\r\n" + (b"" if body is None else JSON))
    fresh.say(OK)
    assert results[0].status == 200
    assert (record.attempts, record.retry_reasons) == (2, ["stale"])


def test_the_fresh_one_is_not_one_of_the_others():
    """Behind a balancer that failed over all kept connections are dead: one dead one is enough."""
    edge = ForwardingEdge()
    servers = edge.keep(8)
    _, results = edge.ask(JSON)
    servers[7].lose(ConnectionLost)
    assert edge.connects == 9
    assert [server.transport.ended for server in servers[:7]] == ["aborted"] * 7
    edge.accept().say(OK)
    assert results[0].status == 200


def test_those_that_idled_for_a_shorter_time_stay():
    """They may well be alive."""
    edge = ForwardingEdge()
    servers = edge.keep(3)
    asked = [edge.ask(), edge.ask()]  # the two that were used last
    servers[2].say(OK)
    servers[1].lose(ConnectionLost)
    assert servers[0].transport.ended == "aborted"
    assert servers[2].transport.ended is None
    edge.accept().say(OK)
    assert [results[0].status for _, results in asked] == [200, 200]


def test_a_fresh_connection_that_dies_is_not_replaced():
    """The upstream may have acted on the request."""
    edge = ForwardingEdge()
    edge.keep()[0].lose(ConnectionLost)
    _, results = edge.ask(JSON)
    edge.accept().lose(ConnectionLost)
    assert (type(results[0]), results[0].sent) == (UpstreamUnreachable, "yes")
    assert str(results[0]) == "The upstream 127.0.0.1 reset the connection before it answered."


def test_a_connection_that_dies_inside_an_answer_is_not_replaced():
    """A byte of a head is an answer."""
    edge = ForwardingEdge()
    (old,) = edge.keep()
    _, results = edge.ask(JSON)
    old.say(b"H")
    old.lose()
    assert type(results[0]) is UpstreamProtocolError
    assert edge.connects == 1


@pytest.mark.parametrize("between", [b"\r\n", b"\n", b"\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_line_ends_behind_an_answer_belong_to_nobody(between, size):
    """The next answer is the next request's (RFC 9112 §2.2), in any pieces."""
    edge = ForwardingEdge()
    (server,) = edge.keep()
    _, results = edge.ask(JSON)
    data = between + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"
    for begin in range(0, len(data), size):
        server.say(data[begin : begin + size])
    assert results[0].status == 200
    assert results[0].body.length == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["counted", "chunked"],
)
def test_nothing_is_kept_behind_a_401(answer):
    """Made-up keys cost no descriptors."""
    edge = ForwardingEdge()
    edge.ask()
    server = edge.accept()
    server.say(answer)
    assert server.transport.ended == "aborted"
    server.lose(ConnectionLost)
    assert edge.agent.open_connections == 0


@pytest.mark.parametrize(
    ("body", "idle_s", "kept"),
    [
        (lambda: incoming(JSON, length=len(JSON)), 1, True),
        (lambda: incoming(JSON, length=REPLAY_BYTES, complete=False), 1, True),
        (lambda: incoming(JSON, length=len(JSON)), UPLOAD_IDLE_S + 1, False),
        (lambda: incoming(JSON, length=REPLAY_BYTES + 1, complete=False), 1, False),
        (lambda: incoming(JSON, complete=False), 1, False),
        (lambda: JSON, UPLOAD_IDLE_S + 1, True),
        (lambda: None, UPLOAD_IDLE_S + 1, True),
    ],
    ids=["small", "at the bound", "idle for long", "large", "of any length", "JSON", "none"],
)
def test_an_upload_that_can_not_be_sent_again_takes_no_kept_connection(body, idle_s, kept):
    """It would be lost if the upstream closes at that moment."""
    edge = ForwardingEdge()
    edge.keep()
    edge.advance(idle_s)
    edge.ask(body())
    assert edge.connects == (1 if kept else 2)


def test_a_large_upload_is_not_sent_again():
    """It is not kept: its client gets an error."""
    edge = ForwardingEdge()
    body = incoming(JSON, length=REPLAY_BYTES + 1, complete=False)
    assert not body.rewindable
    _, results = edge.ask(body)
    edge.accept().lose(ConnectionLost)
    assert type(results[0]) is UpstreamUnreachable
    assert not body.rewind()


@pytest.mark.parametrize("length", [UNKNOWN_LENGTH, 3])
def test_other_producers_take_a_fresh_connection(length):
    """treq's own bodies say nothing of being produced twice."""

    @implementer(IBodyProducer)
    class Producer:
        def startProducing(self, consumer):
            return Deferred()

        def stopProducing(self): ...

    edge = ForwardingEdge()
    edge.keep()
    Producer.length = length
    edge.ask(Producer())
    assert edge.connects == 2


def test_a_process_keeps_a_quarter_of_its_descriptors():
    """Nothing that runs may fail for want of a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert most_idle() == 64
        edge = ForwardingEdge()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for number in range(70):
        edge.send(credential=b"key-%d" % number)
        edge.accept().say(OK)
    assert edge.agent.open_connections == 64
    assert [server.transport.ended for server in edge.servers[:7]] == ["aborted"] * 6 + [None]


def test_the_answer_s_head_is_not_kept_with_an_idle_connection():
    """A thousand idle connections hold no heads."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n")
    assert delivered(results[0]).data == b"ok"
    assert server.protocol._wrappedProtocol._reader.pairs == []


def test_a_new_connection_takes_the_place_of_an_idle_one_where_descriptors_are_few():
    """`max_open` holds idle and busy ones together; one that is busy is never cut for another."""
    edge = UpstreamEdge()
    edge.agent.max_open = 2
    for credential in (b"one", b"two"):
        (response,) = (edge.send(credential=credential), edge.accept().say(OK))[0]
        delivered(response)
    assert edge.agent.open_connections == 2
    edge.send(credential=b"three")
    assert [server.transport.ended for server in edge.servers] == ["aborted", None]
