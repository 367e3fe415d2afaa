"""Making a connection to an origin: it works, or there is one error, in time."""

import pytest
from fakes import Resolver, Transport, results_of
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


class Attempt:
    """One attempt; `made` is its connection, `result` what became of it."""

    def __init__(self, url="http://127.0.0.1:9000", resolver=None, names=None):
        self.reactor = MemoryReactorClock()
        if resolver is not None:
            self.reactor.nameResolver = resolver
        self.made = None
        self.connecting = Connecting(
            self.reactor, parse_origin(url), ClientTLS(), TIMEOUT_S, self.make, names
        )
        self.results = results_of(self.connecting.done)

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
    attempt = Attempt()
    assert attempt.reactor.tcpClients[0][:2] == ("127.0.0.1", 9000)
    attempt.accept()
    assert attempt.results == []
    attempt.connecting.ready(attempt.made)
    assert attempt.result is attempt.made
    assert attempt.reactor.getDelayedCalls() == []  # no clock runs on
    attempt.settle()
    assert not attempt.made.aborted


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
    attempt = Attempt()
    attempt.refuse(error)
    assert type(attempt.result) is UpstreamUnreachable
    assert (attempt.result.kind, attempt.result.sent) == ("connect", "no")
    assert str(attempt.result) == f"This proxy could not connect to its upstream 127.0.0.1: {message}."
    attempt.settle()


def test_a_name_that_does_not_exist_has_an_error_of_its_own():
    """The metrics tell a wrong name from a dead host."""
    attempt = Attempt("http://no-such-host.invalid", Nowhere())
    assert type(attempt.result) is UpstreamUnreachable
    assert (attempt.result.kind, attempt.result.sent) == ("dns", "no")
    assert "its upstream no-such-host.invalid: the host name is unknown" in str(attempt.result)
    attempt.settle()


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
    attempt = Attempt(f"{scheme}://{host}:9000", resolver)
    assert resolver.asked == [asked]
    assert attempt.reactor.tcpClients[0][:2] == ("10.1.2.3", 9000)
    attempt.accept()
    attempt.connecting.done.cancel()


@implementer(IHostnameResolver)
class Broken:
    """Fails as nobody expects it to."""

    def resolveHostName(self, *arguments, **options):
        raise UnicodeError("label too long")


def test_whatever_is_raised_at_once_is_an_upstream_error():
    """A request whose upstream cannot even be asked for fails over; it is no 500."""
    attempt = Attempt("http://a.example", Broken())
    assert type(attempt.result) is UpstreamUnreachable
    assert attempt.result.sent == "no"
    attempt.settle()


def test_a_silent_peer_costs_no_more_than_the_timeout():
    """Packets that nobody answers end in a timeout, not before."""
    attempt = Attempt()
    attempt.reactor.advance(TIMEOUT_S - 0.1)
    assert attempt.results == []
    attempt.reactor.advance(0.1)
    assert type(attempt.result) is UpstreamTimeout
    assert (attempt.result.kind, attempt.result.sent) == ("timeout_connect", "no")
    attempt.settle()


def test_a_handshake_that_hangs_is_part_of_the_timeout():
    """The peer accepted and says nothing: the connection is cut."""
    attempt = Attempt()
    transport = attempt.accept()
    attempt.reactor.advance(TIMEOUT_S)
    assert type(attempt.result) is UpstreamTimeout
    assert transport.ended == "aborted"
    attempt.made.connectionLost(Failure(ConnectionLost()))
    attempt.settle()


def test_a_connection_lost_in_its_handshake_is_a_tls_error():
    """No request was sent, and the server may be there at the next try."""
    attempt = Attempt("https://127.0.0.1:9000")
    attempt.accept()
    attempt.made.connectionLost(Failure(ConnectionLost()))
    assert type(attempt.result) is UpstreamTLSError
    assert (attempt.result.kind, attempt.result.sent, attempt.result.may_heal) == ("tls", "no", True)
    assert "127.0.0.1: it closed the connection in the TLS handshake" in str(attempt.result)
    attempt.settle()


def test_plain_http_never_says_tls():
    """A connection that is lost before it is ready has nothing to do with certificates."""
    attempt = Attempt()
    attempt.accept()
    attempt.made.connectionLost(Failure(ConnectionLost()))
    assert type(attempt.result) is UpstreamUnreachable
    assert (attempt.result.kind, attempt.result.sent) == ("connect", "no")
    assert "tls" not in str(attempt.result).lower()
    attempt.settle()


@pytest.mark.parametrize("accepted", [False, True])
def test_a_client_that_leaves_ends_the_attempt(accepted):
    """Before the peer accepts, and in the handshake."""
    attempt = Attempt()
    transport = attempt.accept() if accepted else None
    attempt.connecting.done.cancel()
    assert type(attempt.result) is CancelledError
    if transport is None:
        assert attempt.reactor.connectors[-1].stoppedConnecting
    else:
        assert transport.ended == "aborted"
        attempt.made.connectionLost(Failure(ConnectionLost()))
    attempt.settle()


def test_a_connection_that_is_ready_too_late_is_cut():
    """Nobody waits for it any more."""
    attempt = Attempt()
    transport = attempt.accept()
    attempt.reactor.advance(TIMEOUT_S)
    attempt.made.aborted = False
    attempt.connecting.ready(attempt.made)
    assert attempt.made.aborted
    assert transport.ended == "aborted"
    attempt.settle()


@pytest.mark.parametrize("how", ["refused", "lost", "late"])
def test_a_known_name_is_used_until_it_serves_nobody(how):
    """`upstream.dns_ttl_s`: the next connection does not wait for the resolver; one that fails makes it asked again."""
    names, resolver = DNSCache(30, lambda: 0.0), Resolver()
    for _ in range(2):
        attempt = Attempt("http://a.example:9000", resolver, names)
        attempt.accept()
        attempt.connecting.ready(attempt.made)
        assert attempt.result is attempt.made
    assert resolver.asked == ["a.example"]
    attempt = Attempt("http://a.example:9000", resolver, names)
    if how == "refused":
        attempt.refuse(ConnectionRefusedError())
    elif how == "lost":
        attempt.accept()
        attempt.made.connectionLost(Failure(ConnectionLost()))
    else:
        attempt.reactor.advance(TIMEOUT_S)
    assert isinstance(attempt.result, UpstreamError)
    Attempt("http://a.example:9000", resolver, names).connecting.done.cancel()
    assert resolver.asked == ["a.example", "a.example"]
