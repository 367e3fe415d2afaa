"""How much text a model wrote, by the bytes of its response as they pass. Pure."""

from __future__ import annotations

import re

_CARRY_BYTES = 64
"""Longer than a key with some space around its colon."""
_text_key = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|arguments|text)"[ \t\r\n]*:[ \t\r\n]*"'
)
_delta_key = re.compile(rb'"delta"[ \t\r\n]*:[ \t\r\n]*"')
_PLAIN_DELTA = b'"delta":{"content":"'
_EMPTY_TEXT = b':{"content":""}'
_plain_delta = re.compile(rb'"delta"(:\{"content":"[^"\\]*(?:\\.[^"\\]*)*"\})?', re.DOTALL)
"""The group is empty for one that has more, or something else."""
_FEWEST_PLAIN = 4


class TextMeter:
    """Count the bytes of the texts that a model wrote, as they pass.

    `deltas`: count only the deltas (a stream of the Responses API repeats
    each text whole several times).
    """

    __slots__ = ("_carry", "_inside", "_key", "size_bytes")

    def __init__(self, deltas: bool = False) -> None:
        self.size_bytes = 0
        self._key = _delta_key if deltas else _text_key
        self._carry = b""
        self._inside = False

    def events(self, data: bytes) -> int:
        """Return how many texts that are not empty begin in `data`; counts nothing."""
        return sum(data[found.end() : found.end() + 1] != b'"' for found in self._key.finditer(data))

    def feed(self, data: bytes) -> None:
        data = self._carry + data
        if not self._inside and self._key is _text_key:
            size_bytes, data = _without_plain_deltas(data)
            self.size_bytes += size_bytes
        at = 0
        while True:
            if self._inside:
                end = _closing_quote(data, at)
                if end < 0:
                    cut = len(data) - _odd_backslash(data, at)
                    self.size_bytes += cut - at
                    self._carry = data[cut:]
                    return
                self.size_bytes += end - at
                at = end + 1
                self._inside = False
            match = self._key.search(data, at)
            if match is None:
                self._carry = data[max(at, len(data) - _CARRY_BYTES) :]
                return
            at = match.end()
            self._inside = True


def _without_plain_deltas(data: bytes) -> tuple[int, bytes]:
    """Return the size of the texts that are all of their deltas, and what is left to be searched.

    So are nearly all deltas of nearly all chat streams; this takes half of
    the search's time. Left is what stands before the first of them and from
    the last one on, or all of it if there are others in between.
    """
    first, last = data.find(_PLAIN_DELTA), data.rfind(_PLAIN_DELTA)
    texts = _plain_delta.findall(data, first, last) if first >= 0 else []
    if len(texts) < _FEWEST_PLAIN or b"" in texts:
        return 0, data
    return sum(map(len, texts)) - len(texts) * len(_EMPTY_TEXT), data[:first] + data[last:]


def _closing_quote(data: bytes, start: int) -> int:
    at = data.find(b'"', start)
    while at >= 0 and _odd_backslash(data, start, at):
        at = data.find(b'"', at + 1)
    return at


def _odd_backslash(data: bytes, start: int, end: int | None = None) -> int:
    """Return 1 if an odd number of backslashes ends at `end`, else 0."""
    last = before = (len(data) if end is None else end) - 1
    while before >= start and data[before] == 0x5C:
        before -= 1
    return (last - before) % 2
