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


class _TooLong(Exception):
    """A line with more to tell than what it shows is too long to be kept."""


class _Shown(dict[tuple[bytes, bytes], tuple[str, str]]):
    """What each line shows, as name and text. Learns those it is asked for; raises _TooLong."""

    def __missing__(self, pair: tuple[bytes, bytes]) -> tuple[str, str]:
        (shown,) = shown_headers([pair]).items()
        keep = len(pair[0]) + len(pair[1]) <= _LONGEST_KEPT
        field = pair[0].lower().decode("latin-1")
        value = pair[1].decode("latin-1").lower() if field in _FIELDS else ""
        secrets = tuple(credentials([pair]))
        if field in _FIELDS or secrets:
            if not keep:
                raise _TooLong
            _telling[pair] = field, value, secrets
        if keep:
            self[pair] = shown
        return shown


_FIELDS = ("content-type", "content-encoding")
_shown = _Shown()
_shown_of = _shown.__getitem__
_telling: dict[tuple[bytes, bytes], tuple[str, str, tuple[bytes, ...]]] = {}
"""Lower-cased name, lower-cased value and secrets of the lines that tell more than what they show."""


_KEPT = 256
_repeated: dict[int, tuple[Pairs, Headers]] = {}
"""By the identity of their list."""


def read_repeated(pairs: Pairs | None) -> Headers:
    """Return what `read_headers` does, for lines whose very list may come again: a request's."""
    known = _repeated.get(id(pairs))
    if known is not None and known[0] is pairs:
        return known[1]
    headers = read_headers(pairs)
    if pairs:
        if len(_repeated) >= _KEPT:
            _repeated.clear()
        _repeated[id(pairs)] = pairs, headers
    return headers


def read_headers(pairs: Pairs | None) -> Headers:
    """Return what these lines show and tell; nothing where there are none."""
    if not pairs:
        return Headers({})
    if len(_shown) > _LINES_KEPT:  # before, not between, lines of one head: none may be forgotten half-way
        _shown.clear()
        _telling.clear()
    try:
        shown = dict(map(_shown_of, pairs))
        telling = list(filter(None, map(_telling.get, pairs)))
    except _TooLong:
        shown = shown_headers(pairs)
        telling = [
            (name.decode("latin-1").lower(), value.decode("latin-1").lower(), ()) for name, value in pairs
        ]
        return _read(shown, telling, tuple(credentials(pairs)))
    if len(shown) < len(pairs):
        shown = shown_headers(pairs)  # which joins repeated ones
    secrets: tuple[bytes, ...] = ()
    for _, _, found in telling:
        if found:
            secrets = tuple(credentials(pairs)) if secrets else found
    return _read(shown, telling, secrets)


def _read(
    shown: dict[str, str], telling: Sequence[tuple[str, str, tuple[bytes, ...]]], secrets: tuple[bytes, ...]
) -> Headers:
    content_type = content_encoding = ""
    for field, value, _ in telling:
        if field == "content-type":
            content_type = value
        elif field == "content-encoding":
            content_encoding = f"{content_encoding},{value}" if content_encoding else value
    return Headers(shown, content_type, content_encoding, secrets)
