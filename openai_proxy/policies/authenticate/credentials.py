"""Find a client's credentials in a request, and replace them.

Reads and swaps header lines. `keyring` decides who may call. Pure. Values of
credentials go nowhere but into the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

from ...exchange.record import HeaderPairs
from ...wire.headers import without

SUBPROTOCOL_PREFIX = b"openai-insecure-api-key."
"""Browsers can set no header on a WebSocket, so the key travels as a subprotocol."""

CREDENTIAL_HEADERS = frozenset(
    (
        b"authorization",
        b"api-key",
        b"x-api-key",
        b"proxy-authorization",
        b"x-goog-api-key",
        b"ocp-apim-subscription-key",
    )
)
"""Names, in lower case, that never reach the upstream if the proxy sends a key of its own."""

_SOURCES = frozenset((b"authorization", b"api-key", b"sec-websocket-protocol"))


def bearer_token(value: bytes) -> bytes | None:
    """Return the token of a Bearer value (possibly empty), None for another scheme."""
    scheme, _, token = value.strip(b" \t").partition(b" ")
    return token.strip(b" \t") if scheme.lower() == b"bearer" else None


def _is_subprotocol_key(item: bytes) -> bool:
    return item[: len(SUBPROTOCOL_PREFIX)].lower() == SUBPROTOCOL_PREFIX


def subprotocol_keys(value: bytes) -> list[bytes]:
    """Return the keys in a list of WebSocket subprotocols; nearly always none or one, possibly empty."""
    items = [item.strip(b" \t") for item in value.split(b",")]
    return [item[len(SUBPROTOCOL_PREFIX) :] for item in items if _is_subprotocol_key(item)]


def _first_of_each(headers: HeaderPairs) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
    """Return the first non-empty (Authorization value, Bearer token, api-key, subprotocol key)."""
    authorization = token = api_key = subprotocol = None
    for name, value in [pair for pair in headers if pair[0].lower() in _SOURCES]:
        lower = name.lower()
        if lower == b"authorization":
            bearer = bearer_token(value)
            if bearer:
                token = token or bearer
            if bearer or (bearer is None and value.strip(b" \t")):
                authorization = authorization or value
        elif lower == b"api-key":
            api_key = api_key or value.strip(b" \t") or None
        else:
            subprotocol = subprotocol or next(iter(subprotocol_keys(value)), None) or None
    return authorization, token, api_key, subprotocol


def find_credential(headers: HeaderPairs) -> bytes | None:
    """Return what identifies the caller when credentials pass unchanged.

    The whole value of the first Authorization line that is not empty, of any
    scheme, else of `api-key`, else the key in the WebSocket subprotocol;
    None if there is none ("Bearer" without a token is none).
    """
    authorization, _, api_key, subprotocol = _first_of_each(headers)
    return authorization or api_key or subprotocol


def find_client_key(headers: HeaderPairs) -> bytes | None:
    """Return the client's key: the first Bearer token, else `api-key`, else the subprotocol's.

    None if there is none; an Authorization of another scheme is no key.
    """
    _, token, api_key, subprotocol = _first_of_each(headers)
    return token or api_key or subprotocol


def find_client_digest(headers: HeaderPairs) -> bytes | None:
    """Return the SHA-256 of what `find_client_key` finds."""
    key = find_client_key(headers)
    return None if key is None else sha256(key).digest()


def replace_credentials(headers: HeaderPairs, auth_header: bytes, key: bytes) -> HeaderPairs:
    """Return `headers` with `key` in place of every credential of the client.

    `auth_header` is `authorization` (in any case; the value gets `Bearer`)
    or the name of another header, which gets the bare key. The line replaces
    the first removed one, or is added at the end. A key in
    Sec-WebSocket-Protocol is swapped within its list, and the other
    subprotocols stay; if it was the only credential, no Authorization is added.
    """
    lower_auth = auth_header.lower()
    bearer = lower_auth == b"authorization"
    line = (b"Authorization", b"Bearer " + key) if bearer else (auth_header, key)
    kept: HeaderPairs = []
    index: int | None = None
    swapped = False
    for pair in headers:
        lower = pair[0].lower()
        if lower in CREDENTIAL_HEADERS or lower == lower_auth:
            if index is None:
                index = len(kept)
        elif lower == b"sec-websocket-protocol":
            value = _swap_subprotocol(pair[1], b"" if swapped else key)
            swapped = swapped or value != pair[1]
            if value:
                kept.append((pair[0], value))
        else:
            kept.append(pair)
    if index is not None or not (swapped and bearer):
        kept.insert(len(kept) if index is None else index, line)
    return kept


class CredentialSwap:
    """`replace_credentials` with one key.

    With `remove_empty`, an empty `key` removes the client's credentials without
    a replacement. `further` are names, in lower case, of more headers that are
    removed with them. `then` is one more change of the header lines.
    """

    __slots__ = ("_auth_header", "_further", "_key", "_remove", "_then")

    def __init__(
        self,
        auth_header: bytes,
        key: bytes,
        remove_empty: bool = False,
        further: Iterable[bytes] = (),
        then: Callable[[HeaderPairs], HeaderPairs] | None = None,
    ) -> None:
        self._auth_header = auth_header
        self._key = key
        self._remove = remove_empty and not key
        self._further = frozenset(further)
        self._then = then

    def on(self, headers: HeaderPairs) -> HeaderPairs:
        """Return `headers` with the key."""
        headers = replace_credentials(headers, self._auth_header, self._key)
        if self._remove:
            headers = without(headers, b"authorization", self._auth_header.lower())
        if self._further:
            headers = without(headers, *self._further)
        return headers if self._then is None else self._then(headers)


def _swap_subprotocol(value: bytes, key: bytes) -> bytes:
    """Return `value` with the first key in it swapped and any further one removed.

    An empty `key` removes all of them. A value without a key comes back as it is.
    """
    if SUBPROTOCOL_PREFIX not in value.lower():
        return value
    items = []
    for item in value.split(b","):
        bare = item.lstrip(b" \t")
        if not _is_subprotocol_key(bare):
            items.append(item)
        elif key:
            lead = item[: len(item) - len(bare)]
            items.append(lead + SUBPROTOCOL_PREFIX + key)
            key = b""
    return b",".join(items).strip(b" \t")
