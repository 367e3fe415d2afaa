"""Header lines that remember their bytes, and what was made of them.

One client's requests mostly have the same lines but for a Content-Length.
What follows from the others is found out once. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from .headers import HeaderPairs, render

_Answer = TypeVar("_Answer")

_CHANGES_KEPT = 8
NO_LENGTH = (b"", b"")
"""In the place of a Content-Length where there is none."""


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
        filled = shape.filled(lines[self._at] if self._at >= 0 else NO_LENGTH)
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
