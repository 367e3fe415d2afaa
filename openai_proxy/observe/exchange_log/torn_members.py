"""Credentials in JSON that was cut off somewhere, which cannot be decoded. Pure."""

from __future__ import annotations

import json
import re

from ...wire.json_members import value_end
from ..redaction import REDACTED
from .body_strings import shown_server, shown_text
from .member_names import HOLDERS, PROSE_NAMES, is_secret

MOST_TORN_STRINGS = 20_000
"""Strings of a body's beginning that are looked into; what follows is left out."""
_LONGEST_KEY = 4096
_string = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)("[ \t\r\n]*(:[ \t\r\n]*)?)?', re.DOTALL)
_decode_string = json.JSONDecoder(strict=False).decode


def torn_without_credentials(text: bytes) -> bytes:
    """Return JSON that was cut off somewhere without its credentials, by the rules of whole ones. O(n).

    Ends before the string that is one of too many (MOST_TORN_STRINGS).
    """
    parts: list[bytes] = []
    at, name = 0, ""
    strings = 0
    while (found := _string.search(text, at)) is not None:
        start, end = found.span()
        parts.append(text[at:start])
        strings += 1
        if strings > MOST_TORN_STRINGS:
            return b"".join(parts)
        at = end
        raw, closing, colon = found.groups()
        if colon is None:
            parts.append(_torn_value(name, raw, closing is None))
            if closing is not None:
                parts.append(closing)
            name = ""
            continue
        name = raw.decode("utf-8", "replace")
        parts.append(found[0])
        first = text[at : at + 1]
        if first in (b"{", b"[") and _may_hold_secrets(name):
            parts.append(f'"{REDACTED}"'.encode())
            try:
                at = value_end(text, at)
            except ValueError:
                at = len(text)
        elif first != b'"':
            name = name if first == b"[" else ""
    return b"".join([*parts, text[at:]])


def _may_hold_secrets(name: str) -> bool:
    return is_secret(name) or name in HOLDERS or name.lower() in ("headers", "env")


def _torn_value(name: str, raw: bytes, cut_off: bool) -> bytes:
    """Return a string with its opening quote, as it may be shown below this name."""
    if name and (is_secret(name) or name.lower() == "headers"):
        return b'"' + REDACTED.encode()
    if cut_off and name not in PROSE_NAMES and len(raw) < _LONGEST_KEY:
        return b'"' + REDACTED.encode()  # of a key that was cut off the look is not known
    if name in PROSE_NAMES or len(raw) < 8:
        return b'"' + raw
    text = raw.decode("utf-8", "replace")
    if "\\" in text:
        try:
            text = str(_decode_string(f'"{text}"'))
        except ValueError:
            pass
    shown = shown_server(text) if name == "server_url" else shown_text(text)
    return b'"' + raw if shown == text else json.dumps(shown)[:-1].encode("ascii")
