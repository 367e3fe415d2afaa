"""What header sections show in the log and tell about their bodies. Pure.

Lines repeat from exchange to exchange, so what one shows is found out once
and kept by its bytes, within bounds. Lines that may hold a credential are
never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..redaction import REDACTED, shown_headers

Pairs = Sequence[tuple[bytes, bytes]]

_LINES_KEPT = 2048
_LONGEST_KEPT = 256


class Headers(NamedTuple):
    """What is known of a header section."""

    shown: dict[str, str]
    """As `redaction.shown_headers` shows it."""
    content_type: str = ""
    """The last one, in lower case."""
    content_encoding: str = ""
    """All of them, in lower case, with commas between them."""


class _Shown(dict[tuple[bytes, bytes], tuple[str, str]]):
    """What each line shows, as name and text. Learns the short ones of which nothing is hidden."""

    def __missing__(self, pair: tuple[bytes, bytes]) -> tuple[str, str]:
        (shown,) = shown_headers([pair]).items()
        if len(pair[0]) + len(pair[1]) <= _LONGEST_KEPT and REDACTED not in shown[0] + shown[1]:
            self[pair] = shown
        return shown


_shown = _Shown()
_shown_of = _shown.__getitem__


def read_headers(pairs: Pairs | None) -> Headers:
    """Return what these lines show and tell; nothing if there are none."""
    if not pairs:
        return Headers({})
    if len(_shown) > _LINES_KEPT:
        _shown.clear()
    shown = dict(map(_shown_of, pairs))
    if len(shown) < len(pairs):
        shown = shown_headers(pairs)  # which joins repeated ones
    content_type, codings = "", list[str]()
    for name, value in pairs:
        if name[:8].lower() == b"content-":
            field, text = name.lower(), value.decode("latin-1").lower()
            if field == b"content-type":
                content_type = text
            elif field == b"content-encoding":
                codings.append(text)
    return Headers(shown, content_type, ",".join(codings))
