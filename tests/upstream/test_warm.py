"""Connections that are made before a request needs them: whose they are, how many, and how they end."""

from fakes import incoming
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from upstream.edge import OK, Server, UpstreamEdge

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.net.origin import parse_origin
from openai_proxy.upstream.agent import IDLE_S
from openai_proxy.upstream.warm import AFTER_FAILURE_S, WarmConnections

ORIGIN = parse_origin("http://127.0.0.1:9000")


class Warm(UpstreamEdge):
    """An agent that keeps connections warm, all of which are accepted at once."""

    def __init__(self, count=2):
        super().__init__()
        self.agent.warm = WarmConnections(count, [ORIGIN])
        self.accepted = 0

    def turn(self, seconds=0.25):
        """Let time pass, and the server accept what is asked for."""
        self.advance(seconds)
        self.accept_all()

    def accept_all(self):
        while self.accepted < self.connects:
            self.servers.append(Server(self.reactor.tcpClients[self.accepted][2]))
            self.accepted += 1


def test_a_request_takes_one_and_another_is_made():
    """Whatever its credential is: none has carried a request. It is kept for that credential from then on."""
    edge = Warm()
    edge.turn()
    assert (edge.connects, len(edge.agent.warm)) == (2, 2)
    results = edge.send(credential=b"one")
    assert edge.connects == 2
    assert edge.servers[1].take().startswith(b"GET /v1/models")
    edge.servers[1].say(OK)
    assert results[0].code == 200
    edge.turn()
    assert (edge.connects, len(edge.agent.warm)) == (3, 2)
    edge.send(credential=b"one")
    assert edge.servers[1].take().startswith(b"GET /v1/models")
    edge.send(credential=b"two")
    assert not edge.servers[1].take()
    assert edge.servers[2].take().startswith(b"GET /v1/models")
    assert edge.agent.open_connections == 3


def test_none_is_kept_by_default():
    """It costs an upstream, and us, a connection each."""
    edge = Warm(0)
    edge.turn(2)
    assert edge.connects == 0


def test_one_that_has_died_is_a_stale_one():
    """Its request was not seen by anybody, so it is sent again whatever it asks; the others that are as old are cut."""
    edge = Warm()
    edge.turn()
    results = edge.send(b"POST", data=b"{}")
    edge.servers[1].lose()
    (error,) = results
    assert isinstance(error, UpstreamUnreachable)
    assert error.sent == "stale"


def test_those_that_end_are_replaced():
    """Servers close what says nothing; ours close before that."""
    edge = Warm()
    edge.turn()
    edge.servers[0].lose()
    assert len(edge.agent.warm) == 1
    edge.turn(AFTER_FAILURE_S - 0.5)
    assert edge.connects == 2  # it may close whatever it accepts
    edge.turn(1)
    assert (edge.connects, len(edge.agent.warm)) == (3, 2)
    edge.turn(IDLE_S)
    assert [server.transport.ended for server in edge.servers[1:3]] == ["aborted", "aborted"]
    edge.turn()
    assert len(edge.agent.warm) == 2


def test_an_origin_that_is_away_is_left_alone_for_a_while():
    """It is asked once in five seconds, not four times a second; a request asks by itself."""
    edge = Warm()
    edge.agent.warm = WarmConnections(1, [ORIGIN])
    edge.advance(0.25)
    for _ in range(2):
        asked = edge.connects
        edge.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        edge.advance(AFTER_FAILURE_S - 0.5)
        assert edge.connects == asked
        edge.advance(1)
        assert edge.connects == asked + 1


def test_few_descriptors_are_for_requests():
    """None is made if an exchange would lack it."""
    edge = Warm(10)
    edge.agent.max_open = 3
    edge.turn(2)
    assert edge.connects == 3
    edge.agent.max_open = 0
    assert edge.agent.open_connections == 3


def test_the_end_cuts_them():
    """And makes none any more."""
    edge = Warm()
    edge.turn()
    edge.agent.stop()
    assert [server.transport.ended for server in edge.servers] == ["aborted", "aborted"]
    assert len(edge.agent.warm) == 0
    edge.reactor.advance(2)
    assert edge.connects == 2


def test_a_streamed_upload_gets_a_fresh_one():
    """A warm connection may be one that its server is about to close."""
    edge = Warm()
    edge.turn()
    edge.send(b"POST", data=incoming(b"a file"[:5], length=5))
    assert edge.connects == 3
