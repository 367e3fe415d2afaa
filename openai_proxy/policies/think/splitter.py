"""Separate thoughts from the answer in a text that comes in pieces.

Text only: `rewrite` and `filters` deal with JSON and events. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias

from attrs import define, field, frozen

HOLD_LIMIT_CHARS = 1024 * 1024
"""A later start tag whose end tag is farther away than this is text."""

VISIBLE, THOUGHT, GONE = 0, 1, 2
"""The kinds of pieces: visible; thoughts, which are moved or dropped; always dropped (tags, trimmed space)."""
Piece: TypeAlias = tuple[int, str]

_short_escapes = re.compile(r'["\\/\x00-\x1f]')
"""Characters that JSON can also escape in another way than `\\uXXXX`."""


@frozen
class ThinkRule:
    """How to treat the thoughts of a model."""

    mode: str = "keep"
    """`keep`, `strip` or `reasoning_content`."""
    start_tag: str = "<think>"
    end_tag: str = "</think>"
    trim: bool = False
    """Drop the white space that follows a block."""
    where: str = "anywhere"
    """`anywhere`, or `start`: later blocks are text."""
    implicit_start: bool = False
    """Texts begin inside a block: the prompt's template has the start tag."""
    first_byte: bytes = field(init=False, repr=False)
    """The first byte of an unescaped start tag in JSON."""
    escape: bytes = field(init=False, repr=False)
    """The beginning of an escaped character of a start tag: `\\u` if there is no shorter form."""

    @first_byte.default
    def _first_byte(self) -> bytes:
        return self.start_tag.encode()[:1]

    @escape.default
    def _escape(self) -> bytes:
        return b"\\" if _short_escapes.search(self.start_tag) else b"\\u"

    def may_begin_in(self, data: bytes) -> bool:
        """Return whether a start tag may begin in some bytes of JSON, by a search instead of a parse."""
        return self.first_byte in data or self.escape in data

    def may_change(self, text: str, at_start: bool = True) -> bool:
        """Return whether anything in a whole text would change; `at_start`: it may begin inside a block."""
        return self.start_tag in text or (self.implicit_start and at_start and text != "")

    @property
    def active(self) -> bool:
        """Whether answers are changed at all."""
        return self.mode != "keep"


State: TypeAlias = Literal["implicit", "before", "text", "thought", "doubt"]


@define(slots=True)
class ThinkSplitter:
    """Split a text into its visible part and the thoughts between the tags.

    States: `implicit` (inside a block whose start tag the prompt has; the
    tag may come all the same), `before` (nothing but white space and blocks
    so far), `thought` (inside a block at the start, certain even if it never
    closes), `text`, `doubt` (after a start tag later in the text: a block if
    it closes within `limit_chars`, else text). A lone end tag is text; a
    start tag inside a block is part of the thoughts.

    The pieces that it returns, joined, are the text that it was fed. O(n) over
    the text; holds at most one character less than a tag, and the text that is
    in doubt.
    """

    rule: ThinkRule
    implicit: bool = True
    """Whether `rule.implicit_start` applies to this text."""
    limit_chars: int = HOLD_LIMIT_CHARS
    state: State = field(init=False)
    held: str = field(init=False, default="")
    """The beginning of a possible tag."""
    trimming: bool = field(init=False, default=False)
    _doubt: list[str] = field(init=False, factory=list)
    _doubt_chars: int = field(init=False, default=0)
    """Characters in doubt, without the start tag."""

    @state.default
    def _first_state(self) -> State:
        return "implicit" if self.implicit and self.rule.implicit_start else "before"

    @property
    def idle(self) -> bool:
        """Whether only a start tag would change the state."""
        return self.state == "text" and not (self.held or self.trimming)

    @property
    def answering(self) -> bool:
        """Whether something other than white space and blocks has come."""
        return self.state in ("text", "doubt")

    @property
    def holds(self) -> bool:
        """Whether something was fed and not yet returned."""
        return bool(self.held or self._doubt)

    @property
    def undecided(self) -> str:
        """The text that was fed and not yet returned."""
        return "".join(self._doubt) + self.held

    def feed(self, text: str) -> list[Piece]:
        """Return the pieces of the text that are decided now."""
        pieces: list[Piece] = []
        text, self.held = self.held + text, ""
        at: int | None = 0
        while at is not None and at < len(text):
            at = _STEPS[self.state](self, text, at, pieces)
        return pieces

    def finish(self) -> list[Piece]:
        """Return the pieces of the held text, because the text is over. May be fed again."""
        pieces: list[Piece] = []
        held, self.held = self.undecided, ""
        if self.state in ("implicit", "thought"):
            if held:
                pieces.append((THOUGHT, held))
            return pieces
        if self.state == "doubt":
            self._end_doubt()
        self._show(held, pieces)
        return pieces

    def _show(self, text: str, pieces: list[Piece]) -> None:
        if self.trimming and text:
            rest = text.lstrip()
            self.trimming = not rest
            if len(rest) < len(text):
                pieces.append((GONE, text[: len(text) - len(rest)]))
            text = rest
        if text:
            pieces.append((VISIBLE, text))

    def _in_implicit(self, text: str, at: int, pieces: list[Piece]) -> int | None:
        tag = self.rule.start_tag
        space = len(text) - len(text.lstrip())
        found = text.find(tag, 0, space + len(tag))
        end = found if found >= 0 else len(text) - _partial(text, 0, tag)
        if found < 0 and text[:end].strip():
            self.state = "thought"
            return 0
        if end:
            pieces.append((THOUGHT, text[:end]))
        if found < 0:
            self.held = text[end:]
            return None
        pieces.append((GONE, tag))
        self.state = "thought"
        return found + len(tag)

    def _in_text(self, text: str, at: int, pieces: list[Piece]) -> int | None:
        tag = self.rule.start_tag
        found = end = -1
        if self.state == "before" or self.rule.where == "anywhere":
            found = text.find(tag, at)
            end = found if found >= 0 else len(text) - _partial(text, at, tag)
        if self.state == "before" and text[at:end].strip():
            self.state = "text"
        if self.state == "text" and self.rule.where == "start":
            self._show(text[at:], pieces)
            return None
        self._show(text[at:end], pieces)
        if found < 0:
            self.held = text[end:]
            return None
        if self.state == "before":
            pieces.append((GONE, tag))
            self.state = "thought"
        else:
            self._doubt.append(tag)
            self.state = "doubt"
        return found + len(tag)

    def _in_thought(self, text: str, at: int, pieces: list[Piece]) -> int | None:
        tag = self.rule.end_tag
        found = text.find(tag, at)
        end = found if found >= 0 else len(text) - _partial(text, at, tag)
        if end > at:
            pieces.append((THOUGHT, text[at:end]))
        if found < 0:
            self.held = text[end:]
            return None
        pieces.append((GONE, tag))
        self.state, self.trimming = "before", self.rule.trim
        return found + len(tag)

    def _in_doubt(self, text: str, at: int, pieces: list[Piece]) -> int | None:
        tag = self.rule.end_tag
        last = at + self.limit_chars - self._doubt_chars  # an end tag that begins later does not count
        found = text.find(tag, at, last + len(tag))
        if found >= 0:
            thoughts = "".join(self._doubt[1:]) + text[at:found]
            pieces.append((GONE, self._doubt[0]))
            if thoughts:
                pieces.append((THOUGHT, thoughts))
            pieces.append((GONE, tag))
            self._end_doubt()
            self.trimming = self.rule.trim
            return found + len(tag)
        if len(text) >= last + len(tag):
            self._doubt.append(text[at:last])
            released = "".join(self._doubt)
            self._end_doubt()
            self._show(released, pieces)
            return last
        end = min(len(text) - _partial(text, at, tag), last)
        self._doubt.append(text[at:end])
        self._doubt_chars += end - at
        self.held = text[end:]
        return None

    def _end_doubt(self) -> None:
        self._doubt = []
        self._doubt_chars = 0
        self.state = "text"


_STEPS = {
    "implicit": ThinkSplitter._in_implicit,
    "before": ThinkSplitter._in_text,
    "text": ThinkSplitter._in_text,
    "thought": ThinkSplitter._in_thought,
    "doubt": ThinkSplitter._in_doubt,
}


def _partial(text: str, start: int, tag: str) -> int:
    """Return the number of characters at the end of `text` that may begin `tag`."""
    at = text.find(tag[0], max(start, len(text) - len(tag) + 1))
    while at >= 0:
        if tag.startswith(text[at:]):
            return len(text) - at
        at = text.find(tag[0], at + 1)
    return 0


def joined(pieces: Iterable[Piece], kind: int = VISIBLE) -> str:
    """Return the joined text of the pieces of one kind."""
    return "".join([text for each, text in pieces if each == kind])


def split_pieces(text: str, rule: ThinkRule, at_start: bool = True) -> list[Piece]:
    """Return the pieces of a whole text; `at_start`: `rule.implicit_start` applies to it."""
    splitter = ThinkSplitter(rule, at_start)
    return splitter.feed(text) + splitter.finish()


def split_text(text: str, rule: ThinkRule) -> tuple[str, str]:
    """Return (visible, thoughts) of a whole text."""
    pieces = split_pieces(text, rule)
    return joined(pieces), joined(pieces, THOUGHT)
