"""Split a byte stream into server-sent events, and keep their bytes.

WHATWG HTML §9.2.6: lines end with LF, CR or CRLF and nothing else; a blank
line ends an event; a leading BOM does not count. All input bytes come out again
in the `raw` of some block, in order. Pure.
"""

from __future__ import annotations

import re

from attrs import frozen

from ..exchange.buffered_bytes import Lease

UNCOUNTED_BYTES = 64 * 1024
"""The most bytes of a block that are held without a lease: about one read."""

_BOM = b"\xef\xbb\xbf"
_line_end = re.compile(rb"\r\n|\n|\r")
# The end of a line followed by a blank line. "\r\n" is one line end, never two.
_block_end = re.compile(rb"\n(?:\n|\r\n?)|\r\r\n?")
_data_field = re.compile(rb"data(?::[ ]?|$)")


@frozen(eq=False, repr=False)
class SSEBlock:
    """Some consecutive bytes of the stream that belong together."""

    raw: bytes
    """The original bytes, with line ends and the blank line."""
    data: bytes | None = None
    """The event's data, its lines joined by LF; None if the bytes are no event with data."""
    continued: bool = False
    """Whether it is the LF of the CRLF whose CR ended the block before: drop it with that block."""


_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")


def begins_stream(body: bytes) -> bool | None:
    """Say whether a body with this beginning is an event stream, whatever its label; None if more is needed.

    No JSON document begins like a line of an event stream.
    """
    if _BOM.startswith(body):
        return None
    beginning = body[:64].removeprefix(_BOM).lstrip(b"\r\n")
    if not beginning:
        return None if len(body) < 64 else False
    if beginning.startswith(_BEGINNINGS):
        return True
    return None if any(each.startswith(beginning) for each in _BEGINNINGS) else False


class SSEDecoder:
    """Split a stream into blocks, incrementally; any division into reads gives the same events.

    States: start (of a block), comment (passed on as it comes), block (held
    until its blank line), oversize (a block above `limit_bytes` passes on as it
    comes, as blocks without data). Holds at most `limit_bytes`, and no more
    than UNCOUNTED_BYTES if `lease` has no room: then the block is oversize.
    O(n) over the stream, however it is divided, because the held bytes are
    joined once the end has come.
    """

    __slots__ = (
        "_at_beginning",
        "_ended_with_cr",
        "_held",
        "_held_bytes",
        "_in_comment",
        "_lease",
        "_limit",
        "_oversize_tail",
    )

    def __init__(self, limit_bytes: int, lease: Lease | None = None) -> None:
        self._limit = limit_bytes
        self._lease = lease
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._at_beginning = True
        self._in_comment = False
        self._oversize_tail: bytes | None = None
        self._ended_with_cr = False

    @property
    def at_boundary(self) -> bool:
        """Whether nothing is held, and the next byte begins a block."""
        return not (
            self._held
            or self._at_beginning
            or self._in_comment
            or self._ended_with_cr
            or self._oversize_tail is not None
        )

    def skip(self, data: bytes) -> bool:
        """Skip `data`, which is whole blocks, without feeding it; return False if it must be fed."""
        if self._at_beginning and not self._held and not data.startswith(_BOM[:1]):
            self._at_beginning = False
        return self.at_boundary

    def feed(self, data: bytes) -> list[SSEBlock]:
        """Return the blocks that `data` completes, in order; see `SSEBlock`."""
        blocks: list[SSEBlock] = []
        if not data:
            return blocks
        if self._ended_with_cr:
            self._ended_with_cr = False
            if data[0] == 0x0A:
                blocks.append(SSEBlock(b"\n", continued=True))
                data = data[1:]
        scan = 0
        if self._held:
            # Of the held bytes only the last one can be part of the end.
            end = -1 if self._at_beginning else find_block_end(self._held[-1][-1:] + data, 0)
            if end < 0 and not self._at_beginning and self._may_hold(self._held_bytes + len(data)):
                self._hold(data)
                return blocks
            scan = self._held_bytes - 1
            data = b"".join([*self._held, data])
            self._let_go()
        at = self._skip_bom(data, blocks) if self._at_beginning else 0
        has_cr = b"\r" in data
        while at < len(data):
            next_at = self._cut(data, at, max(at, scan), has_cr, blocks)
            if next_at is None:
                self._hold(data[at:])
                break
            at = next_at
        return blocks

    def _may_hold(self, size_bytes: int) -> bool:
        """Return whether there is room for this size of a block, and reserve it if there is."""
        if size_bytes > self._limit:
            return False
        return self._lease is None or size_bytes <= UNCOUNTED_BYTES or self._lease.hold(size_bytes)

    def _let_go(self) -> None:
        if self._lease is not None and self._held_bytes > UNCOUNTED_BYTES:
            self._lease.free()
        self._held = []
        self._held_bytes = 0

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)

    def finish(self) -> list[SSEBlock]:
        """Return the held bytes as a last block, which may be an event without its blank line."""
        held = b"".join(self._held)
        self._let_go()
        return [SSEBlock(held, _data_of(held))] if held else []

    def _skip_bom(self, held: bytes, blocks: list[SSEBlock]) -> int:
        if _BOM.startswith(held) and len(held) < len(_BOM):
            return 0
        self._at_beginning = False
        if not held.startswith(_BOM):
            return 0
        blocks.append(SSEBlock(_BOM))
        return len(_BOM)

    def _cut(self, held: bytes, at: int, scan: int, has_cr: bool, blocks: list[SSEBlock]) -> int | None:
        """Append the block at `at`; return the offset of the next one, None if more is needed.

        Its end is not before `scan`.
        """
        if self._oversize_tail is not None:
            return self._pass_oversize(held, at, blocks)
        first = held[at]
        if self._in_comment or first == 0x3A:
            return self._pass_comment(held, at, blocks)
        if first in b"\r\n":
            return self._pass_line(held, at, at, blocks)
        end = find_block_end(held, scan, has_cr)
        if end >= 0:
            raw = held[at:end]
            blocks.append(SSEBlock(raw, _data_of(raw)))
            self._note_cr(held, end)
            return end
        if self._at_beginning or self._may_hold(len(held) - at):
            return None
        self._oversize_tail = held[-1:]
        blocks.append(SSEBlock(held[at:]))
        return len(held)

    def _pass_comment(self, held: bytes, at: int, blocks: list[SSEBlock]) -> int:
        found = _line_end.search(held, at)
        self._in_comment = found is None
        if found is None:
            blocks.append(SSEBlock(held[at:]))
            return len(held)
        return self._pass_line(held, at, found.start(), blocks)

    def _pass_line(self, held: bytes, at: int, line_end: int, blocks: list[SSEBlock]) -> int:
        end = line_end + (2 if held.startswith(b"\r\n", line_end) else 1)
        blocks.append(SSEBlock(held[at:end]))
        self._note_cr(held, end)
        return end

    def _pass_oversize(self, held: bytes, at: int, blocks: list[SSEBlock]) -> int:
        """Pass on bytes up to the block's end, which the last byte of the read before may have begun."""
        assert self._oversize_tail is not None
        window = self._oversize_tail + held[at:]
        found = _block_end.search(window)
        end = len(held) if found is None else at + found.end() - 1
        blocks.append(SSEBlock(held[at:end]))
        self._oversize_tail = window[-1:] if found is None else None
        if found is not None:
            self._note_cr(held, end)
        return end

    def _note_cr(self, held: bytes, end: int) -> None:
        self._ended_with_cr = end == len(held) and held[end - 1] == 0x0D


def find_block_end(held: bytes, start: int, has_cr: bool | None = None) -> int:
    """Return the offset after the first blank line, or -1. Without CR a byte search, 10 times faster.

    `has_cr` says whether there is one in `held`: finding out for each event
    would search all bytes after it.
    """
    if b"\r" in held if has_cr is None else has_cr:
        found = _block_end.search(held, start)
        return found.end() if found else -1
    end = held.find(b"\n\n", start)
    return end + 2 if end >= 0 else -1


def _is_plain(raw: bytes) -> bool:
    """Return whether the block is one `data: ` line ended by LF, as nearly all are."""
    if not raw.startswith(b"data: ") or not raw.endswith(b"\n\n"):
        return False
    return raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw


def _data_of(raw: bytes) -> bytes | None:
    if _is_plain(raw):
        return raw[6:-2]
    values = [line[found.end() :] for line in _line_end.split(raw) if (found := _data_field.match(line))]
    return b"\n".join(values) if values else None


def with_data(raw: bytes, data: bytes) -> bytes:
    """Return the block `raw` with `data` in place of its own; other lines and line ends stay.

    LF inside `data` begins a new data line with the first data line's prefix
    and line end.
    """
    if b"\n" not in data and _is_plain(raw):
        return b"data: " + data + b"\n\n"
    parts: list[bytes] = []
    at, done = 0, False
    while at < len(raw):
        found = _line_end.search(raw, at)
        end, next_at = (found.start(), found.end()) if found else (len(raw), len(raw))
        line, line_end = raw[at:end], raw[end:next_at]
        at = next_at
        field = _data_field.match(line)
        if field is None:
            parts.append(line + line_end)
        elif not done:
            done = True
            prefix = line[: field.end()] if field[0] != b"data" else b"data:"
            separator = (line_end or b"\n") + prefix
            parts.append(prefix + separator.join(data.split(b"\n")) + line_end)
    return b"".join(parts)
