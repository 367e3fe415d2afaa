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

STANDARD_TIERS = frozenset((None, "", "default", "auto", "standard", "on_demand"))
"""What an answer calls the service tier whose prices the lists give (OpenAI, OpenRouter, Groq)."""
HELD_BYTES = 256 * 1024
"""The most of an event or document that is kept until it is whole."""
UNREAD_TIER = "(not read)"
"""In place of a tier that stands in a longer one: it has no price."""
_LONGEST = 256

_standard = b"|".join(re.escape(tier.encode()) for tier in sorted(t for t in STANDARD_TIERS if t))
_odd_tier = re.compile(rb'"service_tier"[ \t\r\n]{0,20}:[ \t\r\n]{0,20}"(?!(?:' + _standard + rb')")')
_MODEL = b'"model"'
_data_line = re.compile(rb"(?:^|[\r\n])data:[ ]?(.*)")

Note = Callable[["str | None", "str | None"], None]
"""Takes the tier and the model, None for what was not found."""


def note_document(data: bytes, wants_model: bool, note: Note) -> None:
    """Call `note` with what a whole JSON document says, unless there is nothing to say."""
    if _odd_tier.search(data) or (wants_model and _MODEL in data):
        _note_object(maybe_object(data), wants_model, note)


def _note_object(found: Any, wants_model: bool, note: Note) -> None:
    if not isinstance(found, dict):
        return
    response = found.get("response")
    owner = response if isinstance(response, dict) else found
    note(_text(owner.get("service_tier")), _text(owner.get("model")) if wants_model else None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and len(value) <= _LONGEST else None


class AnswerLabels:
    """Reads the labels of a stream of events, or of a document that comes in pieces.

    The last event that has one counts. O(n); holds at most HELD_BYTES of
    what is not whole yet. A tier in a longer event is noted as UNREAD_TIER.
    """

    def __init__(self, is_stream: bool, wants_model: bool, note: Note) -> None:
        self._is_stream = is_stream
        self._wants_model = wants_model
        self._note = note
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._passing = False
        """What is not whole is longer than may be kept."""

    def feed(self, data: bytes) -> None:
        """Take bytes that pass; of streams in pieces of any size."""
        end = max(data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")) if self._is_stream else -1
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
            self._note(UNREAD_TIER, None)

    def _read(self) -> None:
        held = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._passing = False
        if not held or not (_odd_tier.search(held) or (self._wants_model and _MODEL in held)):
            return
        if not self._is_stream:
            _note_object(maybe_object(held), self._wants_model, self._note)
            return
        for found in _data_line.finditer(held):
            event = found[1]
            if _odd_tier.search(event) or (self._wants_model and _MODEL in event):
                _note_object(maybe_object(event), self._wants_model, self._note)
                if self._wants_model:
                    self._wants_model = False  # the first one says it
