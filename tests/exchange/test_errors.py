"""The public table of errors."""

import json

import pytest

from openai_proxy.exchange import access_errors, errors, upstream_errors
from openai_proxy.exchange.outcome import Outcome

INVALID = "invalid_request_error"
TABLE = [
    (errors.MalformedRequest(), 400, INVALID, "malformed_request"),
    (errors.InvalidJSON(), 400, INVALID, "invalid_json"),
    (errors.MissingParameter("model"), 400, INVALID, "missing_required_parameter"),
    (access_errors.MissingCredentials(), 401, INVALID, "missing_api_key"),
    (access_errors.InvalidKey(), 401, INVALID, "invalid_api_key"),
    (access_errors.ExpiredKey(), 401, INVALID, "expired_api_key"),
    (access_errors.ModelNotAllowed(), 403, INVALID, "model_not_allowed"),
    (errors.UnknownURL(), 404, INVALID, "unknown_url"),
    (errors.MethodNotAllowed((b"GET",)), 405, INVALID, "method_not_allowed"),
    (errors.RequestTimeout(), 408, INVALID, "request_timeout"),
    (errors.RequestTooLarge(), 413, INVALID, "request_too_large"),
    (errors.URITooLong(), 414, INVALID, "uri_too_long"),
    (errors.HeadersTooLarge(), 431, INVALID, "headers_too_large"),
    (errors.RequestLimitReached(), 429, "requests", "rate_limit_exceeded"),
    (errors.ConcurrencyLimitReached(), 429, "requests", "rate_limit_exceeded"),
    (errors.TokenLimitReached(), 429, "tokens", "rate_limit_exceeded"),
    (errors.BudgetSpent(), 429, "insufficient_quota", "insufficient_quota"),
    (errors.InternalError(), 500, "server_error", "internal_error"),
    (upstream_errors.UpstreamUnreachable(), 502, "upstream_error", "upstream_unreachable"),
    (upstream_errors.UpstreamTLSError(), 502, "upstream_error", "upstream_tls_error"),
    (upstream_errors.UpstreamProtocolError(), 502, "upstream_error", "upstream_protocol_error"),
    (errors.ShuttingDown(), 503, "service_unavailable_error", "shutting_down"),
    (errors.Overloaded(), 503, "service_unavailable_error", "overloaded"),
    (errors.NoUpstreamAvailable(), 503, "service_unavailable_error", "no_upstream_available"),
    (upstream_errors.UpstreamTimeout(), 504, "upstream_error", "upstream_timeout"),
    (errors.ProxyLoop(), 508, "upstream_error", "proxy_loop"),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), TABLE, ids=[row[3] for row in TABLE])
def test_cause_has_its_status_type_and_code(error, status, kind, code):
    """Scripts and SDKs decide by these."""
    document = json.loads(error.body())["error"]
    assert list(document) == ["message", "type", "param", "code"]
    assert (error.status, document["type"], document["code"]) == (status, kind, code)
    assert document["message"]
    assert error.reason
    assert isinstance(error.outcome, Outcome)


def test_details_reach_the_client():
    """What a client can act on is in the answer."""
    missing = errors.MissingParameter("messages")
    assert json.loads(missing.body())["error"]["param"] == "messages"
    assert errors.MethodNotAllowed((b"GET", b"POST")).headers == ((b"Allow", b"GET, POST"),)
    assert errors.ShuttingDown(retry_after_s=7).headers == ((b"retry-after", b"7"),)
