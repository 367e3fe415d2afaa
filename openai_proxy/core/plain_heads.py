"""Heads without anything odd in them, cut into lines instead of parsed.

Nearly every message has such a head: HTTP/1.1, a Content-Length or no
body, nothing hop-by-hop. Whatever else it says sends the message the long
way (`None`). Pure. Nothing is validated here: both edges let llhttp look
at the same bytes first or afterwards, and use the result only where it
agrees. Header lines repeat from message to message, so what a line says is
kept by its bytes: that, not the parsing, is why this is four times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

from .headers import NOTABLE, RequestHead, has_controls, is_host, media_type, render

_Answer = TypeVar("_Answer")

HeaderPairs = list[tuple[bytes, bytes]]

_LINES_KEPT = 2048
_LONGEST_KEPT = 256
_CHANGES_KEPT = 8
_LENGTHS_KEPT = 16
_MOST_DIGITS = 18


class WireLines(list[tuple[bytes, bytes]]):
    """Header pairs that still know their bytes on the wire.

    `raw` is the lines with their CRLF. Whoever changes headers makes a new
    list, which has none: then they are rendered again. `shape` is what these
    lines share with others, None where nothing is kept of them.
    """

    __slots__ = ("changes", "media", "raw", "shape")
    raw: bytes
    shape: LineShape | None
    changes: dict[Hashable, WireLines] | None
    """What `changed` has made of exactly these lines so far."""
    media: tuple[bytes, bytes]
    """Of a response's lines: media type and content coding, as `body_headers` reads them."""


def wire_lines(pairs: HeaderPairs, media: tuple[bytes, bytes]) -> WireLines:
    """Return a response's lines as ones that are rendered once and used often.

    `media` is what `body_headers.media_type_and_coding` says of them.
    """
    lines = WireLines(pairs)
    lines.raw = render(pairs)
    lines.shape = None
    lines.media = media
    return lines


class LineShape:
    """Header lines with a gap where the digits of their Content-Length were, if they have one.

    One client's requests often differ in nothing else, so what follows from
    the other lines is found out once and kept here.
    """

    __slots__ = ("_after", "_at", "_before", "_changed", "_found", "_lines")

    def __init__(self, lines: HeaderPairs) -> None:
        self._lines = lines
        self._found: dict[Any, Any] = {}
        self._changed: dict[Any, LineShape] = {}
        self._at = next((at for at, pair in enumerate(lines) if pair[0].lower() == b"content-length"), -1)
        if self._at < 0:
            self._before, self._after = render(lines), b""
        else:
            self._before = b"%b%b: " % (render(lines[: self._at]), lines[self._at][0])
            self._after = b"\r\n" + render(lines[self._at + 1 :])

    def filled(self, length: tuple[bytes, bytes]) -> WireLines:
        """Return the lines with `length` in the place of their Content-Length."""
        lines = WireLines(self._lines)
        if self._at < 0:
            lines.raw = self._before
        else:
            lines[self._at] = length
            lines.raw = self._before + length[1] + self._after
        lines.shape = self
        lines.changes = None
        return lines

    def with_digits(self, lines: WireLines, digits: bytes) -> WireLines:
        """Return `lines` with another Content-Length; themselves where they have none."""
        return lines if self._at < 0 else self.filled((lines[self._at][0], digits))

    def found(self, question: Callable[[HeaderPairs], _Answer]) -> _Answer:
        """Return `question(lines)`, asked once; it must not depend on Content-Length."""
        try:
            return self._found[question]  # type: ignore[no-any-return]
        except KeyError:
            answer = self._found[question] = question(self._lines)
            return answer

    def changed(
        self, lines: WireLines, key: Hashable, change: Callable[[HeaderPairs], HeaderPairs]
    ) -> WireLines:
        """Return `change(lines)`, done once for each `key`; it must leave Content-Length as it is."""
        shape = self._changed.get(key)
        if shape is None:
            if len(self._changed) >= _CHANGES_KEPT:
                self._changed.clear()
            shape = self._changed[key] = LineShape(list(change(self._lines)))
        filled = shape.filled(lines[self._at] if self._at >= 0 else _NO_LENGTH)
        if lines.changes is None or len(lines.changes) >= _CHANGES_KEPT:
            lines.changes = {}
        lines.changes[key] = filled
        return filled


def answer(lines: HeaderPairs, question: Callable[[HeaderPairs], _Answer]) -> _Answer:
    """Return `question(lines)`, from memory where lines like these were asked before.

    The answer must not depend on the digits of Content-Length.
    """
    shape = lines.shape if type(lines) is WireLines else None
    return question(lines) if shape is None else shape.found(question)


def changed(lines: HeaderPairs, key: Hashable, change: Callable[[HeaderPairs], HeaderPairs]) -> HeaderPairs:
    """Return `change(lines)`, from memory where lines like these were changed so before.

    `key` names the change, its arguments included; it must leave the
    Content-Length alone.
    """
    if type(lines) is not WireLines or lines.shape is None:
        return change(lines)
    done = lines.changes
    if done is not None and key in done:
        return done[key]
    return lines.shape.changed(lines, key, change)


def rendered(pairs: HeaderPairs) -> bytes:
    """Return the lines as they go on the wire, each with its CRLF."""
    return pairs.raw if type(pairs) is WireLines else render(pairs)


class _OddLine(Exception):
    """A line that is not spelt `Name: value`, or a notable one too long to be kept."""


class _Pairs(dict[bytes, tuple[bytes, bytes]]):
    """The pair that each line is. Learns those it is asked for; raises _OddLine."""

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        name, mark, value = line.partition(b": ")
        if not mark or not name or b":" in name or value[:1] in (b" ", b"\t"):
            raise _OddLine
        lowered = name.lower()
        if lowered in NOTABLE:
            if len(line) > _LONGEST_KEPT:
                raise _OddLine
            _notable[line] = lowered, _meaning(lowered, value)
        pair = name, value
        if len(line) <= _LONGEST_KEPT:
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
        return int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else None
    value = value.strip(b" \t")
    if name == b"content-type":
        return media_type(value)
    if name == b"content-encoding":
        return b"" if value.lower() == b"identity" else value.lower()
    return value


def _look_up(lines: list[bytes], pairs: HeaderPairs) -> Iterator[tuple[bytes, Any]]:
    """Fill `pairs` with what `lines` are; return name and meaning of the notable ones. Raises _OddLine.

    Of lines met before nothing is done in Python: nearly all are.
    """
    if len(_pairs) > _LINES_KEPT:  # before, not between, lines of one head: none may be forgotten half-way
        _pairs.clear()
        _notable.clear()
    pairs.extend(map(_pair_of, lines))
    return filter(None, map(_notable.get, lines))


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
            forward = self._forward.filled(_NO_LENGTH)
            return self, pairs, RequestHead(forward, self._host, None, content_type=self._content_type)
        if digits is None:
            digits = pairs[at][1]
        line = pairs[at] = (pairs[at][0], digits)
        forward = self._forward.filled(line)
        return self, pairs, RequestHead(forward, self._host, int(digits), content_type=self._content_type)


PlainRequest = tuple[KnownHead, HeaderPairs, RequestHead]

_NO_LENGTH = (b"", b"")
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
    elif digits is not None and (not digits.isdigit() or len(digits) > _MOST_DIGITS):
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
        notable = _look_up(lines, pairs)
    except _OddLine:
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
        notable = _look_up(raw.split(b"\r\n"), pairs)
    except _OddLine:
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


def _learn_status(line: bytes) -> tuple[int, bytes] | None:
    """Return code and reason of a status line; None where it is odd or its response has no body."""
    digits, reason = line[9:12], line[13:]
    if line[:9] != b"HTTP/1.1 " or line[12:13] != b" " or not digits.isdigit() or has_controls(reason):
        return None
    code = int(digits)
    if not 200 <= code <= 599 or code in (204, 304):
        return None
    if len(line) <= _LONGEST_KEPT:
        if len(_statuses) >= _STATUSES_KEPT:
            _statuses.clear()
        _statuses[line] = code, reason
    return code, reason
