"""What of a stranger's texts may be written to a log. Pure."""

from __future__ import annotations

import operator
import re
from urllib.parse import unquote

from ..exchange.bounded_memo import short_memo
from ..wire.key_like import KEY_LIKE

REDACTED = "[redacted]"

TELLING = re.compile(
    rb"auth|key|token|secret|cookie|passw|session|credential|signature|jwt|sec-websocket", re.IGNORECASE
)
SHORTEST_SECRET = 8
"""A value of fewer bytes is no secret worth the name."""

_MEMBER = re.compile(r"(?<![\w-])([\w-]+)=([^&#\s\"';,]+)")
_TELLING_TEXT = re.compile(TELLING.pattern.decode() + "|^sig$", re.IGNORECASE)

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
