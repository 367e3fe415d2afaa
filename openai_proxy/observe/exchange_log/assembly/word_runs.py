"""Runs of events that differ in their text and a word or two: a time, a number of sequence, padding. Pure.

So are all streams of api.openai.com: chat completions have an `obfuscation`
in each event, responses a `sequence_number` too. With this their assembly
takes half of the CPU time at 300 events, four fifths at 40.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from .texts import A_NUMBER, A_TEXT, A_WORD, TEXT, are_texts, only_continues

Join: TypeAlias = Callable[[list[bytes]], "tuple[bytes, int] | None"]
"""Returns the event that the first of the given ones add up to, and how many they are; None for too few."""

SHORTEST_RUN = 4


def join_first(
    events: list[bytes], fits: Callable[[bytes], bool], joined: Callable[[list[bytes]], bytes | None]
) -> tuple[bytes, int] | None:
    """Join as many of the first events as `fits` says, as a Join does; `joined` gives None if some are not alike."""
    end = len(events)
    while end > 0 and not fits(events[end - 1]):  # most runs end a few events before their stream
        end -= 1
    event = joined(events[:end]) if end >= SHORTEST_RUN else None
    if event is None:
        end = next((at for at in range(end) if not fits(events[at])), 0)
        event = joined(events[:end]) if end >= SHORTEST_RUN else None
    return (event, end) if event is not None else None


_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_.-"
_number = re.compile(rb"(?:-?(?:0|[1-9][0-9]{0,17})\n)*")


@frozen(eq=False)
class _Likeness:
    """What a run's events have in common: everything but their text and a word or two.

    `literals` stand around the gaps, in order. Of the gaps the one at `text`
    is the growing text; the others are words, those in `numbers` without
    quotes. `widths` are the words' sizes in bytes, before and after the
    text, if they may always be the same.
    """

    literals: tuple[bytes, ...]
    text: int
    numbers: frozenset[int]
    widths: tuple[int, ...] | None

    def join(self, events: list[bytes]) -> tuple[bytes, int] | None:
        return join_first(events, self._fits, self._joined)

    def _fits(self, event: bytes) -> bool:
        """Whether it begins and ends alike: a quick test."""
        return event.startswith(self.literals[0]) and event.endswith(self.literals[-1])

    def _joined(self, events: list[bytes]) -> bytes | None:
        columns = self._columns(events)
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
        """Return what stands in each gap, for all parts; None if one of them is not alike."""
        columns = self._cut_by_width(parts, self.widths) if self.widths is not None else None
        if columns is None or not self._are_all(columns, parts):
            columns = self._cut_by_literal(parts)
            if not self._are_all(columns, parts):
                return None
        return columns if all(self._may_hold(at, column) for at, column in enumerate(columns)) else None

    def _cut_by_width(self, parts: list[bytes], widths: tuple[int, ...]) -> list[list[bytes]]:
        """Return what is in the gaps if each word is as long as the one before."""
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
            return are_texts(values, b"".join(values))
        if at in self.numbers:
            lines = b"\n".join(values) + b"\n"
            return _number.fullmatch(lines) is not None and lines.count(b"\n") == len(values)
        return not b"".join(values).translate(None, _WORD)


def likeness_with_words(left: bytes, right: bytes, other: bytes) -> Join | None:
    """Return what joins events like these two; None if that would change what they add up to.

    `left` and `right` are what is around the text of the one.
    """
    other_text = TEXT.search(other)
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
    return likeness.join if _continues(likeness, len(words)) else None


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


def _continues(likeness: _Likeness, words: int) -> bool:
    values = [A_NUMBER if at in likeness.numbers else A_WORD for at in range(len(likeness.literals) - 1)]
    values[likeness.text] = A_TEXT
    event = likeness.filled(values)
    if event.count(b"~") != 2 * (1 + words - len(likeness.numbers)):  # else a literal looks like a filling
        return False
    return only_continues(event, words)
