"""Connections that are made before a request needs them: whose they are, how many, and how they end."""

from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from upstream.agent_world import OK, Server, World, incoming

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.net.origin import parse_origin
from openai_proxy.upstream.agent import IDLE_S
from openai_proxy.upstream.warm import AFTER_FAILURE_S, WarmConnections

ORIGIN = parse_origin("http://127.0.0.1:9000")


class Warm(World):
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
    world = Warm()
    world.turn()
    assert (world.connects, len(world.agent.warm)) == (2, 2)
    results = world.send(credential=b"one")
    assert world.connects == 2
    assert world.servers[1].take().startswith(b"GET /v1/models")
    world.servers[1].say(OK)
    assert results[0].code == 200
    world.turn()
    assert (world.connects, len(world.agent.warm)) == (3, 2)
    world.send(credential=b"one")
    assert world.servers[1].take().startswith(b"GET /v1/models")
    world.send(credential=b"two")
    assert not world.servers[1].take()
    assert world.servers[2].take().startswith(b"GET /v1/models")
    assert world.agent.open_connections == 3


def test_none_is_kept_by_default():
    """It costs an upstream, and us, a connection each."""
    world = Warm(0)
    world.turn(2)
    assert world.connects == 0


def test_one_that_has_died_is_a_stale_one():
    """Its request was not seen by anybody, so it is sent again whatever it asks; the others that are as old are cut."""
    world = Warm()
    world.turn()
    results = world.send(b"POST", data=b"{}")
    world.servers[1].lose()
    (error,) = results
    assert isinstance(error, UpstreamUnreachable)
    assert error.sent == "stale"


def test_those_that_end_are_replaced():
    """Servers close what says nothing; ours close before that."""
    world = Warm()
    world.turn()
    world.servers[0].lose()
    assert len(world.agent.warm) == 1
    world.turn(AFTER_FAILURE_S - 0.5)
    assert world.connects == 2  # it may close whatever it accepts
    world.turn(1)
    assert (world.connects, len(world.agent.warm)) == (3, 2)
    world.turn(IDLE_S)
    assert [server.transport.ended for server in world.servers[1:3]] == ["aborted", "aborted"]
    world.turn()
    assert len(world.agent.warm) == 2


def test_an_origin_that_is_away_is_left_alone_for_a_while():
    """It is asked once in five seconds, not four times a second; a request asks by itself."""
    world = Warm()
    world.agent.warm = WarmConnections(1, [ORIGIN])
    world.advance(0.25)
    for _ in range(2):
        asked = world.connects
        world.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        world.advance(AFTER_FAILURE_S - 0.5)
        assert world.connects == asked
        world.advance(1)
        assert world.connects == asked + 1


def test_few_descriptors_are_for_requests():
    """None is made if an exchange would lack it."""
    world = Warm(10)
    world.agent.max_open = 3
    world.turn(2)
    assert world.connects == 3
    world.agent.max_open = 0
    assert world.agent.open_connections == 3


def test_the_end_cuts_them():
    """And makes none any more."""
    world = Warm()
    world.turn()
    world.agent.stop()
    assert [server.transport.ended for server in world.servers] == ["aborted", "aborted"]
    assert len(world.agent.warm) == 0
    world.reactor.advance(2)
    assert world.connects == 2


def test_a_streamed_upload_gets_a_fresh_one():
    """A warm connection may be one that its server is about to close."""
    world = Warm()
    world.turn()
    world.send(b"POST", data=incoming(5, b"a file"[:5]))
    assert world.connects == 3
