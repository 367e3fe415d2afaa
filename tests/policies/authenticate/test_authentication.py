"""The three ways to authenticate, as a client and an upstream see them."""

import pytest
from fakes import Forward, outcome_of, through

from openai_proxy.exchange.access_errors import ExpiredKey, InvalidKey, KeyBlocked, MissingCredentials
from openai_proxy.exchange.errors import KeyStoreUnavailable
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.record import Exchange
from openai_proxy.policies.authenticate.inject import Inject
from openai_proxy.policies.authenticate.keyring import ClientKey, Keyring
from openai_proxy.policies.authenticate.pass_through import PassThrough
from openai_proxy.policies.authenticate.tenants import Tenants
from openai_proxy.wire.keys import key_digest


def run(stage, headers):
    """Return (the request as it went on or None, the failure or None, the exchange)."""
    exchange = Exchange(started=0.0, timestamp=1000.0, method="POST", path="/v1/x")
    forward = Forward()
    request = ProxyRequest(method=b"POST", target=b"/x", headers=headers, body=None, exchange=exchange)
    error = outcome_of(through(stage, request, forward))
    return (forward.requests or [None])[0], error, exchange


def test_pass_through_changes_nothing():
    """The client's own headers go upstream; the connection is kept for this credential only."""
    headers = [(b"Authorization", b"Bearer sk-1")]
    request, failure, exchange = run(PassThrough(), headers)
    assert failure is None
    assert headers == request.headers
    assert request.credential == b"Bearer sk-1"
    assert exchange.key is None
    assert exchange.credential_id.startswith("cred-")
    assert "sk-1" not in exchange.credential_id


def test_pass_through_without_credentials_is_refused():
    """Nobody is let through without a credential."""
    request, failure, _ = run(PassThrough(), [])
    assert request is None
    assert isinstance(failure, MissingCredentials)


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer c")], [(b"api-key", b"c")]])
def test_inject_sends_its_own_key_for_everybody(headers):
    """The configured key goes upstream whatever the client sent."""
    request, _, exchange = run(Inject(b"sk-up"), headers)
    assert request.headers == [(b"Authorization", b"Bearer sk-up")]
    assert request.credential == b"sk-up"
    assert exchange.key is None
    assert exchange.credential_id == "everyone"


TENANTS = Tenants(Keyring([ClientKey("alice", key_digest(b"sk-a"), b"sk-up")]), b"api-key")


def test_tenants_swap_the_key():
    """A known key is named, and its upstream key goes upstream in the configured header."""
    request, _, exchange = run(TENANTS, [(b"authorization", b"bearer sk-a")])
    assert request.headers == [(b"api-key", b"sk-up")]
    assert request.credential == b"sk-up"
    assert (exchange.key, exchange.credential_id) == ("alice", "alice")


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ([], MissingCredentials),
        ([(b"authorization", b"Bearer ")], MissingCredentials),
        ([(b"authorization", b"Basic sk-a")], InvalidKey),
        ([(b"authorization", b"sk-a")], InvalidKey),
        ([(b"authorization", b"Bearer sk-b")], InvalidKey),
    ],
)
def test_tenants_refuse_strangers(headers, error):
    """No key and a wrong key have different errors, and nothing goes upstream."""
    request, failure, exchange = run(TENANTS, headers)
    assert request is None
    assert type(failure) is error
    assert exchange.key is None


def test_a_key_that_may_stand_in_a_store_is_not_called_wrong():
    """Before the store was read: 401 would make its user throw it away."""
    complete = []
    tenants = Tenants(Keyring([]), is_complete=lambda: bool(complete))
    show = [(b"authorization", b"Bearer sk-a")]
    assert type(run(tenants, show)[1]) is KeyStoreUnavailable
    complete.append(True)
    assert type(run(tenants, show)[1]) is InvalidKey


def test_a_blocked_key_is_refused_by_its_name():
    """Its operator sees in the log who still calls with it."""
    entry = ClientKey("alice", key_digest(b"sk-a"), b"sk-up", refused="no")
    request, failure, exchange = run(Tenants(Keyring([entry])), [(b"authorization", b"Bearer sk-a")])
    assert (request, type(failure), exchange.key) == (None, KeyBlocked, "alice")


def test_expired_key_is_refused_by_its_name():
    """Who looks into the logs for the callers of an expired key found nobody there."""
    entry = ClientKey("alice", key_digest(b"sk-a"), b"sk-up", expires_at=1000.0)
    request, failure, exchange = run(Tenants(Keyring([entry])), [(b"authorization", b"Bearer sk-a")])
    assert request is None
    assert type(failure) is ExpiredKey
    assert exchange.key == "alice"
