"""Where a client's credentials stand in a request, and their replacement.

Reads and swaps header lines; decides nothing about who may call: that is
`keyring`'s. Pure. Values of credentials go nowhere but the result.
"""

from __future__ import annotations

from hashlib import sha256
from operator import itemgetter

from .headers import HeaderPairs
from .short_memo import short_memo

SUBPROTOCOL_PREFIX = b"openai-insecure-api-key."
"""Browsers can set no header on a WebSocket, so the key travels as a subprotocol."""

CREDENTIAL_HEADERS = frozenset((b"authorization", b"api-key", b"x-api-key", b"proxy-authorization"))
"""Names, in lower case, that never reach the upstream where a key of ours does."""

_SOURCES = frozenset((b"authorization", b"api-key", b"sec-websocket-protocol"))


def _bearer_token(value: bytes) -> bytes | None:
    """Return the token of a Bearer value (possibly empty), None for another scheme."""
    scheme, _, token = value.strip(b" \t").partition(b" ")
    return token.strip(b" \t") if scheme.lower() == b"bearer" else None


def _is_subprotocol_key(item: bytes) -> bool:
    return item[: len(SUBPROTOCOL_PREFIX)].lower() == SUBPROTOCOL_PREFIX


def _subprotocol_key(value: bytes) -> bytes | None:
    for item in value.split(b","):
        item = item.strip(b" \t")
        if _is_subprotocol_key(item):
            return item[len(SUBPROTOCOL_PREFIX) :]
    return None


def _first_of_each(headers: HeaderPairs) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
    """Return the first non-empty (Authorization value, Bearer token, api-key, subprotocol key)."""
    authorization = token = api_key = subprotocol = None
    for name, value in [pair for pair in headers if pair[0].lower() in _SOURCES]:
        lower = name.lower()
        if lower == b"authorization":
            bearer = _bearer_token(value)
            if bearer:
                token = token or bearer
            if bearer or (bearer is None and value.strip(b" \t")):
                authorization = authorization or value
        elif lower == b"api-key":
            api_key = api_key or value.strip(b" \t") or None
        else:
            subprotocol = subprotocol or _subprotocol_key(value) or None
    return authorization, token, api_key, subprotocol


def find_credential(headers: HeaderPairs) -> bytes | None:
    """Return what identifies the caller where credentials pass unchanged.

    The whole value of the first Authorization line that is not empty, of any
    scheme, else of `api-key`, else the key in the WebSocket subprotocol;
    None where there is none ("Bearer" without a token is none).
    """
    authorization, _, api_key, subprotocol = _first_of_each(headers)
    return authorization or api_key or subprotocol


def find_client_key(headers: HeaderPairs) -> bytes | None:
    """Return the client's key: the first Bearer token, else `api-key`, else the subprotocol's.

    None where there is none; an Authorization of another scheme is no key.
    """
    _, token, api_key, subprotocol = _first_of_each(headers)
    return token or api_key or subprotocol


def find_client_digest(headers: HeaderPairs) -> bytes | None:
    """Return the SHA-256 of what `find_client_key` finds."""
    key = find_client_key(headers)
    return None if key is None else sha256(key).digest()


def find_caller(headers: HeaderPairs) -> tuple[bytes, str] | None:
    """Return what identifies the caller where credentials pass unchanged, and its `credential_id`.

    What `find_credential` finds, nearly always. All of them where a request
    has several that differ: nobody but the upstream knows which one counts,
    and whoever shows one of two must not pass for who shows both.
    """
    credential = find_credential(headers)
    if credential is None:
        return None
    found = _all_credentials(headers)
    if len({_bearer_token(value) or value for _, value in found}) > 1:
        found.sort(key=itemgetter(0))
        credential = b"\n".join([b"%b: %b" % pair for pair in found])
    return credential, credential_id(credential)


def _all_credentials(headers: HeaderPairs) -> HeaderPairs:
    """Return every credential that is not empty, in order: its header's name in lower case, its value."""
    found: HeaderPairs = []
    for name, value in headers:
        lower = name.lower()
        if lower == b"sec-websocket-protocol":
            credential = _subprotocol_key(value)
        else:
            credential = value.strip(b" \t") if lower in CREDENTIAL_HEADERS else None
        if credential and _bearer_token(credential) != b"":
            found.append((lower, credential))
    return found


@short_memo(1024)
def credential_id(credential: bytes) -> str:
    """Return `cred-` and the SHA-256 of `credential` in hex.

    The same key gives the same name however it is written (`Bearer`,
    `bearer`, `api-key`), so that no spelling opens a second bucket.
    """
    return "cred-" + sha256(_bearer_token(credential) or credential).hexdigest()


def replace_credentials(headers: HeaderPairs, auth_header: bytes, key: bytes) -> HeaderPairs:
    """Return `headers` with `key` in place of every credential of the client.

    `auth_header` is `authorization` (in any case; the value gets `Bearer`)
    or the name of another header, which gets the bare key. The line stands
    where the first removed one stood, else at the end. A key in
    Sec-WebSocket-Protocol is swapped in its place, the other subprotocols
    untouched; where it was the only credential no Authorization is added.
    """
    lower_auth = auth_header.lower()
    bearer = lower_auth == b"authorization"
    line = (b"Authorization", b"Bearer " + key) if bearer else (auth_header, key)
    kept: HeaderPairs = []
    place: int | None = None
    swapped = False
    for pair in headers:
        lower = pair[0].lower()
        if lower in CREDENTIAL_HEADERS or lower == lower_auth:
            if place is None:
                place = len(kept)
        elif lower == b"sec-websocket-protocol":
            value = _swap_subprotocol(pair[1], b"" if swapped else key)
            swapped = swapped or value != pair[1]
            if value:
                kept.append((pair[0], value))
        else:
            kept.append(pair)
    if place is not None or not (swapped and bearer):
        kept.insert(len(kept) if place is None else place, line)
    return kept


class CredentialSwap:
    """`replace_credentials` with one key.

    With `remove_empty` an empty `key` takes the client's credentials away
    and puts no line in their place.
    """

    __slots__ = ("_auth_header", "_key", "_remove")

    def __init__(self, auth_header: bytes, key: bytes, remove_empty: bool = False) -> None:
        self._auth_header = auth_header
        self._key = key
        self._remove = remove_empty and not key

    def on(self, headers: HeaderPairs) -> HeaderPairs:
        """Return `headers` with the key."""
        headers = replace_credentials(headers, self._auth_header, self._key)
        if self._remove:
            empty = (b"authorization", self._auth_header.lower())
            headers = [pair for pair in headers if pair[0].lower() not in empty]
        return headers


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
