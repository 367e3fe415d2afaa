"""What an answer says of itself that its price depends on: the service tier and the model. Pure.

Both are members of the answer, or of the `response` object in events of the
Responses API. Only the tier of an answer is looked for that names another
one than the standard one, and the model of one whose model has no price.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...wire.documents import maybe_object
from ...wire.event_data import event_data

STANDARD_TIERS = frozenset((None, "", "default", "auto", "standard", "on_demand"))
"""What an answer calls the service tier whose prices the lists give (OpenAI, OpenRouter, Groq)."""
HELD_BYTES = 256 * 1024
"""The most of an event or document that is kept until it is whole."""
UNREAD_TIER = "(not read)"
"""In place of a tier that stands in a longer one: it has no price."""
_LONGEST = 256

_standard = b"|".join(re.escape(tier.encode()) for tier in sorted(t for t in STANDARD_TIERS if t))
_odd_tier = re.compile(rb'"service_tier"[ \t\r\n]{0,20}:[ \t\r\n]{0,20}"(?!(?:' + _standard + rb')")')
_TIER = b'"service_tier"'
_MODEL = b'"model"'
_SHORT_BYTES = 4096
"""A longer event is searched, not decoded."""
_line = re.compile(rb"data:[ ]?(.*)")

Note = Callable[["str | None", "str | None"], None]
"""Takes the tier and the model, None for what was not found."""


def note_document(data: bytes, wants_model: bool, note: Note) -> None:
    """Call `note` with what a whole JSON document says, unless there is nothing to say."""
    if _odd_tier.search(data) or (wants_model and _MODEL in data):
        _note_object(maybe_object(data), wants_model, note)


def _note_object(found: Any, wants_model: bool, note: Note) -> None:
    if not isinstance(found, dict):
        return
    owner = _owner(found)
    note(_text(owner.get("service_tier")), _text(owner.get("model")) if wants_model else None)


def _owner(found: dict[str, Any]) -> dict[str, Any]:
    response = found.get("response")
    return response if isinstance(response, dict) else found


def _last_standard_tier(events: bytes) -> str | None:
    """Return the tier of the last event that has one, if that is surely a standard one; empty if none has a tier."""
    at = events.rfind(_TIER)
    if at < 0:
        return ""
    line = _line.match(events, events.rfind(b"\n", 0, at) + 1)
    if line is None or len(line[1]) > _SHORT_BYTES:
        return None
    event = maybe_object(line[1])
    tier = _owner(event).get("service_tier") if event is not None else None
    return tier if isinstance(tier, str) and tier in STANDARD_TIERS else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and len(value) <= _LONGEST else None


def _end_of_events(data: bytes) -> int:
    """Return where the last blank line of `data` begins; -1 if it has none."""
    end = data.rfind(b"\n\n")
    return max(end, data.rfind(b"\r\n\r\n"), data.rfind(b"\r\r")) if b"\r" in data else end


class AnswerLabels:
    """Reads the labels of a stream of events, or of a document that comes in pieces.

    The last event that has one counts. O(n); holds at most HELD_BYTES of
    what is not whole yet. A tier in a longer event is noted as UNREAD_TIER.
    """

    __slots__ = ("_held", "_held_bytes", "_is_odd", "_is_stream", "_note", "_passing", "_wants_model")

    def __init__(self, is_stream: bool, wants_model: bool, note: Note) -> None:
        self._is_stream = is_stream
        self._wants_model = wants_model
        self._note = note
        self._is_odd = False
        """The last tier that was noted is no standard one: one that is takes it back."""
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._passing = False
        """What is not whole is longer than may be kept."""

    def feed(self, data: bytes) -> None:
        """Take bytes that pass; of streams in pieces of any size."""
        end = _end_of_events(data) if self._is_stream else -1
        if end >= 0:
            self._hold(data[:end])
            self._read()
            data = data[end:]
        self._hold(data)

    def finish(self) -> None:
        """Read what is left: it is whole."""
        self._read()

    def _hold(self, data: bytes) -> None:
        self._held_bytes += len(data)
        if self._held_bytes <= HELD_BYTES:
            self._held.append(data)
            return
        if not self._passing:
            self._passing = True
            data = b"".join([*self._held, data])
            self._held.clear()
        if _odd_tier.search(data):
            self._tell(UNREAD_TIER, None)

    def _tell(self, tier: str | None, model: str | None) -> None:
        if tier is not None:
            self._is_odd = tier not in STANDARD_TIERS
        if tier is not None or model is not None:
            self._note(tier, model)

    def _read(self) -> None:
        held = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._passing = False
        wants_model = self._wants_model and _MODEL in held
        if self._is_stream and not wants_model and (standard := _last_standard_tier(held)) is not None:
            if standard and self._is_odd:
                self._tell(standard, None)
            return
        if not (wants_model or _odd_tier.search(held) or (self._is_odd and _TIER in held)):
            return
        if not self._is_stream:
            _note_object(maybe_object(held), self._wants_model, self._tell)
            return
        events, _ = event_data(held.strip(b"\r\n") + b"\n\n", whole=True)
        for event in events:
            if (
                _odd_tier.search(event)
                or (self._is_odd and _TIER in event)
                or (self._wants_model and _MODEL in event)
            ):
                _note_object(maybe_object(event), self._wants_model, self._tell)
                if self._wants_model:
                    self._wants_model = False  # the first one says it
