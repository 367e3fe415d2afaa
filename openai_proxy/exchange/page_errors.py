"""The errors of the proxy's own pages, most of them about changes of client keys. Pure."""

from __future__ import annotations

from .errors import ProxyError


class InvalidValue(ProxyError):
    """`param` names the argument or member."""

    status, reason = 400, b"Bad Request"
    type, code = "invalid_request_error", "invalid_value"


class UnsupportedMediaType(ProxyError):
    status, reason = 415, b"Unsupported Media Type"
    type, code = "invalid_request_error", "unsupported_media_type"
    default_message = "This page takes JSON: Content-Type: application/json, without a Content-Encoding."


class KeyNotFound(ProxyError):
    status, reason = 404, b"Not Found"
    type, code = "invalid_request_error", "key_not_found"
    default_message = "openai-proxy has no client key of that name."


class KeyExists(ProxyError):
    status, reason = 409, b"Conflict"
    type, code = "invalid_request_error", "key_exists"


class KeyInConfig(ProxyError):
    status, reason = 409, b"Conflict"
    type, code = "invalid_request_error", "key_in_config"
    default_message = "This key is in the configuration of openai-proxy: change it there."


class TooManyKeys(ProxyError):
    status, reason = 409, b"Conflict"
    type, code = "invalid_request_error", "too_many_keys"


class NoKeyStore(ProxyError):
    status, reason = 409, b"Conflict"
    type, code = "invalid_request_error", "no_key_store"
    default_message = (
        "Keys cannot be changed while openai-proxy runs: key_store.url (KEY_STORE__URL) is not set."
    )
