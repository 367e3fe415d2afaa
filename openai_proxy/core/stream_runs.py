"""Runs of events that only continue a text, each made one event.

For the assembly of streams: nearly every event differs from the one before
in a few bytes of text. Those are cut out and joined, and their events never
decoded: that takes a fifth of the time. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson
from attrs import frozen

from .stream_assembly import NAMES

_SHORTEST_RUN, _LONGEST_RUN = 4, 256
_TRIES = 8
_EVENTS_FOR_A_TRY = 32
"""So many joined events pay for another try: no stream costs much more than without all this."""

_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_.-"
_number = re.compile(rb"(?:-?(?:0|[1-9][0-9]{0,17})\n)*")
_text = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|delta|arguments|refusal)": ?"'
    rb'([^"\\]+(?:\\.[^"\\]*)*|(?:\\.[^"\\]*)+)"'
)
"""A member that may hold the growing text; the group is what it says, never empty."""
_NOT_PLAIN = bytes({*range(0x20), 0x22, 0x5C})
_escape = re.compile(
    rb'\\(?:["\\/bfnrt]|u(?:[0-9abcefABCEF][0-9a-fA-F]|[dD][0-7])[0-9a-fA-F]{2}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
"""An escape of a JSON string; of the halves of a surrogate pair only both together."""

_first_id = re.compile(rb'"id":"[A-Za-z0-9_.-]+"')
"""In front of the text and the words it says whose stream this is, and nothing that matters here."""

_TEXT, _A_WORD, _A_NUMBER = b"~text~", b"~word~", b"314159265358979323"
_MARK, _FILLINGS = _TEXT.decode(), (_A_WORD.decode(), int(_A_NUMBER))
_FIXED = frozenset(("type", "response", "choices", "output_index", "content_index", "summary_index"))
"""Members of an event that say where its text belongs."""


def shortened(events: list[bytes]) -> list[bytes]:
    """Return fewer events that are put together to the very same object.

    Takes and gives each event's data. O(n) over the stream.
    """
    kept: list[bytes] = []
    at, tries, end = 0, _TRIES, len(events)
    while tries > 0 and end - at >= _SHORTEST_RUN:
        likeness = _likeness(events[at], events[at + 1])
        run = likeness.join(events[at : at + _LONGEST_RUN]) if likeness is not None else None
        if run is None:
            kept.append(events[at])
            at += 1
            tries -= 1
        else:
            event, length = run
            kept.append(event)
            at += length
            tries += length // _EVENTS_FOR_A_TRY
    return kept + events[at:]


@frozen(eq=False)
class _Likeness:
    """What a run's events have in common: everything but their text and a word or two.

    `literals` stand around the gaps, in order. Of the gaps the one at `text`
    is the growing text; the others are words, those in `numbers` without
    quotes. `widths` are the words' sizes in bytes, before and behind the text, where
    they may always be the same.
    """

    literals: tuple[bytes, ...]
    text: int
    numbers: frozenset[int]
    widths: tuple[int, ...] | None

    def join(self, parts: list[bytes]) -> tuple[bytes, int] | None:
        """Return the event that the first of `parts` add up to, and how many they are; None for too few."""
        end = len(parts)
        while end > 0 and not self._fits(parts[end - 1]):  # most runs end a few events before their stream
            end -= 1
        event = self._joined(parts[:end])
        if event is None:
            end = next((at for at in range(end) if not self._fits(parts[at])), 0)
            event = self._joined(parts[:end])
        return (event, end) if event is not None else None

    def _fits(self, part: bytes) -> bool:
        """Whether it begins and ends alike; soon told."""
        return part.startswith(self.literals[0]) and part.endswith(self.literals[-1])

    def _joined(self, parts: list[bytes]) -> bytes | None:
        if len(parts) < _SHORTEST_RUN:
            return None
        columns = self._columns(parts)
        if columns is None:
            return None
        values = [column[-1] for column in columns]
        values[self.text] = b"".join(columns[self.text])
        return self.filled(values)

    def filled(self, values: list[bytes]) -> bytes:
        """Return the event with `values` in its gaps."""
        pieces = list(self.literals)
        for at, value in enumerate(values):
            pieces.insert(2 * at + 1, value)
        return b"".join(pieces)

    def _columns(self, parts: list[bytes]) -> list[list[bytes]] | None:
        """Return what stands in each gap, for all parts; None where one of them is not alike."""
        if len(self.literals) == 2:  # a text and no word, in the streams of most servers
            texts = self._texts(parts)
            return [texts] if texts is not None and _are_texts(texts) else None
        columns = self._cut_by_width(parts, self.widths) if self.widths is not None else None
        if columns is None or not self._are_all(columns, parts):
            columns = self._cut_by_literal(parts)
            if not self._are_all(columns, parts):
                return None
        return columns if all(self._may_hold(at, column) for at, column in enumerate(columns)) else None

    def _texts(self, parts: list[bytes]) -> list[bytes] | None:
        """Return what stands in the only gap, as `_columns` does but for what a text may hold."""
        first, last = self.literals
        start, stop = len(first), -len(last)
        texts = [part[start:stop] for part in parts]
        # As long as the parts only where each has both literals.
        return texts if first + (last + first).join(texts) + last == b"".join(parts) else None

    def _cut_by_width(self, parts: list[bytes], widths: tuple[int, ...]) -> list[list[bytes]]:
        """Return what is in the gaps where each word is as long as the one before."""
        sizes = [len(literal) for literal in self.literals]
        start, stop = sizes[0], -sizes[-1]
        before: list[list[bytes]] = []
        behind: list[list[bytes]] = []
        for at, width in enumerate(widths[: self.text]):
            before.append([part[start : start + width] for part in parts])
            start += width + sizes[at + 1]
        for at, width in enumerate(reversed(widths[self.text :])):
            behind.insert(0, [part[stop - width : stop] for part in parts])
            stop -= width + sizes[-2 - at]
        return [*before, [part[start:stop] for part in parts], *behind]

    def _cut_by_literal(self, parts: list[bytes]) -> list[list[bytes]]:
        start, stop = len(self.literals[0]), -len(self.literals[-1])
        rests = [part[start:stop] for part in parts]
        columns = []
        for literal in self.literals[1:-1]:
            cuts = [rest.partition(literal) for rest in rests]
            columns.append([cut[0] for cut in cuts])
            rests = [cut[2] for cut in cuts]
        columns.append(rests)
        return columns

    def _are_all(self, columns: list[list[bytes]], parts: list[bytes]) -> bool:
        """Whether literals and columns together are the parts: what lacks a literal has become longer by it."""
        step = 2 * len(self.literals) - 1
        pieces = [b""] * (step * len(parts))
        for at, literal in enumerate(self.literals):
            pieces[2 * at :: step] = [literal] * len(parts)
        for at, column in enumerate(columns):
            pieces[2 * at + 1 :: step] = column
        return b"".join(pieces) == b"".join(parts)

    def _may_hold(self, at: int, values: list[bytes]) -> bool:
        if at == self.text:
            return _are_texts(values)
        if at in self.numbers:
            lines = b"\n".join(values) + b"\n"
            return _number.fullmatch(lines) is not None and lines.count(b"\n") == len(values)
        return not b"".join(values).translate(None, _WORD)


def _are_texts(values: list[bytes]) -> bool:
    """Whether each is the inside of a JSON string."""
    joined = b"".join(values)
    if joined.isascii() and len(joined.translate(None, _NOT_PLAIN)) == len(joined):
        return True
    lines = b"\n".join(values)  # so that nothing of one completes what another began
    rest = _escape.sub(b"", lines)
    if len(rest.translate(None, _NOT_PLAIN)) != len(rest) - (len(values) - 1):
        return False
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return lines.count(b"\n") == len(values) - 1


# ---- what two events have in common


def _likeness(one: bytes, other: bytes) -> _Likeness | None:
    """Return what makes two events alike; None where joining them would change what they add up to."""
    text = _text.search(one)
    if text is None:
        return None
    left, right = one[: text.start(1)], one[text.end(1) :]
    if other.startswith(left) and other.endswith(right):  # the rest is for `join` to look at
        likeness = _Likeness((left, right), 0, frozenset(), ())
        return likeness if _only_continues(likeness, 0) else None
    other_text = _text.search(other)
    if other_text is None:
        return None
    other_left, other_right = other[: other_text.start(1)], other[other_text.end(1) :]
    before, after = _around_gap(left, other_left), _around_gap(right, other_right)
    if before is None or after is None:
        return None
    widths = None
    if len(left) == len(other_left) and len(right) == len(other_right):
        sides = ((left, before), (right, after))
        widths = tuple(len(side) - sum(map(len, around)) for side, around in sides if len(around) > 1)
    literals = before + after
    words = [at for at in range(len(literals) - 1) if at != len(before) - 1]
    numbers = frozenset(at for at in words if not literals[at].endswith(b'"'))
    likeness = _Likeness(literals, len(before) - 1, numbers, widths)
    return likeness if _only_continues(likeness, len(words)) else None


def _around_gap(one: bytes, other: bytes) -> tuple[bytes, ...] | None:
    """Return what stands on both sides of the one word that differs, or both as one; None for more."""
    if one == other:
        return (one,)
    size = min(len(one), len(other))
    differing = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    at = size - (differing.bit_length() + 7) // 8
    left, right = one[:at].rstrip(_WORD), one[at:].lstrip(_WORD)
    if len(left) + len(right) > size or not other.startswith(left) or not other.endswith(right):
        return None
    return (left, right) if right else None


def _only_continues(likeness: _Likeness, words: int) -> bool:
    """Whether such an event adds its text to the whole, and nothing that the one before had not."""
    values = [_A_NUMBER if at in likeness.numbers else _A_WORD for at in range(len(likeness.literals) - 1)]
    values[likeness.text] = _TEXT
    event = likeness.filled(values)
    if event.count(b"~") != 2 * (1 + words - len(likeness.numbers)):  # else a literal looks like a filling
        return False
    return _continues(_first_id.sub(b'"id":"~"', event, 1), words)


@lru_cache(256)
def _continues(data: bytes, words: int) -> bool:
    """Whether an event only continues a text."""
    try:
        event = orjson.loads(data)
    except ValueError:
        return False
    if not isinstance(event, dict):
        return False
    filled = [name for name, value in event.items() if value in _FILLINGS]
    if len(filled) != words or not _FIXED.isdisjoint(filled) or "response" in event:
        return False
    kind = event.get("type")
    if kind is not None:
        return str(kind).startswith("response.") and kind.endswith(".delta") and event.get("delta") == _MARK
    choices = event.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return False
    return "message" not in choices[0] and _traces(choices[0]) == 1


def _traces(members: dict[str, Any]) -> int:
    """Count what merging these members again would change: 1 where that is the text alone, else more."""
    return sum(_trace(name, value) for name, value in members.items())


def _trace(name: str, value: Any) -> int:
    if isinstance(value, str):
        if value == _MARK:
            return 1 if name not in NAMES else 2
        return 2 if value and name not in NAMES else 0
    if isinstance(value, dict):
        return _traces(value)
    if isinstance(value, list) and value:
        # Told by its index, an item is continued; without one it is another item.
        only = value[0]
        return _traces(only) if len(value) == 1 and _is_indexed(only) else 2
    return 0


def _is_indexed(item: Any) -> bool:
    return isinstance(item, dict) and type(item.get("index")) is int
