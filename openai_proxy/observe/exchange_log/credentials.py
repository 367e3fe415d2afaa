"""Which credentials a request carries, so that they can be searched for in bodies. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...wire.key_like import KEY_LIKE
from ..redaction import SHORTEST_SECRET

_CREDENTIALS = frozenset(
    b"authorization api-key x-api-key proxy-authorization x-goog-api-key ocp-apim-subscription-key".split()
)
_IDENTIFYING = (b"authorization", b"api-key")
_SUBPROTOCOL, _SUBPROTOCOL_KEY = b"sec-websocket-protocol", b"openai-insecure-api-key."
_CARRYING = _CREDENTIALS | {_SUBPROTOCOL}
_long_word = re.compile(r"[A-Za-z0-9]{10,}")


def credentials(pairs: Iterable[tuple[bytes, bytes]] | None) -> list[str]:
    """Return the keys that a request's headers carry, whole, as they might turn up in a body; the longest first.

    The one by which the upstream or we know the caller, and others of the
    usual headers if they look like keys. At least 8 characters each. What
    else a header says is no credential: a client must not be able to have
    words of its choice blotted out of what is recorded about it.
    """
    found: set[str] = set()
    identified = False
    for name, value in pairs or ():
        lower = name.lower()
        if lower not in _CARRYING:
            continue
        if lower == _SUBPROTOCOL:
            for item in value.split(b","):
                item = item.strip(b" \t")
                if item[: len(_SUBPROTOCOL_KEY)].lower() == _SUBPROTOCOL_KEY:
                    found.add(item[len(_SUBPROTOCOL_KEY) :].decode("latin-1"))
        else:
            text = _bare(value)
            if (lower in _IDENTIFYING and not identified and text) or looks_like_a_key(text):
                found.add(text)
            identified = identified or (lower in _IDENTIFYING and bool(text))
    return sorted((text for text in found if len(text) >= SHORTEST_SECRET), key=len, reverse=True)


def _bare(value: bytes) -> str:
    """Return a credential without its scheme."""
    text = value.strip(b" \t").decode("latin-1")
    scheme, blank, rest = text.partition(" ")
    return rest.strip(" \t") if blank and scheme.isalnum() else text


def looks_like_a_key(text: str) -> bool:
    """Return whether a whole word looks like a key, by its prefix or by letters and digits without an order."""
    if len(text) < SHORTEST_SECRET or " " in text:
        return False
    if KEY_LIKE.match(text) is not None:
        return True
    words = _long_word.findall(text) if len(text) >= 16 else ()
    return any(not word.isalpha() and not word.isdigit() for word in words)
