"""The errors that this proxy itself raises, one class for each cause.

Status, type and code are those of the public table of errors
(docs/reference/errors.md). Any room may raise them; only the web edge renders
them. The errors of clients that may not do what they ask are in
`access_errors`, the failures of upstreams in `upstream_errors`, the errors of
the proxy's own pages in `page_errors`. Pure.
"""

from __future__ import annotations

import orjson

from .outcome import Outcome


class ProxyError(Exception):
    """A refusal or failure of this proxy, as the client will see it.

    `message` is for people and must hold no key, prompt or body.
    `param` names the offending request parameter, or None.
    `headers` are added to the response (`Retry-After`, `Allow`, ...).
    """

    status: int = 500
    reason: bytes = b"Internal Server Error"
    type: str = "server_error"
    code: str | None = "internal_error"
    outcome: Outcome = Outcome.REJECTED
    default_message: str = "The proxy failed to handle this request."

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.message = message or self.default_message
        self.param = param
        self.headers = headers
        super().__init__(self.message)

    def body(self) -> bytes:
        """Return the JSON document in OpenAI's shape, all four members present."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


# ---- the request is wrong


class MalformedRequest(ProxyError):
    status, reason = 400, b"Bad Request"
    type, code = "invalid_request_error", "malformed_request"
    default_message = "The request is not valid HTTP/1.1."


class InvalidJSON(ProxyError):
    status, reason = 400, b"Bad Request"
    type, code = "invalid_request_error", "invalid_json"
    default_message = "We could not parse the JSON body of your request: it must be a JSON object."


class UnreadableBody(ProxyError):
    """A rule of the key or model needs this body: an unread one would bypass that rule (RFC 9110 §15.5.16)."""

    status, reason = 415, b"Unsupported Media Type"
    type, code = "invalid_request_error", "unreadable_body"
    default_message = (
        "This proxy must read the JSON body of your request, because a rule of your key or of a model depends on it, "
        "and cannot: it is not a JSON object, or its Content-Encoding is unknown here."
    )


class MissingParameter(ProxyError):
    status, reason = 400, b"Bad Request"
    type, code = "invalid_request_error", "missing_required_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class ModelElsewhere(ProxyError):
    """A turn names a model that is served by another upstream than that of its WebSocket."""

    status, reason = 400, b"Bad Request"
    type, code = "invalid_request_error", "model_elsewhere"


class CancelledByOperator(ProxyError):
    """The operator stopped the exchange. The status is one that no client retries."""

    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "cancelled_by_operator"
    outcome = Outcome.CANCELLED
    default_message = "Whoever runs this proxy (openai-proxy) has cancelled this request."

    def __init__(self) -> None:
        super().__init__(headers=((b"x-should-retry", b"false"),))


class NoSuchObject(ProxyError):
    """A stored object does not exist, or belongs to another key: the answer is the same, in OpenAI's words."""

    status, reason = 404, b"Not Found"
    type = "invalid_request_error"
    code = None  # OpenAI's own answer has no code

    def __init__(self, message: str) -> None:
        super().__init__(message, param="id")


class StateElsewhere(ProxyError):
    """The request refers to state at an upstream that cannot serve it; `param` names the reference."""

    status, reason = 400, b"Bad Request"
    type, code = "invalid_request_error", "state_elsewhere"
    default_message = (
        "openai-proxy cannot send this request anywhere: what it refers to lives at different upstreams."
    )


class UnknownURL(ProxyError):
    status, reason = 404, b"Not Found"
    type, code = "invalid_request_error", "unknown_url"
    default_message = (
        "Unknown request URL. This proxy serves the API under /v1, for example /v1/chat/completions: "
        "check the URL for typos, or the API reference."
    )


class MethodNotAllowed(ProxyError):
    status, reason = 405, b"Method Not Allowed"
    type, code = "invalid_request_error", "method_not_allowed"

    def __init__(self, allowed: tuple[bytes, ...]) -> None:
        listed = b", ".join(allowed)
        super().__init__(
            f"This method is not allowed here. Allowed: {listed.decode('ascii')}.",
            headers=((b"Allow", listed),),
        )


class RequestTimeout(ProxyError):
    status, reason = 408, b"Request Timeout"
    type, code = "invalid_request_error", "request_timeout"
    outcome = Outcome.TIMEOUT
    default_message = "The request took too long to arrive at openai-proxy."


BODY_LIMIT = "limits.body_bytes"
JSON_BODY_LIMIT = "limits.json_body_bytes"


class RequestTooLarge(ProxyError):
    status, reason = 413, b"Content Too Large"
    type, code = "invalid_request_error", "request_too_large"
    default_message = "The request body is larger than this proxy accepts."

    @classmethod
    def above(cls, limit_bytes: int, setting: str) -> RequestTooLarge:
        """Return the error for a body above the limit of a setting."""
        return cls(
            f"The body of this request is larger than the {limit_bytes} bytes that openai-proxy accepts ({setting})."
        )


class URITooLong(ProxyError):
    status, reason = 414, b"URI Too Long"
    type, code = "invalid_request_error", "uri_too_long"
    default_message = "The request target is longer than openai-proxy accepts (limits.target_bytes)."

    @classmethod
    def above(cls, limit_bytes: int) -> URITooLong:
        """Return the error for a target above the limit."""
        return cls(
            f"The request target is longer than the {limit_bytes} bytes that openai-proxy accepts (limits.target_bytes)."
        )


class MisdirectedRequest(ProxyError):
    status, reason = 421, b"Misdirected Request"
    type, code = "invalid_request_error", "misdirected_request"
    default_message = "This proxy does not serve that origin: send only the path."


class HeadersTooLarge(ProxyError):
    status, reason = 431, b"Request Header Fields Too Large"
    type, code = "invalid_request_error", "headers_too_large"
    default_message = (
        "The request's header section is larger than openai-proxy accepts (limits.header_bytes)."
    )

    @classmethod
    def above(cls, limit: int, unit: str, setting: str) -> HeadersTooLarge:
        """Return the error for a header section above the limit of a setting."""
        return cls(
            f"The request's header section has more than the {limit} {unit} that openai-proxy accepts ({setting})."
        )


# ---- a limit is reached


class RateLimited(ProxyError):
    """Base of the errors about limits per client key; `type` says which."""

    status, reason = 429, b"Too Many Requests"
    type, code = "requests", "rate_limit_exceeded"
    outcome = Outcome.LIMIT
    default_message = "Rate limit reached for this API key."


class RequestLimitReached(RateLimited):
    default_message = "Rate limit reached for this API key: too many requests per minute."


class ConcurrencyLimitReached(RateLimited):
    default_message = "Rate limit reached for this API key: too many requests at once."


class TokenLimitReached(RateLimited):
    type = "tokens"
    default_message = "Rate limit reached for this API key: too many tokens per minute."


class BudgetSpent(ProxyError):
    status, reason = 429, b"Too Many Requests"
    type, code = "insufficient_quota", "insufficient_quota"
    outcome = Outcome.LIMIT
    default_message = "The budget of this API key is spent."


# ---- requests go round in a loop


class ProxyLoop(ProxyError):
    """The upstream leads back here. Whoever repeats it multiplies it: every pass of the loop is a client too."""

    status, reason = 508, b"Loop Detected"
    type, code = "upstream_error", "proxy_loop"
    default_message = "This request has passed this proxy too often: the upstream forwards back to it."

    def __init__(self) -> None:
        super().__init__(headers=((b"x-should-retry", b"false"),))


# ---- the proxy cannot serve now


class Unavailable(ProxyError):
    status, reason = 503, b"Service Unavailable"
    type, code = "service_unavailable_error", "overloaded"
    default_message = "openai-proxy has too many requests in flight; try again."

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        super().__init__(message, headers=((b"retry-after", b"%d" % retry_after_s),))


class Overloaded(Unavailable):
    outcome = Outcome.LIMIT


class ShuttingDown(Unavailable):
    code = "shutting_down"
    default_message = "openai-proxy is shutting down; try again in a moment."


class OwnersUnavailable(Unavailable):
    code = "objects_unavailable"
    default_message = "openai-proxy cannot look up the owner of this stored object now; try again."


class KeyStoreUnavailable(Unavailable):
    code = "key_store_unavailable"
    default_message = "openai-proxy cannot reach its key store now; the keys it knows go on working."


class NoUpstreamAvailable(Unavailable):
    code = "no_upstream_available"
    outcome = Outcome.UPSTREAM_ERROR
    default_message = "No upstream is available."


class InternalError(ProxyError):
    """A defect of this proxy; the log has the traceback, the client gets only this."""


class ClientGone(Exception):
    """The client left: clean up, send no answer, never retry."""
