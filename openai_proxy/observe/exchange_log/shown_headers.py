"""What a header section shows in a log: names as sent, values by whitelist. Pure.

A header that is not known to be harmless is shown only if its value is too
short to be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...exchange.bounded_memo import short_memo
from ...exchange.record import HeaderLines
from ...wire.key_like import KEY_LIKE
from ..redaction import REDACTED, SHORTEST_SECRET, TELLING, scrubbed_once

_HARMLESS = frozenset(
    b"""accept accept-encoding accept-language accept-ranges access-control-allow-origin allow alt-svc
    cache-control cf-cache-status connection content-disposition content-encoding content-language
    content-range content-type expect expires host if-modified-since if-none-match
    keep-alive last-modified openai-beta openai-model openai-organization openai-project
    openai-version pragma range retry-after retry-after-ms server strict-transport-security te
    trailer transfer-encoding upgrade user-agent vary via x-content-type-options x-should-retry
    x-stainless-arch x-stainless-async x-stainless-helper-method x-stainless-lang x-stainless-os
    x-stainless-package-version x-stainless-read-timeout x-stainless-retry-count x-stainless-runtime
    x-stainless-runtime-version x-stainless-timeout""".split()
)
"""Headers whose values repeat from exchange to exchange."""
_HARMLESS_ONCE = frozenset(b"age cf-ray date etag openai-processing-ms x-request-id".split())
_HARMLESS_ONCE_PREFIX = b"x-ratelimit-"
"""Headers that have another value each time, which is therefore not remembered."""
_NAMES_KEPT, _VALUES_KEPT = 1024, 2048


def shown_headers(pairs: HeaderLines | None) -> dict[str, str]:
    """Return headers as a JSON object, names as sent, repeated ones joined by `, `. O(n)."""
    shown: dict[str, str] = {}
    for name, value in pairs or ():
        label, show = _rule(name)
        shown[label] = show(value)
    return shown if pairs is None or len(shown) == len(pairs) else _joined(pairs)


def _joined(pairs: HeaderLines) -> dict[str, str]:
    """Return the same for headers of which some have the same name."""
    shown: dict[str, list[str]] = {}
    for name, value in pairs:
        label, show = _rule(name)
        shown.setdefault(label, []).append(show(value))
    return {label: ", ".join(texts) for label, texts in shown.items()}


@short_memo(
    _NAMES_KEPT, keeps=lambda name, rule: REDACTED not in rule[0]
)  # somebody may write a key as a name
def _rule(name: bytes) -> tuple[str, Callable[[bytes], str]]:
    """Return how a header's name is shown, and the function that shows its value."""
    label, lower = scrubbed_once(name.decode("latin-1")), name.lower()
    if lower in _SHAPED:
        return label, _SHAPED[lower]
    if lower in _HARMLESS:
        return label, _harmless
    if lower in _HARMLESS_ONCE or lower.startswith(_HARMLESS_ONCE_PREFIX):
        return label, _harmless_once
    return label, _redacted if TELLING.search(lower) else _unknown


def _harmless_once(value: bytes) -> str:
    text = value.decode("latin-1")
    if "=" in text or "%" in text or KEY_LIKE.search(text) is not None:
        return scrubbed_once(text)
    return text  # as `scrubbed_once` would; nearly every value is one


@short_memo(_VALUES_KEPT, keeps=lambda value, text: REDACTED not in text)
def _harmless(value: bytes) -> str:
    return _harmless_once(value)


def _redacted(value: bytes) -> str:
    return REDACTED


def _unknown(value: bytes) -> str:
    return value.decode("latin-1") if len(value) < SHORTEST_SECRET else REDACTED


def _shown_if(shape: re.Pattern[bytes]) -> Callable[[bytes], str]:
    return lambda value: value.decode("latin-1") if shape.match(value) else REDACTED


_SHAPED = {
    b"traceparent": _shown_if(re.compile(rb"[0-9a-f]{2}(?:-[0-9a-f]{2,32}){3}\Z")),
    b"content-length": _shown_if(re.compile(rb"\d+\Z")),
}
"""Harmless only as long as they look so: values that a stranger's program may fill by mistake."""
