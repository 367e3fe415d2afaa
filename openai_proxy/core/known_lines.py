"""Header lines of plain heads, by their bytes.

Lines repeat from message to message, so what one says is kept: that, not
the parsing, is why plain heads are read four times faster. Pure. For
`plain_heads` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .headers import NOTABLE, HeaderPairs, media_type

_LINES_KEPT = 2048
LONGEST_KEPT = 256
MOST_DIGITS = 18


_PLAIN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?:[\x21-\x7e][\t\x20-\x7e]*)?")
"""RFC 9110 §5: a token and visible ASCII; every parser of HTTP reads such a line alike."""


class OddLine(Exception):
    """A line that is not spelt `Name: value` in plain ASCII, or a notable one too long to be kept."""


class _Pairs(dict[bytes, tuple[bytes, bytes]]):
    """The pair that each line is. Learns those it is asked for; raises OddLine."""

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        if _PLAIN.fullmatch(line) is None:
            raise OddLine
        name, _, value = line.partition(b": ")
        lowered = name.lower()
        if lowered in NOTABLE:
            if len(line) > LONGEST_KEPT:
                raise OddLine
            _notable[line] = lowered, _meaning(lowered, value)
        pair = name, value
        if len(line) <= LONGEST_KEPT:
            self[line] = pair
        return pair


_pairs = _Pairs()
_pair_of = _pairs.__getitem__
_notable: dict[bytes, tuple[bytes, Any]] = {}
"""The lower-cased name of each notable line met so far, and what its value means."""


def _meaning(name: bytes, value: bytes) -> Any:
    """Return what the value of a notable line means to us.

    A length a number (None: an odd one), a content type or coding its
    lower-cased name, any other its stripped self.
    """
    if name == b"content-length":
        return int(value) if value.isdigit() and len(value) <= MOST_DIGITS else None
    value = value.strip(b" \t")
    if name == b"content-type":
        return media_type(value)
    if name == b"content-encoding":
        return b"" if value.lower() == b"identity" else value.lower()
    return value


def look_up(lines: list[bytes], pairs: HeaderPairs) -> Iterator[tuple[bytes, Any]]:
    """Fill `pairs` with what `lines` are; return name and meaning of the notable ones. Raises OddLine.

    Of lines met before nothing is done in Python: nearly all are.
    """
    if len(_pairs) > _LINES_KEPT:  # before, not between, lines of one head: none may be forgotten half-way
        _pairs.clear()
        _notable.clear()
    pairs.extend(map(_pair_of, lines))
    return filter(None, map(_notable.get, lines))
