"""Admit only configured client keys, and replace each by its upstream key.

One of the three ways to authenticate; see `pass_through` and `inject`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...exchange.access_errors import ExpiredKey, InvalidKey, KeyBlocked, MissingCredentials
from ...exchange.errors import KeyStoreUnavailable
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...wire.keys import key_name
from .caller import Callers
from .credentials import CredentialSwap, find_client_digest, find_credential
from .keyring import Keyring

_NOT_READ = "openai-proxy does not know this API key, and could not read its key store yet; try again."


class Tenants:
    """Refuse unknown and expired keys; a client key is never forwarded.

    `is_complete` tells whether the keyring is complete, or a key store is still to be read.
    """

    def __init__(
        self,
        keyring: Keyring,
        auth_header: bytes = b"authorization",
        callers: Callers | None = None,
        is_complete: Callable[[], bool] = lambda: True,
    ) -> None:
        self._keyring = keyring
        self._is_complete = is_complete
        self._callers = callers or Callers()
        self._swaps = {
            entry.name: CredentialSwap(auth_header, entry.upstream_key, then=entry.account.on)
            for entry in keyring
        }

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        exchange = request.exchange
        headers = request.headers
        digest = find_client_digest(headers)
        if digest is None:
            raise InvalidKey if find_credential(headers) else MissingCredentials
        try:
            entry = self._keyring.find(digest, exchange.timestamp)
        except (ExpiredKey, KeyBlocked):
            exchange.key = self._keyring.owner(digest)  # for the operator: shows who still uses it
            raise
        except InvalidKey:
            exchange.unknown_key = key_name(digest)
            if not self._is_complete():  # it may be in a store that has not been read yet
                raise KeyStoreUnavailable(_NOT_READ) from None
            raise
        name = exchange.key = exchange.credential_id = entry.name
        request.caller = self._callers.further(headers)
        request.headers = self._swaps[name].on(headers)
        request.credential = entry.upstream_key
        return forward(request)
