"""Heads without anything odd in them, cut into lines instead of parsed.

Nearly every message has such a head: HTTP/1.1, a Content-Length or no
body, nothing hop-by-hop. Whatever else it says sends the message the long
way (`None`). Pure. Nothing is validated here: both edges let llhttp look
at the same bytes first or afterwards, and use the result only where it
agrees. Header lines repeat from message to message, so what a line says is
kept by its bytes: that, not the parsing, is why this is four times faster.
"""

from __future__ import annotations

from .headers import NOTABLE, RequestHead, is_host, media_type, render

HeaderPairs = list[tuple[bytes, bytes]]
_Line = tuple[tuple[bytes, bytes], bytes]

_LINES_KEPT = 2048
_LONGEST_KEPT = 256
_lines: dict[bytes, _Line] = {}


class WireLines(list[tuple[bytes, bytes]]):
    """Header pairs that still know their bytes on the wire.

    `raw` is the lines with their CRLF. Whoever changes headers makes a new
    list, which has none: then they are rendered again.
    """

    __slots__ = ("raw",)
    raw: bytes


def rendered(pairs: HeaderPairs) -> bytes:
    """Return the lines as they go on the wire, each with its CRLF."""
    return pairs.raw if type(pairs) is WireLines else render(pairs)


def _learn(line: bytes) -> _Line | None:
    """Return the pair that `line` is, and its lower-cased name where that is notable, else b"".

    None for a line that is not spelt `Name: value`.
    """
    name, mark, value = line.partition(b": ")
    if not mark or not name or b":" in name or value[:1] in (b" ", b"\t"):
        return None
    lowered = name.lower()
    known = ((name, value), lowered if lowered in NOTABLE else b"")
    if len(line) <= _LONGEST_KEPT:
        if len(_lines) >= _LINES_KEPT:
            _lines.clear()
        _lines[line] = known
    return known


PlainRequest = tuple[bytes, bytes, HeaderPairs, RequestHead]


class _Template:
    """A plain request's head with a gap where the digits of its Content-Length were."""

    __slots__ = (
        "_after",
        "_at",
        "_before",
        "_forward",
        "_forward_at",
        "_head",
        "_method",
        "_pairs",
        "_target",
    )

    def __init__(self, plain: PlainRequest, digits: bytes) -> None:
        self._method, self._target, self._pairs, self._head = plain
        self._forward = self._head.forward
        line = (b"Content-Length", digits)
        self._at = self._pairs.index(line)
        self._forward_at = self._forward.index(line)
        before, name, after = (b"\r\n" + rendered(self._forward)).partition(_LENGTH)
        self._before = (before + name)[2:]
        self._after = after[len(digits) :]

    def filled(self, digits: bytes) -> PlainRequest:
        """Return the head with `digits` in the gap."""
        line = (b"Content-Length", digits)
        pairs = self._pairs.copy()
        pairs[self._at] = line
        forward = WireLines(self._forward)
        forward[self._forward_at] = line
        forward.raw = self._before + digits + self._after
        head = self._head
        return (
            self._method,
            self._target,
            pairs,
            RequestHead(forward, head.host, int(digits), content_type=head.content_type),
        )


_LENGTH = b"\r\nContent-Length: "
_HEADS_KEPT = 512
_LONGEST_HEAD_KEPT = 2048
_heads: dict[bytes, _Template] = {}
"""By their bytes without the digits of Content-Length.

One client's requests often differ in nothing else. Heads with equal keys
are equal but for those digits, for a plain head has one Content-Length.
"""


def plain_request(head: bytes) -> PlainRequest | None:
    """Return method, target, header lines and what they say, or None for an odd head.

    `head` is everything before the empty line. Of the notable fields only
    Host, Content-Length, Content-Type and a bare `Connection: keep-alive`
    are plain.
    """
    start = head.find(_LENGTH) + len(_LENGTH)
    if start < len(_LENGTH) or len(head) > _LONGEST_HEAD_KEPT:
        return _read_request(head)
    stop = head.find(b"\r\n", start)
    digits = head[start:] if stop < 0 else head[start:stop]
    key = head[:start] if stop < 0 else head[:start] + head[stop:]
    template = _heads.get(key)
    if template is not None and digits.isdigit() and len(digits) <= 18:
        return template.filled(digits)
    plain = _read_request(head)
    if plain is not None:
        if len(_heads) >= _HEADS_KEPT:
            _heads.clear()
        _heads[key] = _Template(plain, digits)
    return plain


def _read_request(head: bytes) -> PlainRequest | None:
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or words[2] != b"HTTP/1.1":
        return None
    del lines[0]
    kept = _lines.get
    known = [kept(line) or _learn(line) for line in lines]
    if None in known:
        return None
    pairs = [each[0] for each in known]  # type: ignore[index]  # no None among them
    forward = WireLines(pairs)
    host: bytes | None = None
    length: int | None = None
    content_type = b""
    for pair, name in [each for each in known if each[1]]:  # type: ignore[index,misc]
        value = pair[1]
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                return None
            length = int(value)
        elif name == b"content-type":
            content_type = media_type(value.strip(b" \t"))
        elif name == b"host":
            host = value.strip(b" \t") if host is None else b"/"
            if not is_host(host):
                return None
            forward.remove(pair)
            lines.remove(b"%b: %b" % pair)
        elif name == b"connection" and value.lower() == b"keep-alive":
            forward.remove(pair)
            lines.remove(b"%b: %b" % pair)
        else:
            return None
    if host is None:
        return None
    lines.append(b"")
    forward.raw = b"\r\n".join(lines)
    return words[0], words[1], pairs, RequestHead(forward, host, length, content_type=content_type)


def plain_response(head: bytes) -> tuple[int, bytes, HeaderPairs, int] | None:
    """Return status, reason, header lines and Content-Length, or None for an odd head.

    Plain are final HTTP/1.1 responses with one Content-Length that have a
    body and no hop-by-hop field.
    """
    first, _, raw = head.partition(b"\r\n")
    status = first[9:12]
    if first[:9] != b"HTTP/1.1 " or first[12:13] != b" " or not status.isdigit():
        return None
    code = int(status)
    if not 200 <= code <= 599 or code in (204, 304):
        return None
    kept = _lines.get
    known = [kept(line) or _learn(line) for line in raw.split(b"\r\n")]
    if None in known:
        return None
    length: int | None = None
    for pair, name in [each for each in known if each[1]]:  # type: ignore[index,misc]  # no None among them
        if name == b"content-length":
            if length is not None or not pair[1].isdigit() or len(pair[1]) > 18:
                return None
            length = int(pair[1])
        elif name not in _HARMLESS:
            return None
    if length is None:
        return None
    pairs = WireLines([each[0] for each in known])  # type: ignore[index]
    pairs.raw = raw + b"\r\n"
    return code, first[13:], pairs, length


_HARMLESS = frozenset((b"content-type", b"content-encoding", b"via", b"host", b"expect"))
"""Notable in a request's head, plain in a response's."""
