"""What a key may not call, and from where it may not be used, is refused by the head only."""

import pytest
from fakes import exchange, through

from openai_proxy.exchange.client_address import Peer, TrustedProxies, parse_address, parse_network
from openai_proxy.exchange.errors import AddressNotAllowed, EndpointNotAllowed
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.fences.allow_endpoints import AllowEndpoints
from openai_proxy.wire.endpoint_rules import EndpointRules, Fence

FENCES = {"fenced": Fence(EndpointRules(["GET files/*"]), is_default=False)}
STAGE = AllowEndpoints(FENCES, Fence(None), {"near": [parse_network("10.0.0.0/8")]})


class Unread:
    """A body that nobody may ask for."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was asked of the body")


def refused(key, method=b"POST", endpoint="files/{id}", peer=None, headers=None):
    record = exchange(credential_id=key, endpoint=endpoint, peer=peer, request_headers=headers or [])
    request = ProxyRequest(method, b"/files/f", [], Unread(), record, endpoint=endpoint)
    forwarded, failures = [], []

    async def forward(request):
        forwarded.append(request)

    through(STAGE, request, forward).addErrback(failures.append)
    assert len(forwarded) + len(failures) == 1
    return failures[0].value if failures else None


def test_an_endpoint_that_is_not_listed_is_refused_before_the_body_is_read():
    """403 with the endpoint's name and what may be called; others may call it."""
    error = refused("fenced")
    assert isinstance(error, EndpointNotAllowed)
    assert "POST files/{id}" in error.message
    assert "GET files/*" in error.message
    assert refused("fenced", b"GET") is None
    assert refused("fenced", b"OPTIONS") is None
    assert refused("another") is None
    assert isinstance(refused("another", endpoint="organization/users"), EndpointNotAllowed)


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
    known = Peer(address, proxies, is_proxy=peer == "127.0.0.1")
    headers = [] if forwarded is None else [(b"X-Forwarded-For", forwarded)]
    error = refused("near", peer=known, headers=headers)
    assert (error is None) is expected
    assert error is None or isinstance(error, AddressNotAllowed)
