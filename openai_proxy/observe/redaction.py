"""What of a stranger's headers and texts may be written, and what never. Pure.

By whitelist: a header that is not known to be harmless is shown only if
its value is too short to be a secret.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from urllib.parse import unquote

from ..exchange.bounded_memo import short_memo
from ..wire.key_like import KEY_LIKE

REDACTED = "[redacted]"

_HARMLESS = frozenset(
    b"""accept accept-encoding accept-language accept-ranges access-control-allow-origin age allow alt-svc
    cache-control cf-cache-status cf-ray connection content-disposition content-encoding content-language
    content-range content-type date etag expect expires host if-modified-since if-none-match
    keep-alive last-modified openai-beta openai-model openai-organization openai-processing-ms openai-project
    openai-version pragma range retry-after retry-after-ms server strict-transport-security te
    trailer transfer-encoding upgrade user-agent vary via x-content-type-options x-request-id x-should-retry
    x-stainless-arch x-stainless-async x-stainless-helper-method x-stainless-lang x-stainless-os
    x-stainless-package-version x-stainless-read-timeout x-stainless-retry-count x-stainless-runtime
    x-stainless-runtime-version x-stainless-timeout""".split()
)
_HARMLESS_PREFIX = b"x-ratelimit-"
_SHAPES = {
    b"traceparent": re.compile(rb"[0-9a-f]{2}(?:-[0-9a-f]{2,32}){3}\Z"),
    b"content-length": re.compile(rb"\d+\Z"),
}
"""Harmless only as long as they look so: values that a stranger's program may fill by mistake."""
_TELLING = re.compile(
    rb"auth|key|token|secret|cookie|passw|session|credential|signature|jwt|sec-websocket", re.IGNORECASE
)
_SHORT = 8
"""A value of fewer bytes is no secret worth the name."""

_MEMBER = re.compile(r"(?<![\w-])([\w-]+)=([^&#\s\"';,]+)")
_TELLING_TEXT = re.compile(_TELLING.pattern.decode() + "|^sig$", re.IGNORECASE)

_TEXTS_KEPT = 1024


@short_memo(_TEXTS_KEPT, keeps=operator.eq)  # no text in which something looked like a key
def scrubbed(text: str) -> str:
    """Return `text` without what looks like a key: `sk-...`, `eyJ...`, `Bearer ...`, `api_key=...`.

    Percent-encoded keys too: if one is found, the decoded text is what is left. O(n).
    """
    return scrubbed_once(text)


def scrubbed_once(text: str) -> str:
    """Return what `scrubbed` does, for a text that the caller remembers himself or that is seen once."""
    clean = _scrubbed(text)
    if clean == text and "%" in text:
        decoded = unquote(text, errors="replace")
        clean = _scrubbed(decoded)
        if clean == decoded:
            clean = text
    return clean


def _scrubbed(text: str) -> str:
    text = KEY_LIKE.sub(REDACTED, text)
    return _MEMBER.sub(_member, text) if "=" in text else text


def _member(found: re.Match[str]) -> str:
    return f"{found[1]}={REDACTED}" if _TELLING_TEXT.search(found[1]) else found[0]


def shown_headers(pairs: Iterable[tuple[bytes, bytes]] | None) -> dict[str, str]:
    """Return headers as a JSON object, names as sent, repeated ones joined by `, `."""
    shown: dict[str, list[str]] = {}
    for label, text in map(shown_line, pairs or ()):
        shown.setdefault(label, []).append(text)
    return {label: ", ".join(texts) for label, texts in shown.items()}


def shown_line(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    """Return what one header line shows: its name as sent, its value or `[redacted]`."""
    return _label(pair[0]), _value(*pair)


@short_memo(_TEXTS_KEPT, keeps=lambda name, label: REDACTED not in label)
def _label(name: bytes) -> str:
    return scrubbed_once(name.decode("latin-1"))


def _value(name: bytes, value: bytes) -> str:
    kind = _kind(name)
    if kind == _SHOWN:
        text = value.decode("latin-1")
        return text if value.isdigit() else scrubbed_once(text)
    if kind == _SHAPED:
        return value.decode("latin-1") if _SHAPES[name.lower()].match(value) else REDACTED
    if kind == _UNKNOWN and len(value) < _SHORT:
        return value.decode("latin-1")
    return REDACTED


_SHOWN, _SHAPED, _SECRET, _UNKNOWN = range(4)


@short_memo(_TEXTS_KEPT, keeps=lambda name, _: REDACTED not in _label(name))  # a name may hold a key
def _kind(name: bytes) -> int:
    lower = name.lower()
    if lower in _SHAPES:
        return _SHAPED
    if lower in _HARMLESS or lower.startswith(_HARMLESS_PREFIX):
        return _SHOWN
    return _SECRET if _TELLING.search(lower) else _UNKNOWN


_CREDENTIALS = frozenset(
    b"authorization api-key x-api-key proxy-authorization x-goog-api-key ocp-apim-subscription-key".split()
)
_IDENTIFYING = (b"authorization", b"api-key")
_SUBPROTOCOL, _SUBPROTOCOL_KEY = b"sec-websocket-protocol", b"openai-insecure-api-key."
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
        if lower == _SUBPROTOCOL:
            for item in value.split(b","):
                item = item.strip(b" \t")
                if item[: len(_SUBPROTOCOL_KEY)].lower() == _SUBPROTOCOL_KEY:
                    found.add(item[len(_SUBPROTOCOL_KEY) :].decode("latin-1"))
        elif lower in _CREDENTIALS:
            text = _bare(value)
            if (lower in _IDENTIFYING and not identified and text) or looks_like_a_key(text):
                found.add(text)
            identified = identified or (lower in _IDENTIFYING and bool(text))
    return sorted((text for text in found if len(text) >= _SHORT), key=len, reverse=True)


def _bare(value: bytes) -> str:
    """Return a credential without its scheme."""
    text = value.strip(b" \t").decode("latin-1")
    scheme, blank, rest = text.partition(" ")
    return rest.strip(" \t") if blank and scheme.isalnum() else text


def looks_like_a_key(text: str) -> bool:
    """Tell whether a whole word looks like a key, by its prefix or by letters and digits without an order."""
    if len(text) < _SHORT or " " in text:
        return False
    if KEY_LIKE.match(text) is not None:
        return True
    words = _long_word.findall(text) if len(text) >= 16 else ()
    return any(not word.isalpha() and not word.isdigit() for word in words)
