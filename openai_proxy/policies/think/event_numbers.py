"""The numbers of the events of one Responses API stream, after items were added or moved.

Pure; used by `responses`.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

from ...wire.json_edits import replace_members
from ...wire.sse import with_data
from .added_events import encode_event

MOST_ITEMS = 4096
"""The most items that are added to a stream."""


class EventNumbers:
    """Counts the events that are sent, and the items that were added before others.

    Events keep their sequence numbers until `changes` is set; from then on
    each gets a new one. Output indexes grow by the number of items added before them.
    """

    def __init__(self) -> None:
        self.changes = False
        """Whether later events get new numbers."""
        self._inserted: list[int] = []
        """The output indexes from which on one more item comes before, in order."""
        self._last: int | None = None
        """The sequence number of the last event that was sent."""

    @property
    def is_full(self) -> bool:
        """Whether no more items may be added."""
        return len(self._inserted) >= MOST_ITEMS

    def insert(self, index: int) -> None:
        """Note an item added before those whose output index was `index` or higher."""
        insort(self._inserted, index)

    def mapped(self, index: int) -> int:
        """Return the new output index of an item."""
        return index + bisect_right(self._inserted, index)

    def precede(self, number: Any) -> None:
        """Note the sequence number that the upstream gave to the next event; anything but an int if it gave none."""
        self._last = number - 1 if isinstance(number, int) else None

    def added(self, event: dict[str, Any]) -> bytes:
        """Return an event of the proxy as it is sent, with the next sequence number."""
        if self._last is not None:
            self._last += 1
            event["sequence_number"] = self._last
        return encode_event(event)

    def passed(self, raw: bytes, data: bytes, event: dict[str, Any]) -> bytes:
        """Return the upstream's event `raw` with this data and its new numbers."""
        numbers: dict[str, bytes] = {}
        index, number = event.get("output_index"), event.get("sequence_number")
        if isinstance(index, int) and self.mapped(index) != index:
            numbers["output_index"] = b"%d" % self.mapped(index)
        if isinstance(number, int):
            if self.changes and self._last is not None:
                self._last += 1
            else:
                self._last = number
            if self._last != number:
                numbers["sequence_number"] = b"%d" % self._last
        if numbers:
            return with_data(raw, replace_members(data, numbers, event))
        return raw
