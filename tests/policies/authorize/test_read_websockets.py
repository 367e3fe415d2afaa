"""Which WebSockets have their turns read, which pass unread, and which are not opened."""

import pytest
from fakes import Body, Forward, exchange, outcome_of, response, through

from openai_proxy.exchange.access_errors import WebSocketNotAllowed
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.authorize.read_websockets import ReadWebSockets

EXTENSIONS = (b"Sec-WebSocket-Extensions", b"permessage-deflate")


def opened(key="alice", endpoint="responses", upgrade=True, status=101, **fields):
    """Return what becomes of a handshake: the exchange's inspection, what went up and what came back; or the error."""
    options = {
        "inspect": "auto",
        "limited": frozenset(),
        "reads_all": False,
        "opens_responses": True,
    } | fields
    rules = options.pop("rules", {"alice": "a budget"})
    stage = ReadWebSockets(
        rules, options.pop("everybodys", None), options.pop("free", frozenset()), **options
    )
    request = ProxyRequest(
        b"GET",
        b"/x",
        [(b"Host", b"p"), EXTENSIONS],
        None,
        exchange(credential_id=key),
        upgrade=upgrade,
        endpoint=endpoint,
    )
    forward = Forward(response(Body(), (b"Upgrade", b"websocket"), EXTENSIONS, status=status))
    outcome = outcome_of(through(stage, request, forward))
    if isinstance(outcome, Exception):
        assert not forward.requests
        return outcome
    return (
        request.exchange.inspection,
        EXTENSIONS in forward.requests[0].headers,
        EXTENSIONS in outcome.headers,
    )


@pytest.mark.parametrize("endpoint", ["responses", "realtime", "live", "realtime/translations"])
def test_a_key_with_a_rule_is_read(endpoint):
    """Without extensions in either direction, for nobody here takes compression off."""
    inspection, *extensions = opened(endpoint=endpoint)
    assert (inspection.is_strict, inspection.name, extensions) == (True, endpoint, [False, False])


@pytest.mark.parametrize(
    ("fields", "is_strict"),
    [
        ({"key": "bob"}, None),
        ({"key": "bob", "limited": frozenset(["bob"])}, False),
        ({"key": "bob", "reads_all": True}, False),
        ({"key": "bob", "inspect": "always"}, False),
        ({"key": "bob", "everybodys": "a limit"}, True),
        ({"key": "bob", "everybodys": "a limit", "free": frozenset(["bob"])}, None),
        ({"endpoint": "chat/completions"}, None),
        ({"upgrade": False}, None),
        ({"key": "bob", "inspect": "never", "reads_all": True}, None),
    ],
)
def test_what_needs_nothing_passes_as_it_came(fields, is_strict):
    """Byte for byte, extensions included."""
    inspection, up, down = opened(**fields)
    assert (inspection.is_strict if inspection else None) is is_strict
    assert up is down is (is_strict is None)


def test_a_handshake_that_fails_comes_back_as_it_is():
    """It is HTTP, whatever it says."""
    assert opened(status=426)[2] is True


def test_never_refuses_what_a_rule_needs():
    """In words that name the setting and the way round."""
    error = opened(inspect="never")
    assert isinstance(error, WebSocketNotAllowed)
    assert (error.status, error.code) == (403, "websocket_not_allowed")
    for words in ("websocket.inspect", "WebSocket", "a budget", "HTTP"):
        assert words in error.message


def test_websockets_of_responses_can_be_turned_off():
    """For everybody, with the status that makes clients go on over HTTP."""
    error = opened(key="bob", opens_responses=False)
    assert isinstance(error, WebSocketNotAllowed)
    assert error.status == 426
    assert "websocket.responses" in error.message
    assert opened(key="bob", endpoint="realtime", opens_responses=False)[0] is None
