"""Header lines of a head that was sent long ago, in a fifth of the memory. Pure.

As pairs, the lines of a head of OpenAI's take 4 KiB; a stream may go on for
minutes, and is asked for them only when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from ..exchange.record import HeaderLines, HeaderPairs
from .headers import ReadLines
from .render import header_lines

_END = b"\r\n"


class KeptLines(Sequence[tuple[bytes, bytes]]):
    """A head's header pairs, made anew from their bytes whenever they are asked for. Never mutated.

    `request_id` is that of the `ReadLines` that they were; None if they were none, or had none.
    """

    __slots__ = ("_raw", "request_id")

    def __init__(self, raw: bytes, request_id: bytes | None = None) -> None:
        """`raw` are rendered lines, each with its CRLF."""
        self._raw = raw
        self.request_id = request_id

    def _pairs(self) -> list[tuple[bytes, bytes]]:
        parted = [line.partition(b": ") for line in self._raw.split(_END)[:-1]]
        return [(name, value) for name, _, value in parted]

    def __len__(self) -> int:
        return self._raw.count(_END)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._pairs())

    @overload
    def __getitem__(self, index: int) -> tuple[bytes, bytes]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[bytes, bytes]]: ...

    def __getitem__(self, index: int | slice) -> tuple[bytes, bytes] | list[tuple[bytes, bytes]]:
        return self._pairs()[index]

    def __repr__(self) -> str:
        return f"<KeptLines of {len(self)} lines>"  # never a value: some are secrets


def kept_lines(pairs: HeaderPairs) -> HeaderLines:
    """Return the same pairs for keeping; O(number of lines).

    Names are tokens, without a colon. Values that hold line ends, which no
    parser lets through, look like lines: then it is `pairs` itself.
    """
    kept = KeptLines(header_lines(pairs), pairs.request_id if isinstance(pairs, ReadLines) else None)
    return kept if len(kept) == len(pairs) else pairs
