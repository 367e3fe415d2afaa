"""Admit the client keys this proxy knows and swap each for its upstream key.

One of the three ways to authenticate; see `pass_through` and `inject`.
"""

from __future__ import annotations

from ..core.credentials import find_client_key, find_credential, replace_credentials
from ..core.errors import InvalidKey, MissingCredentials
from ..core.keyring import Keyring
from ..messages import Forward, ProxyRequest, ProxyResponse


class Tenants:
    """Refuse unknown and expired keys; no client key goes further than here."""

    def __init__(self, keyring: Keyring, auth_header: bytes = b"authorization") -> None:
        self._keyring = keyring
        self._auth_header = auth_header

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        key = find_client_key(request.headers)
        if key is None:
            raise InvalidKey if find_credential(request.headers) else MissingCredentials
        entry = self._keyring.find(key, exchange.timestamp)
        exchange.key = exchange.credential_id = entry.name
        headers = replace_credentials(request.headers, self._auth_header, entry.upstream_key)
        return await forward(request.evolve(headers=headers, credential=entry.upstream_key))
