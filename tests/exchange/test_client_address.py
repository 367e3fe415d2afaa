"""Whose address a request has, by its connection and by what trusted proxies say."""

from ipaddress import ip_address

import pytest

from openai_proxy.exchange.client_address import (
    Peer,
    TrustedProxies,
    is_forwarded,
    parse_address,
    parse_network,
)
from openai_proxy.exchange.record import Exchange

PROXIES = TrustedProxies.of(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])


def client(peer, *lines, proxies=PROXIES):
    address = ip_address(peer)
    return Peer(address, proxies, address in proxies).client_address([(b"X-Forwarded-For", x) for x in lines])


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [b"1.1.1.1"], "203.0.113.9"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"1.1.1.1,203.0.113.9 , 10.9.9.9,192.0.2.7"], "203.0.113.9"),
        ("10.1.1.1", [b"1.1.1.1", b"203.0.113.9", b"10.9.9.9"], "203.0.113.9"),
        ("10.1.1.1", [b"203.0.113.9:4711"], "203.0.113.9"),
        ("10.1.1.1", [b"[2001:db9::1]:4711"], "2001:db9::1"),
        ("10.1.1.1", [b"2001:db9::1"], "2001:db9::1"),
        ("10.1.1.1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        ("10.1.1.1", [b"203.0.113.9, unknown"], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9, unknown, 10.2.2.2"], "10.2.2.2"),
        ("10.1.1.1", [b"203.0.113.9,"], "10.1.1.1"),
        ("10.1.1.1", [b"x" * 70_000], "10.1.1.1"),
        ("10.1.1.1", [b"1.1.1.1," + b"10.0.0.3," * 5000 + b"10.0.0.3"], "10.0.0.3"),
    ],
)
def test_the_last_address_that_is_no_trusted_proxy(peer, lines, expected):
    """What stands before it, its sender may have invented; strangers' headers count for nothing."""
    assert client(peer, *lines) == expected


def test_a_balancer_that_names_nobody():
    """By the PROXY protocol: its own address is not its client's; X-Forwarded-For still counts, if it is trusted."""
    headers = [(b"x-forwarded-for", b"203.0.113.9")]
    assert Peer(None, PROXIES, False).client_address(headers) is None
    assert Peer(None, PROXIES, True).client_address([]) is None
    assert Peer(None, PROXIES, True).client_address(headers) == "203.0.113.9"


def test_an_exchange_works_it_out_when_asked():
    """Once; None if there is no connection."""
    exchange = Exchange(0.0, 0.0, "GET", "/")
    assert exchange.client_address is None
    exchange = Exchange(0.0, 0.0, "GET", "/")
    exchange.peer = Peer(ip_address("10.0.0.1"), PROXIES, True)
    exchange.request_headers = [(b"X-Forwarded-For", b"203.0.113.9")]
    assert exchange.client_address == "203.0.113.9"
    exchange.request_headers = None
    assert exchange.client_address == "203.0.113.9"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (' "1.2.3.4:5" ', "1.2.3.4"),
        ("fe80::1%eth0", "fe80::1"),
        ("[::1]", "::1"),
        ("_hidden", None),
        ("", None),
        ("1.2.3.4.5", None),
        ("01.2.3.4", None),
    ],
)
def test_addresses_as_proxies_write_them(text, expected):
    """With ports, brackets, quotes and zones; anything else is none."""
    assert parse_address(text) == (None if expected is None else ip_address(expected))


def test_trust_by_range_and_by_unix_socket():
    """An IPv4 range in IPv6 form holds IPv4 addresses; a Unix peer needs `unix:`."""
    assert ip_address("10.1.2.3") in TrustedProxies((parse_network("::ffff:10.0.0.0/104"),))
    assert ip_address("::1") not in PROXIES
    assert None not in PROXIES
    assert None in TrustedProxies.of(["unix:"])
    assert not TrustedProxies()
    for wrong in ("10.0.0.1/8", "host.example", "10.0.0.0/33"):
        with pytest.raises(ValueError):
            TrustedProxies.of([wrong])


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-For",
        b"X-Forwarded-Host",
        b"x-forwarded-proto",
        b"X-Forwarded-Anything",
        b"Forwarded",
        b"Via",
        b"CF-Connecting-IP",
        b"CF-Ray",
        b"CDN-Loop",
        b"True-Client-IP",
        b"X-Client-IP",
        b"X-Real-IP",
        b"Fastly-Client-IP",
        b"X-Original-Forwarded-For",
        b"X-Envoy-External-Address",
    ],
)
def test_what_forwarders_add(name):
    """In any case."""
    assert is_forwarded([b"Host", name])
    assert not is_forwarded([b"Host", b"User-Agent", b"Authorization"])
