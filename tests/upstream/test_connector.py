"""Making a connection to an origin: it works, or there is one error, in time."""

import pytest
from fakes import Resolver, Transport
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionLost, ConnectionRefusedError, NoRouteError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from openai_proxy.exchange.upstream_errors import (
    UpstreamError,
    UpstreamTimeout,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from openai_proxy.net.dns_cache import DNSCache
from openai_proxy.net.host_names import ATTEMPT_DELAY_S
from openai_proxy.net.origin import parse_origin
from openai_proxy.upstream.connector import Connecting
from openai_proxy.upstream.tls import ClientTLS

TIMEOUT_S = 10.0


class Made(Protocol):
    """A connection that says by hand that it is ready, or lost."""

    transport = None

    def __init__(self, connecting):
        self.connecting = connecting
        self.aborted = False

    def abort(self):
        self.aborted = True
        self.transport.abortConnection()

    def connectionLost(self, reason):
        self.connecting.lost(reason)


@implementer(IHostnameResolver)
class Nowhere:
    """Knows no name."""

    def resolveHostName(self, receiver, name, *arguments, **options):
        receiver.resolutionBegan(self)
        receiver.resolutionComplete()
        return self


class World:
    """One attempt; `made` is its connection, `result` what became of it."""

    def __init__(self, url="http://127.0.0.1:9000", resolver=None, names=None):
        self.reactor = MemoryReactorClock()
        if resolver is not None:
            self.reactor.nameResolver = resolver
        self.made = None
        self.results = []
        self.connecting = Connecting(
            self.reactor, parse_origin(url), ClientTLS(), TIMEOUT_S, self.make, names
        )
        self.connecting.done.addCallbacks(
            self.results.append, lambda failure: self.results.append(failure.value)
        )

    def make(self, connecting):
        self.made = Made(connecting)
        return self.made

    def accept(self):
        """Let the peer accept; returns our side's transport."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        return transport

    def refuse(self, error):
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(error))
        self.reactor.advance(ATTEMPT_DELAY_S)  # no further address to try

    @property
    def result(self):
        [result] = self.results
        return result

    def settle(self):
        """Nothing of the attempt may be left: no timer, no second outcome."""
        self.reactor.advance(3 * TIMEOUT_S)
        assert len(self.results) == 1
        assert self.reactor.getDelayedCalls() == []


def test_a_connection_that_is_ready_is_handed_over():
    """Not when the peer accepts: when the connection says so (TLS verifies first)."""
    world = World()
    assert world.reactor.tcpClients[0][:2] == ("127.0.0.1", 9000)
    world.accept()
    assert world.results == []
    world.connecting.ready(world.made)
    assert world.result is world.made
    world.settle()
    assert not world.made.aborted


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError(), "the connection was refused"),
        (NoRouteError(), "there is no route to the host"),
        (ConnectError(), "the connection failed"),
    ],
)
def test_a_refused_connection_was_not_sent_anything(error, message):
    """So the request may go elsewhere."""
    world = World()
    world.refuse(error)
    assert type(world.result) is UpstreamUnreachable
    assert (world.result.kind, world.result.sent) == ("connect", "no")
    assert str(world.result) == f"This proxy could not connect to its upstream 127.0.0.1: {message}."
    world.settle()


def test_a_name_that_does_not_exist_has_an_error_of_its_own():
    """The metrics tell a wrong name from a dead host."""
    world = World("http://no-such-host.invalid", Nowhere())
    assert type(world.result) is UpstreamUnreachable
    assert (world.result.kind, world.result.sent) == ("dns", "no")
    assert "its upstream no-such-host.invalid: the host name is unknown" in str(world.result)
    world.settle()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("llm_server", "llm_server"),
        ("ab--cd", "ab--cd"),
        ("-x", "-x"),
        ("proj_vllm_1.", "proj_vllm_1."),
        ("b\u00fcro.example", "xn--bro-hoa.example"),
        ("b\u00fc_ro", "xn--b_ro-0ra"),
    ],
)
def test_a_name_is_looked_up_as_it_stands(scheme, host, asked):
    """Compose makes names that IDNA 2008 forbids; the system's resolver knows them all the same."""
    resolver = Resolver()
    world = World(f"{scheme}://{host}:9000", resolver)
    assert resolver.asked == [asked]
    assert world.reactor.tcpClients[0][:2] == ("10.1.2.3", 9000)
    world.accept()
    world.connecting.done.cancel()


@implementer(IHostnameResolver)
class Broken:
    """Fails as nobody expects it to."""

    def resolveHostName(self, *arguments, **options):
        raise UnicodeError("label too long")


def test_whatever_is_raised_at_once_is_an_upstream_error():
    """A request whose upstream cannot even be asked for fails over; it is no 500."""
    world = World("http://a.example", Broken())
    assert type(world.result) is UpstreamUnreachable
    assert world.result.sent == "no"
    world.settle()


def test_a_silent_peer_costs_no_more_than_the_timeout():
    """Packets that nobody answers end in a timeout, not before."""
    world = World()
    world.reactor.advance(TIMEOUT_S - 0.1)
    assert world.results == []
    world.reactor.advance(0.1)
    assert type(world.result) is UpstreamTimeout
    assert (world.result.kind, world.result.sent) == ("timeout_connect", "no")
    world.settle()


def test_a_handshake_that_hangs_is_part_of_the_timeout():
    """The peer accepted and says nothing: the connection is cut."""
    world = World()
    transport = world.accept()
    world.reactor.advance(TIMEOUT_S)
    assert type(world.result) is UpstreamTimeout
    assert transport.ended == "aborted"
    world.made.connectionLost(Failure(ConnectionLost()))
    world.settle()


def test_a_connection_lost_in_its_handshake_is_a_tls_error():
    """No request was sent, and the server may be there at the next try."""
    world = World("https://127.0.0.1:9000")
    world.accept()
    world.made.connectionLost(Failure(ConnectionLost()))
    assert type(world.result) is UpstreamTLSError
    assert (world.result.kind, world.result.sent, world.result.may_heal) == ("tls", "no", True)
    assert "127.0.0.1: it closed the connection in the TLS handshake" in str(world.result)
    world.settle()


def test_plain_http_never_says_tls():
    """A connection that is lost before it is ready has nothing to do with certificates."""
    world = World()
    world.accept()
    world.made.connectionLost(Failure(ConnectionLost()))
    assert type(world.result) is UpstreamUnreachable
    assert (world.result.kind, world.result.sent) == ("connect", "no")
    assert "tls" not in str(world.result).lower()
    world.settle()


@pytest.mark.parametrize("accepted", [False, True])
def test_a_client_that_leaves_ends_the_attempt(accepted):
    """Before the peer accepts, and in the handshake."""
    world = World()
    transport = world.accept() if accepted else None
    world.connecting.done.cancel()
    assert type(world.result) is CancelledError
    if transport is not None:
        assert transport.ended == "aborted"
        world.made.connectionLost(Failure(ConnectionLost()))
    world.settle()


def test_a_connection_that_is_ready_too_late_is_cut():
    """Nobody waits for it any more."""
    world = World()
    transport = world.accept()
    world.reactor.advance(TIMEOUT_S)
    world.made.aborted = False
    world.connecting.ready(world.made)
    assert world.made.aborted
    assert transport.ended == "aborted"
    world.settle()


@pytest.mark.parametrize("how", ["refused", "lost", "late"])
def test_a_known_name_is_used_until_it_serves_nobody(how):
    """`upstream.dns_ttl_s`: the next connection does not wait for the resolver; one that fails makes it asked again."""
    names, resolver = DNSCache(30, lambda: 0.0), Resolver()
    for _ in range(2):
        world = World("http://a.example:9000", resolver, names)
        world.accept()
        world.connecting.ready(world.made)
        assert world.result is world.made
    assert resolver.asked == ["a.example"]
    world = World("http://a.example:9000", resolver, names)
    if how == "refused":
        world.refuse(ConnectionRefusedError())
    elif how == "lost":
        world.accept()
        world.made.connectionLost(Failure(ConnectionLost()))
    else:
        world.reactor.advance(TIMEOUT_S)
    assert isinstance(world.result, UpstreamError)
    World("http://a.example:9000", resolver, names).connecting.done.cancel()
    assert resolver.asked == ["a.example", "a.example"]
