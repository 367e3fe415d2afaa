"""What header sections show in the log and tell about their bodies. Pure.

Most lines repeat from exchange to exchange, so what one shows is found out
once and kept by its bytes, within bounds. Lines that may hold a credential
are never kept, nor those that are others each time: they would push out what
repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...exchange.bounded_memo import short_memo
from ...wire.headers import media_type
from ..redaction import REDACTED, shown_headers, shown_line

Pairs = Sequence[tuple[bytes, bytes]]

_LINES_KEPT = 2048
_CHANGING = frozenset(
    b"""date age x-request-id cf-ray set-cookie traceparent tracestate content-length etag openai-processing-ms
    x-envoy-upstream-service-time x-ratelimit-remaining-requests x-ratelimit-remaining-tokens
    x-ratelimit-reset-requests x-ratelimit-reset-tokens idempotency-key x-client-request-id""".split()
)
"""What APIs and traced clients send with another value each time."""


class Headers(NamedTuple):
    """What is known of a header section."""

    shown: dict[str, str]
    """As `redaction.shown_headers` shows it."""
    media_type: bytes = b""
    """The last one, in lower case, without parameters."""
    coding: bytes = b""
    """All content codings, in lower case, with commas between them."""


def _repeats(pair: tuple[bytes, bytes], shown: tuple[str, str]) -> bool:
    return pair[0].lower() not in _CHANGING and REDACTED not in shown[0] and REDACTED not in shown[1]


@short_memo(_LINES_KEPT, size=lambda pair: len(pair[0]) + len(pair[1]), keeps=_repeats)
def _shown_line(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    return shown_line(pair)


def read_headers(pairs: Pairs | None) -> Headers:
    """Return what these lines show and tell; nothing if there are none."""
    if not pairs:
        return Headers({})
    shown = dict(map(_shown_line, pairs))
    if len(shown) < len(pairs):
        shown = shown_headers(pairs)  # which joins repeated ones
    kind, codings = b"", list[bytes]()
    for name, value in pairs:
        if name[:8].lower() == b"content-":
            field = name.lower()
            if field == b"content-type":
                kind = media_type(value)
            elif field == b"content-encoding":
                codings.append(value.lower())
    return Headers(shown, kind, b",".join(codings))
