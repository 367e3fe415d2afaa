"""What a key may not call, and from where it may not be used, is refused by the head only."""

import pytest
from fakes import exchange, refusal, through

from openai_proxy.exchange.access_errors import AddressNotAllowed, EndpointNotAllowed
from openai_proxy.exchange.client_address import Peer, TrustedProxies, parse_address, parse_network
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.authorize.allow_endpoints import AllowEndpoints
from openai_proxy.wire.endpoint_rules import EndpointAccess, EndpointRules

ACCESS = {"restricted": EndpointAccess(EndpointRules(["GET files/*"]), is_default=False)}
STAGE = AllowEndpoints(ACCESS, EndpointAccess(None), {"near": [parse_network("10.0.0.0/8")]})


class Unread:
    """A body that nobody may ask for."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was asked of the body")


def refused(key, method=b"POST", endpoint="files/{id}", peer=None, headers=None, sent=()):
    record = exchange(credential_id=key, endpoint=endpoint, peer=peer, request_headers=headers or [])
    request = ProxyRequest(method, b"/files/f", list(sent), Unread(), record, endpoint=endpoint)
    return refusal(STAGE, request)


def test_an_endpoint_that_is_not_listed_is_refused_before_the_body_is_read():
    """403 with the endpoint's name and what may be called; others may call it."""
    error = refused("restricted")
    assert isinstance(error, EndpointNotAllowed)
    assert "POST files/{id}" in error.message
    assert "GET files/*" in error.message
    assert refused("restricted", b"GET") is None
    assert refused("restricted", b"OPTIONS") is None
    assert refused("another") is None
    assert isinstance(refused("another", endpoint="organization/users"), EndpointNotAllowed)


@pytest.mark.parametrize(
    "line",
    [
        (b"X-HTTP-Method-Override", b"DELETE"),
        (b"x_http_method_override", b"DELETE"),
        (b"X-HTTP-Method", b"DELETE"),
        (b"X-Method-Override", b"PUT"),
    ],
)
def test_a_header_that_names_another_method_is_refused(line):
    """Some servers go by it, so that it would evade the rules."""
    assert isinstance(refused("restricted", b"GET", sent=[line]), EndpointNotAllowed)
    assert isinstance(refused("another", sent=[line]), EndpointNotAllowed)
    assert (
        refused("restricted", b"GET", sent=[(b"X-HTTP-Method-Override", b"get"), (b"X-Method", b"PUT")])
        is None
    )


def test_a_header_that_names_another_path_is_dropped():
    """Some servers go by it; nginx and others write the path of the request itself into it."""
    lines = [
        (b"X-Original-URL", b"/v1/files"),
        (b"x_rewrite_url", b"/"),
        (b"X-Original-Urn", b"/"),
        (b"a", b"b"),
    ]
    request = ProxyRequest(
        b"GET", b"/files/f", lines, None, exchange(credential_id="restricted"), endpoint="files/{id}"
    )
    passed = []

    async def forward(request):
        passed.append(request.headers)

    through(STAGE, request, forward)
    assert passed == [lines[2:]]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.1.2.3", None, True),
        ("::ffff:10.1.2.3", None, True),
        ("8.8.8.8", None, False),
        ("8.8.8.8", b"10.1.2.3", False),
        ("127.0.0.1", b"10.1.2.3", True),
        ("127.0.0.1", b"10.1.2.3, 8.8.8.8", False),
        ("127.0.0.1", b"8.8.8.8, 10.1.2.3", True),
        ("127.0.0.1", b"nonsense", False),
        ("127.0.0.1", None, False),
        (None, None, False),
    ],
)
def test_a_key_is_used_from_its_addresses_only(peer, forwarded, expected):
    """What a stranger says of its own address does not count; what a listed proxy says does."""
    proxies = TrustedProxies.of(["127.0.0.0/8"])
    address = None if peer is None else parse_address(peer)
    seen_from = Peer(address, proxies, is_proxy=peer == "127.0.0.1")
    headers = [] if forwarded is None else [(b"X-Forwarded-For", forwarded)]
    error = refused("near", peer=seen_from, headers=headers)
    assert (error is None) is expected
    assert error is None or isinstance(error, AddressNotAllowed)
