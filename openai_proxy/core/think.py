"""Thoughts told apart from the answer in a text that comes in pieces.

Text only: JSON and events are in `think_rewrite` and `think_filters`. Pure.
"""

from __future__ import annotations

import re

from attrs import define, field, frozen

_short_escapes = re.compile(r'["\\/\x00-\x1f]')
"""Characters that JSON can escape otherwise than as `\\uXXXX`."""


@frozen
class ThinkRule:
    """What to do with the thoughts of a model."""

    mode: str = "keep"
    """`keep`, `strip` or `reasoning_content`."""
    start_tag: str = "<think>"
    end_tag: str = "</think>"
    trim: bool = False
    """Drop the white space that follows a block."""
    first_byte: bytes = field(init=False, repr=False)
    """What a start tag in JSON begins with, where it is not escaped."""
    escape: bytes = field(init=False, repr=False)
    """What an escaped character of a start tag begins with: `\\u` where there is no shorter way."""

    @first_byte.default
    def _first_byte(self) -> bytes:
        return self.start_tag.encode()[:1]

    @escape.default
    def _escape(self) -> bytes:
        return b"\\" if _short_escapes.search(self.start_tag) else b"\\u"

    def may_begin_in(self, data: bytes) -> bool:
        """Tell whether a start tag may begin in some bytes of JSON; a search instead of a parse."""
        return self.first_byte in data or self.escape in data

    @property
    def active(self) -> bool:
        """Whether answers are changed at all."""
        return self.mode != "keep"


@define(slots=True)
class ThinkSplitter:
    """Split a text into what is visible and the thoughts between the tags.

    States: outside or inside a block; with `trim` also after one, until
    something else than white space comes. A lone end tag is text; a start
    tag inside a block is part of the thoughts. O(n) over the text; holds
    at most one character less than a tag.
    """

    start_tag: str
    end_tag: str
    trim: bool = False
    inside: bool = field(init=False, default=False)
    held: str = field(init=False, default="")
    """The beginning of what may become a tag."""
    trimming: bool = field(init=False, default=False)

    @property
    def idle(self) -> bool:
        """Nothing but a start tag would change what comes next."""
        return not (self.inside or self.held or self.trimming)

    def feed(self, text: str) -> tuple[str, str]:
        """Return (visible, thoughts) of `text` as far as they are certain."""
        parts: tuple[list[str], list[str]] = ([], [])
        text = self.held + text
        at = 0
        while True:
            tag = self.end_tag if self.inside else self.start_tag
            found = text.find(tag, at)
            end = found if found >= 0 else len(text) - _partial(text, at, tag)
            parts[self.inside].append(text[at:end] if self.inside else self._trimmed(text[at:end]))
            if found < 0:
                self.held = text[end:]
                return "".join(parts[0]), "".join(parts[1])
            at = found + len(tag)
            self.trimming = self.inside and self.trim
            self.inside = not self.inside

    def finish(self) -> tuple[str, str]:
        """Return (visible, thoughts) of what is held: the text is over. May be fed again."""
        held, self.held = self.held, ""
        return ("", held) if self.inside else (self._trimmed(held), "")

    def _trimmed(self, text: str) -> str:
        if self.trimming and text:
            text = text.lstrip()
            self.trimming = not text
        return text


def _partial(text: str, start: int, tag: str) -> int:
    """Return how many characters at the end of `text` may begin `tag`."""
    at = text.find(tag[0], max(start, len(text) - len(tag) + 1))
    while at >= 0:
        if tag.startswith(text[at:]):
            return len(text) - at
        at = text.find(tag[0], at + 1)
    return 0


def split_text(text: str, rule: ThinkRule) -> tuple[str, str]:
    """Return (visible, thoughts) of a whole text."""
    splitter = ThinkSplitter(rule.start_tag, rule.end_tag, rule.trim)
    visible, thoughts = splitter.feed(text)
    last_visible, last_thoughts = splitter.finish()
    return visible + last_visible, thoughts + last_thoughts
