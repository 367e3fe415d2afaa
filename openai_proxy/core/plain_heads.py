"""Heads without anything odd in them, cut into lines instead of parsed.

Nearly every message has such a head: HTTP/1.1, a Content-Length or no
body, nothing hop-by-hop, all of it in plain ASCII. Whatever else it says
sends the message the long way (`None`). Pure. Of a request's first line
nothing is validated: the edge lets llhttp look at the same bytes. A
response that is plain is one that llhttp would read alike; a test compares
the two.
"""

from __future__ import annotations

import re
from typing import Any

from .headers import HeaderPairs, RequestHead, is_host
from .known_lines import LONGEST_KEPT, MOST_DIGITS, OddLine, look_up
from .wire_lines import NO_LENGTH, LineShape, WireLines

_LENGTHS_KEPT = 16


class KnownHead:
    """What is the same in all requests whose heads differ in the digits of Content-Length alone.

    `valid_within`: the limits that one of them was within, and llhttp found
    nothing wrong with it, so it would not with another; None before. `place`
    is for the edge: where such a request goes.
    """

    __slots__ = (
        "_at",
        "_content_type",
        "_filled",
        "_forward",
        "_host",
        "_pairs",
        "method",
        "method_text",
        "path",
        "place",
        "target",
        "valid_within",
    )

    def __init__(self, method: bytes, target: bytes, pairs: HeaderPairs, head: RequestHead) -> None:
        self.method = method
        self.target = target
        self.method_text = method.decode("ascii", "replace")
        self.path = target.partition(b"?")[0].decode("latin-1")
        self.valid_within: object = None
        self.place: Any = None
        self._filled: dict[bytes | None, PlainRequest] = {}
        self._pairs = pairs
        self._at = next((at for at, pair in enumerate(pairs) if pair[0].lower() == b"content-length"), -1)
        self._forward = LineShape(head.forward)
        self._host = head.host
        self._content_type = head.content_type

    def filled(self, digits: bytes | None) -> PlainRequest:
        """Return one of these requests: its own lines and what they say; None leaves the length it has."""
        found = self._filled.get(digits)
        if found is None:
            if len(self._filled) >= _LENGTHS_KEPT:
                self._filled.clear()
            found = self._filled[digits] = self._fill(digits)
        return found

    def _fill(self, digits: bytes | None) -> PlainRequest:
        pairs = self._pairs.copy()
        at = self._at
        if at < 0:
            forward = self._forward.filled(NO_LENGTH)
            return self, pairs, RequestHead(forward, self._host, None, content_type=self._content_type)
        if digits is None:
            digits = pairs[at][1]
        line = pairs[at] = (pairs[at][0], digits)
        forward = self._forward.filled(line)
        return self, pairs, RequestHead(forward, self._host, int(digits), content_type=self._content_type)


PlainRequest = tuple[KnownHead, HeaderPairs, RequestHead]

_LENGTH = b"\r\nContent-Length: "
_LOWER_LENGTH = b"\r\ncontent-length: "
_HEADS_KEPT = 512
_LONGEST_HEAD_KEPT = 2048
_heads: dict[bytes, KnownHead] = {}
"""By their bytes without the digits of Content-Length.

Heads with equal keys are equal but for those digits, for a plain head has
one Content-Length.
"""


def plain_request(head: bytes) -> PlainRequest | None:
    """Return what is known of such a request, its header lines and what they say; None for an odd head.

    `head` is everything before the empty line. Of the notable fields only
    Host, Content-Length, Content-Type and a bare `Connection: keep-alive`
    are plain.
    """
    start = head.find(_LENGTH)
    if start < 0:
        start = head.find(_LOWER_LENGTH)
    digits: bytes | None = None
    if start < 0:
        key = head
    else:
        start += len(_LENGTH)
        stop = head.find(b"\r\n", start)
        digits = head[start:] if stop < 0 else head[start:stop]
        key = head[:start] if stop < 0 else head[:start] + head[stop:]
    known = _heads.get(key)
    if known is None:
        known = _read_request(head)
        if known is None:
            return None
        if len(head) <= _LONGEST_HEAD_KEPT:
            if len(_heads) >= _HEADS_KEPT:
                _heads.clear()
            _heads[key] = known
    elif digits is not None and (not digits.isdigit() or len(digits) > MOST_DIGITS):
        return None
    return known.filled(digits)


def _read_request(head: bytes) -> KnownHead | None:
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or words[2] != b"HTTP/1.1":
        return None
    del lines[0]
    pairs: HeaderPairs = []
    try:
        notable = look_up(lines, pairs)
    except OddLine:
        return None
    host: bytes | None = None
    length: int | None = None
    content_type = b""
    for name, meaning in notable:
        if name == b"content-length":
            if length is not None or meaning is None:
                return None
            length = meaning
        elif name == b"content-type":
            content_type = meaning
        elif name == b"host":
            host = meaning if host is None else b"/"
            if not is_host(host):
                return None
        elif name != b"connection" or meaning.lower() != b"keep-alive":
            return None
    if host is None:
        return None
    forward = [pair for pair in pairs if pair[0].lower() not in (b"host", b"connection")]
    return KnownHead(words[0], words[1], pairs, RequestHead(forward, host, length, content_type=content_type))


_statuses: dict[bytes, tuple[int, bytes]] = {}
"""Code and reason of each plain status line met so far."""
_STATUSES_KEPT = 256


def plain_response(head: bytes) -> tuple[int, bytes, HeaderPairs, int] | None:
    """Return status, reason, header lines and Content-Length, or None for an odd head.

    Plain are final HTTP/1.1 responses with one Content-Length that have a
    body, no hop-by-hop field and nothing odd in their reason.
    """
    first, _, raw = head.partition(b"\r\n")
    status = _statuses.get(first) or _learn_status(first)
    if status is None:
        return None
    pairs = WireLines()
    try:
        notable = look_up(raw.split(b"\r\n"), pairs)
    except OddLine:
        return None
    length: int | None = None
    kind = coding = b""
    for name, meaning in notable:
        if name == b"content-length":
            if length is not None or meaning is None:
                return None
            length = meaning
        elif name == b"content-type":
            kind = meaning
        elif name == b"content-encoding":
            coding = meaning
        elif name not in _HARMLESS:
            return None
    if length is None:
        return None
    pairs.raw = raw + b"\r\n"
    pairs.shape = None
    pairs.media = kind, coding
    return status[0], status[1], pairs, length


_HARMLESS = frozenset((b"via", b"host", b"expect"))
"""Notable in a request's head, plain in a response's."""


_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([\x21-\x7e][\t\x20-\x7e]*)?")


def _learn_status(line: bytes) -> tuple[int, bytes] | None:
    """Return code and reason of a status line; None where it is odd or its response has no body."""
    match = _STATUS.fullmatch(line)
    if match is None:
        return None
    code, reason = int(match[1]), match[2] or b""
    if code in (204, 304):
        return None
    if len(line) <= LONGEST_KEPT:
        if len(_statuses) >= _STATUSES_KEPT:
            _statuses.clear()
        _statuses[line] = code, reason
    return code, reason
