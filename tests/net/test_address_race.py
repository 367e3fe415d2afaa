"""The address that answered the last time is tried by itself, the others of its name only if it does not answer."""

import pytest
from fakes import results_of
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.net.dns_cache import DNSCache, tell_addresses
from openai_proxy.net.host_names import ATTEMPT_DELAY_S, host_endpoint

PORT = 443


class Race:
    """A name whose addresses are known, in a reactor without sockets."""

    def __init__(self, *hosts):
        self.reactor = MemoryReactorClock()
        self.reactor.nameResolver = self
        self.asked = 0
        self.hosts = hosts
        self.names = DNSCache(30, lambda: 0.0)
        self.connect()  # which looks the name up
        self.connecting.cancel()
        assert [type(error) for error in self.results] == [ConnectingCancelledError]
        self.reactor.tcpClients.clear()
        self.connect()

    def resolveHostName(self, receiver, name, portNumber=0, **options):
        self.asked += 1
        kinds = [IPv6Address if ":" in host else IPv4Address for host in self.hosts]
        addresses = [kind("TCP", host, portNumber) for kind, host in zip(kinds, self.hosts, strict=True)]
        return tell_addresses(receiver, name, addresses)

    def connect(self):
        endpoint = host_endpoint(self.reactor, "a.example", PORT, 10, self.names)
        self.connecting = endpoint.connect(Factory.forProtocol(Protocol))
        self.results = results_of(self.connecting)

    @property
    def tried(self):
        return [client[0] for client in self.reactor.tcpClients]

    def fail(self, number, error=ConnectionRefusedError):
        """The attempt of this number fails."""
        factory = self.reactor.tcpClients[number][2]
        factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(error()))

    def accept(self, number):
        """The attempt of this number connects; return its protocol."""
        protocol = self.reactor.tcpClients[number][2].buildProtocol(None)
        protocol.makeConnection(None)
        return protocol._wrappedProtocol

    def settle(self):
        """Nothing is left waiting."""
        assert self.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("hosts", [["10.0.0.1"], ["::1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2", "::1"]])
def test_the_first_that_answers_at_once_is_tried_alone(hosts):
    """No other address is bothered, and nobody looks the name up."""
    race = Race(*hosts)
    protocol = race.accept(0)
    assert race.results == [protocol]
    assert race.tried == hosts[:1]
    assert race.asked == 1
    race.settle()


def test_the_others_are_tried_at_once_if_it_refuses():
    """Whoever waits for the next address waits for nothing."""
    race = Race("10.0.0.1", "10.0.0.2")
    race.fail(0)
    assert race.tried == ["10.0.0.1", "10.0.0.2"]
    protocol = race.accept(1)
    assert race.results == [protocol]
    race.settle()


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_the_others_are_tried_if_it_says_nothing(winner):
    """One each 50 ms; the first that connects ends all others."""
    race = Race("10.0.0.1", "10.0.0.2", "10.0.0.3")
    race.reactor.pump([ATTEMPT_DELAY_S] * 2)
    assert race.tried == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    protocol = race.accept(winner)
    assert race.results == [protocol]
    stopped = [connector.stoppedConnecting for connector in race.reactor.connectors[-3:]]
    assert stopped == [number != winner for number in range(3)]
    race.settle()


def test_the_last_failure_is_reported():
    """When no address serves; one that fails after the others have begun ends nothing by itself."""
    race = Race("10.0.0.1", "10.0.0.2")
    race.reactor.advance(ATTEMPT_DELAY_S)
    race.fail(0)
    assert not race.connecting.called
    race.reactor.advance(ATTEMPT_DELAY_S)
    race.fail(1, TimeoutError)
    assert type(race.results[0]) is TimeoutError
    race.settle()


@pytest.mark.parametrize("after_s", [0, ATTEMPT_DELAY_S])
def test_whoever_leaves_ends_every_attempt(after_s):
    """Before and after the others were tried."""
    race = Race("10.0.0.1", "10.0.0.2")
    race.reactor.advance(after_s)
    race.connecting.cancel()
    assert type(race.results[0]) is CancelledError
    assert all(connector.stoppedConnecting for connector in race.reactor.connectors[-len(race.tried) :])
    assert len(race.tried) == (2 if after_s else 1)
    race.settle()
