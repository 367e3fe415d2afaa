"""What an event of a stream says more, and whether it says anything else. Pure."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ....exchange.bounded_memo import short_memo
from .assemble import NAMES

TEXT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|delta|arguments|refusal)": ?"'
    rb'([^"\\]+(?:\\.[^"\\]*)*|(?:\\.[^"\\]*)+)"'
)
"""A member that may hold the growing text; the group is what it says, never empty."""

A_TEXT, A_WORD, A_NUMBER = b"~text~", b"~word~", b"314159265358979323"
"""Stand for what differs from event to event, in `only_continues`."""
_MARK, _FILLINGS = A_TEXT.decode(), (A_WORD.decode(), int(A_NUMBER))
_FIXED = frozenset(
    ("type", "response", "choices", "output_index", "content_index", "summary_index", "item_id")
)
"""Members of an event that say where its text belongs."""

_NOT_PLAIN = bytes({*range(0x20), 0x22, 0x5C})
_escape = re.compile(
    rb'\\(?:["\\/bfnrt]|u(?:[0-9abcefABCEF][0-9a-fA-F]|[dD][0-7])[0-9a-fA-F]{2}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
"""An escape of a JSON string; of the halves of a surrogate pair only both together."""

_first_id = re.compile(rb'"id":"[A-Za-z0-9_.-]+"')
"""Before the text and the words it says whose stream this is, and nothing that matters here."""


def are_texts(values: list[bytes], joined: bytes) -> bool:
    """Whether each is the inside of a JSON string; `joined` is all of them."""
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


def only_continues(event: bytes, words: int = 0) -> bool:
    """Whether an event adds its text to the whole, and nothing that the one before had not.

    Its text is A_TEXT, and what differs besides so many A_WORD or A_NUMBER,
    each the value of a member of the event itself.
    """
    data = _first_id.sub(b'"id":"~"', event, 1)
    return _continues((data, words))


@short_memo(
    256, longest=1024, size=lambda asked: len(asked[0])
)  # OpenAI's deltas have some 400 bytes besides their text
def _continues(asked: tuple[bytes, int]) -> bool:
    """Whether an event only continues a text; see `only_continues`."""
    data, words = asked
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
    """Count what merging these members again would change: 1 if that is only the text, otherwise more."""
    return sum(_trace(name, value) for name, value in members.items())


def _trace(name: str, value: Any) -> int:
    if isinstance(value, str):
        if value == _MARK:
            return 1 if name not in NAMES else 2
        return 2 if value and name not in NAMES else 0
    if isinstance(value, dict):
        return _traces(value)
    if isinstance(value, list) and value:
        # Identified by its index, an item is continued; without one it is another item.
        only = value[0]
        return _traces(only) if len(value) == 1 and _is_indexed(only) else 2
    return 0


def _is_indexed(item: Any) -> bool:
    return isinstance(item, dict) and type(item.get("index")) is int
