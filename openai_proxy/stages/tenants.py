"""Admit the client keys this proxy knows and swap each for its upstream key.

One of the three ways to authenticate; see `pass_through` and `inject`.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ..core.credentials import find_client_key, find_credential, swap_credentials
from ..core.errors import InvalidKey, MissingCredentials
from ..core.keyring import Keyring
from ..core.plain_heads import answer
from ..messages import Forward, ProxyRequest, ProxyResponse


class Tenants:
    """Refuse unknown and expired keys; no client key goes further than here."""

    def __init__(self, keyring: Keyring, auth_header: bytes = b"authorization") -> None:
        self._keyring = keyring
        self._auth_header = auth_header

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        exchange = request.exchange
        key = answer(request.headers, find_client_key)
        if key is None:
            raise InvalidKey if find_credential(request.headers) else MissingCredentials
        entry = self._keyring.find(key, exchange.timestamp)
        exchange.key = exchange.credential_id = entry.name
        request.headers = swap_credentials(request.headers, self._auth_header, entry.upstream_key)
        request.credential = entry.upstream_key
        return forward(request)
