"""What header sections show in the log and tell about their bodies. Pure.

Lines repeat from exchange to exchange, so what one shows and tells is found
out once and kept by its bytes, within bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..redaction import credentials, shown_headers

Pairs = Sequence[tuple[bytes, bytes]]

_LINES_KEPT = 4096
_LONGEST_KEPT = 256


class _Line(NamedTuple):
    """What one header line shows and tells. A tuple: made of strangers' bytes, read for every exchange."""

    name: str
    text: str
    field: str
    """`content-type`, `content-encoding` or empty."""
    value: str
    """The value in lower case, where `field` is not empty."""
    secrets: tuple[bytes, ...]


class Headers(NamedTuple):
    """What is known of a header section."""

    shown: dict[str, str]
    """As `redaction.shown_headers` shows it."""
    content_type: str = ""
    """The last one, in lower case."""
    content_encoding: str = ""
    """All of them, in lower case, with commas between them."""
    secrets: tuple[bytes, ...] = ()
    """As `redaction.credentials` finds them."""


_lines: dict[tuple[bytes, bytes], _Line] = {}


def read_headers(pairs: Pairs | None) -> Headers:
    """Return what these lines show and tell; nothing where there are none."""
    if not pairs:
        return Headers({})
    shown: dict[str, str] = {}
    content_type = content_encoding = ""
    secrets: tuple[bytes, ...] = ()
    known = _lines.get
    for pair in pairs:
        name, text, field, value, found = known(pair) or _learn(pair)
        shown[name] = text
        if field:
            if field == "content-type":
                content_type = value
            else:
                content_encoding = f"{content_encoding},{value}" if content_encoding else value
        if found:
            secrets = tuple(credentials(pairs)) if secrets else found
    if len(shown) < len(pairs):
        shown = shown_headers(pairs)  # which joins repeated ones
    return Headers(shown, content_type, content_encoding, secrets)


def _learn(pair: tuple[bytes, bytes]) -> _Line:
    ((name, text),) = shown_headers([pair]).items()
    field = pair[0].lower().decode("latin-1")
    if field not in ("content-type", "content-encoding"):
        field = ""
    value = pair[1].decode("latin-1").lower() if field else ""
    line = _Line(name, text, field, value, tuple(credentials([pair])))
    if len(pair[0]) + len(pair[1]) <= _LONGEST_KEPT:
        if len(_lines) >= _LINES_KEPT:
            _lines.clear()
        _lines[pair] = line
    return line
