"""The errors of whoever may not do what it asks: its key, address, model, endpoint or web origin. Pure."""

from __future__ import annotations

from .errors import ProxyError


class MissingCredentials(ProxyError):
    status, reason = 401, b"Unauthorized"
    type, code = "invalid_request_error", "missing_api_key"
    default_message = (
        "You didn't provide an API key to this proxy (openai-proxy). Provide it in an Authorization header "
        "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )


class MissingCredentialsOfLocalServer(MissingCredentials):
    """The same for a plain http upstream, which often needs no key."""

    default_message = (
        f"{MissingCredentials.default_message} If the server behind this proxy needs no key, "
        "set auth.required = false (AUTH__REQUIRED=false) in the proxy's configuration."
    )


class InvalidKey(ProxyError):
    status, reason = 401, b"Unauthorized"
    type, code = "invalid_request_error", "invalid_api_key"
    default_message = "Incorrect API key provided: this proxy (openai-proxy) does not know this key. Whoever runs it gives out keys."


class ExpiredKey(ProxyError):
    status, reason = 401, b"Unauthorized"
    type, code = "invalid_request_error", "expired_api_key"
    default_message = "This API key has expired."


class KeyBlocked(ProxyError):
    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "key_blocked"
    default_message = "This API key is blocked at openai-proxy; ask whoever runs it."


class ModelNotAllowed(ProxyError):
    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "model_not_allowed"
    default_message = "This API key may not use the requested model."


class EndpointNotAllowed(ProxyError):
    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "endpoint_not_allowed"
    default_message = "openai-proxy does not let this API key call this endpoint."


class AddressNotAllowed(ProxyError):
    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "address_not_allowed"
    default_message = (
        "openai-proxy does not take this API key from your address: whoever runs it can list the address"
        " in `addresses` of the key."
    )


class WebSocketNotAllowed(ProxyError):
    """Clients that try a WebSocket switch to HTTP at once after this status (RFC 9110 §15.5.22)."""

    status, reason = 426, b"Upgrade Required"
    type, code = "invalid_request_error", "websocket_not_allowed"
    default_message = (
        "openai-proxy does not open a WebSocket here, because its messages cannot be read: send the"
        " same request by HTTP (POST)."
    )


class WebSocketNotRead(WebSocketNotAllowed):
    """The same if reading WebSockets is forbidden: no other way of opening one helps."""

    status, reason = 403, b"Forbidden"


class NotMeasured(ProxyError):
    """The key's budget cannot measure the cost of the request; `param` names the reason."""

    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "not_measured"
    default_message = "openai-proxy cannot measure what this request costs, and this API key has a budget."


class OriginNotAllowed(ProxyError):
    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "origin_not_allowed"
    default_message = (
        "openai-proxy does not let pages of this web origin call it: whoever runs it can list the origin"
        " in cors.origins."
    )
