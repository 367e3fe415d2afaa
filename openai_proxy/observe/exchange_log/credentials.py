"""Which credentials a request carries, and how they are blotted out of what strangers wrote. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...wire.key_like import KEY_LIKE
from ..redaction import REDACTED, SHORTEST_SECRET

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


def without_texts(value: Any, secrets: Sequence[str]) -> Any:
    """Return decoded JSON with every occurrence of a secret in its strings and names blotted out."""
    if not secrets:
        return value
    top = [value]
    waiting: list[Any] = [top]
    while waiting:
        container = waiting.pop()
        if type(container) is dict:
            pairs = [(_blotted(name, secrets), _blotted(item, secrets)) for name, item in container.items()]
            container.clear()
            container.update(pairs)
            waiting += [item for _, item in pairs if type(item) is dict or type(item) is list]
        else:
            container[:] = [_blotted(item, secrets) for item in container]
            waiting += [item for item in container if type(item) is dict or type(item) is list]
    return top[0]


def _blotted(value: Any, secrets: Sequence[str]) -> Any:
    if type(value) is str:
        for secret in secrets:
            if secret in value:
                value = value.replace(secret, REDACTED)
    return value
