"""Who is at the other end of a client's connection, for many connections."""

from fakes import Transport
from twisted.internet.address import IPv4Address, UNIXAddress

from openai_proxy.downstream.peers import peer_of
from openai_proxy.exchange.bounded_memo import BoundedMemo
from openai_proxy.exchange.client_address import TrustedProxies


def connected(address):
    transport = Transport()
    transport.peerAddr = address
    return transport


def test_connections_from_one_address_share_a_peer():
    """Whatever their ports: a backend opens a thousand."""
    memo, nobody = BoundedMemo(8), TrustedProxies()
    first, second, other = (
        peer_of(connected(IPv4Address("TCP", host, port)), nobody, memo)
        for host, port in (("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 1))
    )
    assert first is second
    assert (first.text, other.text) == ("10.0.0.1", "10.0.0.2")


def test_after_a_reload_the_new_proxies_are_trusted():
    """One that was no proxy before the reload is one after it, and the other way round."""
    memo = BoundedMemo(8)
    found = [
        peer_of(connected(IPv4Address("TCP", "10.0.0.1", 1)), TrustedProxies.of(networks), memo).is_proxy
        for networks in ([], ["10.0.0.1"], [])
    ]
    assert found == [False, True, False]


def test_a_unix_socket_has_no_address():
    """Nor has it anything to share."""
    memo = BoundedMemo(8)
    assert peer_of(connected(UNIXAddress(None)), TrustedProxies(), memo).address is None
    assert not memo
