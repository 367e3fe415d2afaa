"""Compute the cache key of a request: equal if, and only if, the answers may be shared.

Pure. The key is an HMAC-SHA-256 under the upstream credential. So it is the
same on every machine with the same configuration, contains no credential, and
whoever can read the store cannot test a guess at a prompt without that
credential (upstreams that need no credential have no such secret).
"""

from __future__ import annotations

import hmac
from json import JSONDecoder
from operator import itemgetter
from typing import Any

from ...exchange.bounded_memo import short_memo
from ...exchange.record import HeaderPairs

_PURPOSE = b"openai-proxy cache key 2:"
"""Separates this use of the credential from any other."""

_FAMILY_PURPOSE = b"openai-proxy cache models 2:"

_KEYED = frozenset((b"accept-encoding", b"content-encoding", b"origin"))
"""Request headers that select a representation, besides every `openai-*` one."""

_name = itemgetter(0)


def _sorted_members(pairs: list[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    # Sorted by name only, and stably: repeated members keep their order, which decides what an upstream reads.
    pairs.sort(key=_name)
    return tuple(pairs)


# Numbers stay the text they were sent as, in a type of their own:
# 1 is not 1.0, no integer is too long, nothing is rounded.
_decode = JSONDecoder(
    object_pairs_hook=_sorted_members,
    parse_float=str.encode,
    parse_int=str.encode,
    parse_constant=str.encode,
).decode


def canonical_json(body: bytes) -> bytes:
    """Return bytes that are equal for two JSON texts that differ only in key order and spacing.

    Strings count by their value, however they are escaped. What cannot be
    decoded (no JSON, no UTF-8, nested too deep) is returned unchanged.
    O(n log n); never raises.
    """
    try:
        return b"json" + ascii(_decode(body.decode("utf-8"))).encode("ascii")
    except (ValueError, RecursionError):
        return b"raw " + body


def varies_on_unkeyed(vary: bytes) -> bool:
    """Say whether a response's Vary value names a request header that the key leaves out."""
    names = {name.strip(b" \t").lower() for name in vary.split(b",")} - {b"", b"authorization", b"api-key"}
    return any(name not in _KEYED and not name.startswith(b"openai-") for name in names)


def chosen_headers(headers: HeaderPairs) -> HeaderPairs:
    """Return the request's lines that are part of its key, in order, as sent."""
    return [pair for pair in headers if _is_keyed(pair[0])]


@short_memo(1024)  # names repeat and their hashes are cached, which saves converting them to lower case
def _is_keyed(name: bytes) -> bool:
    lowered = name.lower()
    return lowered in _KEYED or lowered.startswith(b"openai-")


def cache_key(
    *,
    tenant: str,
    origin: bytes,
    credential: bytes,
    method: bytes,
    target: bytes,
    headers: HeaderPairs,
    body: bytes,
) -> bytes:
    """Return the 32 bytes of the key of this request.

    `tenant` is empty if all callers of one upstream credential share.
    `origin` names the upstream (or all of them), `target` is path and query
    byte for byte, `headers` are the client's, `body` is what goes upstream.
    """
    chosen = [(name.lower(), value.strip(b" \t")) for name, value in chosen_headers(headers)]
    chosen.sort(key=_name)
    fields = [
        tenant.encode("utf-8", "surrogatepass"),
        origin,
        credential,
        method,
        target,
        canonical_json(body),
    ]
    for pair in chosen:
        fields.extend(pair)
    return hmac.digest(_PURPOSE + credential, _message(fields), "sha256")


def models_family(tenant: str, origin: bytes, credential: bytes) -> bytes:
    """Return the 32 bytes that name all cached pages of one caller's models; arguments as for `cache_key`."""
    fields = [tenant.encode("utf-8", "surrogatepass"), origin, credential]
    return hmac.digest(_FAMILY_PURPOSE + credential, _message(fields), "sha256")


def _message(fields: list[bytes]) -> bytes:
    # Each field is preceded by its length: no two lists of fields give the same message.
    return b"".join([part for field in fields for part in (b"%d:" % len(field), field)])
