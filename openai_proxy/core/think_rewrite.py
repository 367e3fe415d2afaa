"""Where a chat's texts stand in its JSON, and how they are rewritten.

Finds the texts in documents and events of the chat completions and the
Responses API, and makes the edits that replace them; all other bytes stay.
Pure; used by `think_filters`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from attrs import frozen

from .json_members import Edit, find_only_member, locate_all, member_edits
from .think import ThinkRule, split_text

Path = tuple[str | int, ...]
REASONING = "reasoning_content"


@frozen
class TextField:
    """A string of a document that a model wrote."""

    path: Path
    """To the object that has the string."""
    name: str
    text: str | None
    """None where the object may get the string but has none."""
    owner: dict[str, Any]
    """The object itself."""

    def members(self, visible: str, thoughts: str, ascii_only: bool) -> dict[str, bytes]:
        """Return what its object must have (name to JSON): `visible` here and `thoughts`, where any, beside it."""
        members: dict[str, bytes] = {}
        if visible != (self.text or ""):
            members[self.name] = encode_text(visible, ascii_only)
        if thoughts:
            before = self.owner.get(REASONING)
            joined = (before if isinstance(before, str) else "") + thoughts
            members[REASONING] = encode_text(joined, ascii_only)
        return members


Change = tuple[TextField, str, str]
"""What was found, what is left of it, and its thoughts."""


def field_edits(body: bytes, changes: Sequence[Change]) -> list[Edit]:
    """Return the edits that make these changes. O(n) for all of them together."""
    ascii_only = body.isascii()
    needed = [
        (found, members)
        for found, visible, thoughts in changes
        if (members := found.members(visible, thoughts, ascii_only))
    ]
    if len(needed) == 1:
        found, members = needed[0]
        span = find_only_member(body, found.name) if found.text is not None else None
        if span is not None and REASONING not in found.owner:
            new = members.get(found.name, body[span[0] : span[1]])
            if REASONING in members:
                new += b',"reasoning_content":' + members[REASONING]
            return [(*span, new)]
    spans = locate_all(body, [found.path for found, _ in needed]) if needed else {}
    edits: list[Edit] = []
    for found, members in needed:
        edits += member_edits(body, spans[found.path][0], members)
    return edits


def encode_text(text: str, ascii_only: bool) -> bytes:
    """Return `text` as a JSON string; non-ASCII escaped where the surroundings have none."""
    if not ascii_only:
        try:
            return orjson.dumps(text)
        except TypeError:  # a lone surrogate: half of a character that a delta was cut in
            pass
    return json.dumps(text).encode("ascii")


def _dicts(values: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(values, list):
        for number, value in enumerate(values):
            if isinstance(value, dict):
                yield number, value


def _field(path: Path, owner: Any, name: str) -> Iterator[TextField]:
    if isinstance(owner, dict) and isinstance(owner.get(name), str):
        yield TextField(path, name, owner[name], owner)


def _part_fields(path: Path, part: Any) -> Iterator[TextField]:
    if isinstance(part, dict) and part.get("type") == "output_text":
        yield from _field(path, part, "text")


def _item_fields(path: Path, item: Any) -> Iterator[TextField]:
    if isinstance(item, dict) and item.get("type", "message") == "message":
        for number, part in _dicts(item.get("content")):
            yield from _part_fields((*path, "content", number), part)


def _response_fields(path: Path, response: Any) -> Iterator[TextField]:
    if isinstance(response, dict):
        for number, item in _dicts(response.get("output")):
            yield from _item_fields((*path, "output", number), item)
        yield from _field(path, response, "output_text")


def document_fields(document: dict[str, Any]) -> Iterator[TextField]:
    """Yield the texts of a whole chat completion or Responses API answer."""
    for number, choice in _dicts(document.get("choices")):
        yield from _field(("choices", number, "message"), choice.get("message"), "content")
    yield from _response_fields((), document)


def snapshot_fields(event: dict[str, Any]) -> Iterator[TextField]:
    """Yield the whole texts that an event of the Responses API repeats."""
    if event.get("type") == "response.output_text.done":
        yield from _field((), event, "text")
    yield from _part_fields(("part",), event.get("part"))
    yield from _item_fields(("item",), event.get("item"))
    yield from _response_fields(("response",), event.get("response"))


def whole_text_edits(body: bytes, fields: Iterator[TextField], rule: ThinkRule) -> list[Edit]:
    """Return the edits that take the thoughts out of whole texts, by `rule`."""
    changes: list[Change] = []
    for found in fields:
        if found.text and rule.start_tag in found.text:
            visible, thoughts = split_text(found.text, rule)
            changes.append((found, visible, thoughts if rule.mode == REASONING else ""))
    return field_edits(body, changes) if changes else []


def chat_chunk(source: dict[str, Any], index: Any, visible: str, thoughts: str) -> bytes:
    """Return an event of a chat stream that carries one choice's released text."""
    delta = {"content": visible} if visible or not thoughts else {}
    if thoughts:
        delta[REASONING] = thoughts
    chunk: dict[str, Any] = {
        name: source[name]
        for name in ("id", "object", "created", "model", "system_fingerprint", "service_tier")
        if name in source
    }
    chunk["choices"] = [{"index": index, "delta": delta, "finish_reason": None}]
    return b"data: " + json.dumps(chunk).encode("ascii") + b"\n\n"


def text_delta(source: dict[str, Any], visible: str, thoughts: str) -> bytes:
    """Return an output text delta like the event `source` that carries released text."""
    event: dict[str, Any] = {
        name: source[name]
        for name in ("type", "item_id", "output_index", "content_index", "sequence_number")
        if name in source
    }
    event |= {"delta": visible, "logprobs": []}
    if thoughts:
        event[REASONING] = thoughts
    return b"event: response.output_text.delta\ndata: " + json.dumps(event).encode("ascii") + b"\n\n"
