"""What of a stranger's headers may be written, and what never. Pure.

By whitelist: a header that is not known to be harmless is shown only where
its value is too short to be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

from ..core.key_like import KEY_LIKE

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
_BLOTTABLE = re.compile(rb"[A-Za-z0-9._~+/@!$%&*-]{8,}\Z")
"""Without JSON's own characters: blotting these out leaves a valid line."""
_OURS = frozenset(
    b"""timestamp response streaming first_byte_s duration_s cost_usd attempts error_code upstream endpoint
    status_code messages complete rejected client_gone upstream_error upstream_truncated input_tokens
    output_tokens total_tokens cached_tokens reasoning_tokens estimated truncated [redacted]
    realtime websocket completions chat/completions""".split()
)
"""Words of our own lines that a client might send as a cookie."""


@lru_cache(1024)
def scrubbed(text: str) -> str:
    """Return `text` without what looks like a key: `sk-...`, `eyJ...`, `Bearer ...`, `api_key=...`.

    Percent-encoded keys too: where one is found, the decoded text is what is left.
    """
    if "%" in text:
        decoded = unquote(text, errors="replace")
        if decoded != text:
            clean = _scrubbed(decoded)
            return clean if clean != decoded else text
    return _scrubbed(text)


def _scrubbed(text: str) -> str:
    text = KEY_LIKE.sub(REDACTED, text)
    return _MEMBER.sub(_member, text) if "=" in text else text


def _member(found: re.Match[str]) -> str:
    return f"{found[1]}={REDACTED}" if _TELLING_TEXT.search(found[1]) else found[0]


def shown_headers(pairs: Iterable[tuple[bytes, bytes]] | None) -> dict[str, str]:
    """Return headers as a JSON object, names as sent, repeated ones joined by `, `."""
    shown: dict[str, str] = {}
    for name, value in pairs or ():
        text = _value(name, value)
        label = scrubbed(name.decode("latin-1"))
        before = shown.get(label)
        shown[label] = text if before is None else f"{before}, {text}"
    return shown


def _value(name: bytes, value: bytes) -> str:
    kind = _kind(name)
    if kind == _SHOWN:
        return _shown_value(value)
    if kind == _SHAPED:
        return value.decode("latin-1") if _SHAPES[name.lower()].match(value) else REDACTED
    if kind == _UNKNOWN and len(value) < _SHORT:
        return value.decode("latin-1")
    return REDACTED


_SHOWN, _SHAPED, _SECRET, _UNKNOWN = range(4)


@lru_cache(1024)
def _kind(name: bytes) -> int:
    lower = name.lower()
    if lower in _SHAPES:
        return _SHAPED
    if lower in _HARMLESS or lower.startswith(_HARMLESS_PREFIX):
        return _SHOWN
    return _SECRET if _TELLING.search(lower) else _UNKNOWN


@lru_cache(1024)
def _shown_value(value: bytes) -> str:
    # Most requests repeat the headers of the one before.
    return scrubbed(value.decode("latin-1"))


def credentials(pairs: Iterable[tuple[bytes, bytes]] | None) -> list[bytes]:
    """Return the secrets that headers carry, as they might turn up elsewhere.

    Each word of the value of every header whose name tells of a credential,
    of 8 bytes or more, the longest first.
    """
    words = [
        word.removeprefix(b"openai-insecure-api-key.")
        for name, value in pairs or ()
        if _kind(name) == _SECRET
        for word in re.split(rb"[\s,;=\"]+", value)
    ]
    return blottable(words)


def blottable(words: Iterable[bytes]) -> list[bytes]:
    """Return those that can be blotted out of a JSON line and leave it whole, the longest first."""
    fit = {word for word in words if _BLOTTABLE.match(word) and word not in _OURS}
    return sorted(fit, key=len, reverse=True)


def without_secrets(line: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return a JSON line with every occurrence of a secret blotted out."""
    for secret in secrets:
        if secret in line:
            line = line.replace(secret, REDACTED.encode())
    return line
