"""Find the texts of an answer in its JSON, and rewrite them.

Finds the texts in documents and events of chat completions, completions and
the Responses API, and makes the edits that replace them; all other bytes
stay. Pure; used by `filters` and `responses`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from attrs import frozen

from ...wire.json_edits import Edit, member_edits
from ...wire.json_members import find_only_member, locate_all
from .added_events import REASONING, encode_item, reasoning_id, reasoning_item
from .log_probabilities import (
    LocatedTokens,
    Members,
    Path,
    TokenLists,
    chat_tokens,
    legacy_tokens,
    response_tokens,
    shown_tokens,
)
from .splitter import GONE, THOUGHT, VISIBLE, Piece, ThinkRule, joined, split_pieces


@frozen
class TextField:
    """A string of a document that a model wrote."""

    path: Path
    """The path to the object that has the string."""
    name: str
    text: str


@frozen
class WholeText:
    """One text of a model: a string, or several consecutive parts."""

    fields: tuple[TextField, ...]
    tokens: TokenLists | None = None
    owner: tuple[Path, dict[str, Any]] | None = None
    """The object that receives the thoughts, in the APIs that have a member for them."""
    at_start: bool = True
    """It may begin inside a block, if a rule says so."""
    item: int | None = None
    """The output item of the Responses API that it is part of."""

    @property
    def text(self) -> str:
        return "".join([each.text for each in self.fields])


def merge(into: Members, members: Members) -> None:
    """Add edits of members to others."""
    for path, values in members.items():
        into.setdefault(path, {}).update(values)


def edits_of(body: bytes, members: Members, present: str = "") -> list[Edit]:
    """Return the edits that set these members of the objects at these paths. O(n) for all of them together.

    `present` names a member that is known to be there, if only one object
    changes.
    """
    if present and len(members) == 1:
        (values,) = members.values()
        added = b'"reasoning_content"' not in body and values.get(REASONING)
        if present in values and len(values) == 1 + bool(added):
            span = find_only_member(body, present)
            if span is not None:
                return [(*span, values[present] + (b',"reasoning_content":' + added if added else b""))]
    spans = locate_all(body, members) if members else {}
    edits: list[Edit] = []
    for path, values in members.items():
        edits += member_edits(body, spans[path][0], values)
    return edits


def encode_text(text: str, ascii_only: bool) -> bytes:
    """Return `text` as a JSON string; non-ASCII is escaped if the surrounding JSON is ASCII only."""
    if not ascii_only:
        try:
            return orjson.dumps(text)
        except TypeError:  # a lone surrogate: half of a character that a delta was cut in
            pass
    return json.dumps(text).encode("ascii")


def with_thoughts(owner: dict[str, Any], thoughts: str, ascii_only: bool) -> dict[str, bytes]:
    """Return the member that adds `thoughts` to those of an object."""
    before = owner.get(REASONING)
    return {REASONING: encode_text((before if isinstance(before, str) else "") + thoughts, ascii_only)}


def _dicts(values: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(values, list):
        for number, value in enumerate(values):
            if isinstance(value, dict):
                yield number, value


def content_fields(path: Path, owner: Any, name: str = "content") -> tuple[TextField, ...]:
    """Return the texts of a message or delta: its string, or those of its list of parts."""
    if not isinstance(owner, dict):
        return ()
    content = owner.get(name)
    if isinstance(content, str):
        return (TextField(path, name, content),)
    return tuple(
        TextField((*path, name, number), "text", part["text"])
        for number, part in _dicts(content)
        if part.get("type") in ("text", "output_text") and isinstance(part.get("text"), str)
    )


def _whole(
    fields: tuple[TextField, ...], tokens: Any, path: Path, choice: dict[str, Any], owner: Any
) -> Iterator[WholeText]:
    if fields:
        text = "".join([each.text for each in fields])
        yield WholeText(fields, tokens(path, choice, text), owner)


def _choice_texts(path: Path, choice: dict[str, Any]) -> Iterator[WholeText]:
    message = choice.get("message")
    to_message = (*path, "message")
    yield from _whole(content_fields(to_message, message), chat_tokens, path, choice, (to_message, message))
    if isinstance(choice.get("text"), str):
        yield from _whole(content_fields(path, choice, "text"), legacy_tokens, path, choice, (path, choice))


def _part_text(path: Path, part: Any, at_start: bool, item: int | None = None) -> Iterator[WholeText]:
    if isinstance(part, dict) and part.get("type") == "output_text" and isinstance(part.get("text"), str):
        text = part["text"]
        field = TextField(path, "text", text)
        yield WholeText((field,), response_tokens(path, part, text), None, at_start, item)


def _item_texts(path: Path, item: Any, number: int | None = None) -> Iterator[WholeText]:
    if isinstance(item, dict) and item.get("type", "message") == "message":
        for index, part in _dicts(item.get("content")):
            yield from _part_text((*path, "content", index), part, index == 0, number)


def response_texts(path: Path, response: Any) -> Iterator[WholeText]:
    """Yield the texts of a Responses API answer."""
    if isinstance(response, dict):
        for number, item in _dicts(response.get("output")):
            yield from _item_texts((*path, "output", number), item, number)
        if isinstance(response.get("output_text"), str):
            yield WholeText((TextField(path, "output_text", response["output_text"]),))


def document_texts(document: dict[str, Any], path: Path = ()) -> Iterator[WholeText]:
    """Yield the texts of a whole chat completion, completion or Responses API answer at `path`."""
    for number, choice in _dicts(document.get("choices")):
        yield from _choice_texts((*path, "choices", number), choice)
    yield from response_texts(path, document)


def snapshot_texts(event: dict[str, Any]) -> Iterator[WholeText]:
    """Yield the whole texts that an event of the Responses API repeats, except those of a whole response."""
    if event.get("type") == "response.output_text.done" and isinstance(event.get("text"), str):
        text = event["text"]
        tokens = response_tokens((), event, text)
        yield WholeText((TextField((), "text", text),), tokens, None, not event.get("content_index"))
    yield from _part_text(("part",), event.get("part"), not event.get("content_index"))
    yield from _item_texts(("item",), event.get("item"))


def visible_of_fields(fields: Sequence[TextField], pieces: Iterable[Piece]) -> list[str]:
    """Return the visible text of each field; the pieces are those of the fields' joined texts."""
    visible: list[list[str]] = [[] for _ in fields]
    number, room = 0, len(fields[0].text) if fields else 0
    for kind, text in pieces:
        at = 0
        while at < len(text):
            while not room:
                number += 1
                room = len(fields[number].text)
            taken = text[at : at + room]
            at += len(taken)
            room -= len(taken)
            if kind == VISIBLE:
                visible[number].append(taken)
    return ["".join(each) for each in visible]


def whole_text_members(
    body: bytes, texts: Iterable[WholeText], rule: ThinkRule, ascii_only: bool
) -> tuple[Members, dict[int, list[tuple[bool, str]]]]:
    """Return the members that remove the thoughts from whole texts, and the thoughts of output items.

    The latter are by the number of the item: whether they come before all its
    visible text, and their text.
    """
    members: Members = {}
    thoughts_of: dict[int, list[tuple[bool, str]]] = {}
    texts = list(texts)
    located = LocatedTokens(body, [whole.tokens for whole in texts])
    for whole in texts:
        text = whole.text
        if not rule.may_change(text, whole.at_start):
            continue
        pieces = split_pieces(text, rule, whole.at_start)
        if all(kind == VISIBLE for kind, _ in pieces):
            continue
        for found, visible in zip(whole.fields, visible_of_fields(whole.fields, pieces), strict=True):
            if visible != found.text:
                merge(members, {found.path: {found.name: encode_text(visible, ascii_only)}})
        if whole.tokens is not None:
            merge(members, shown_tokens(located, whole.tokens, pieces))
        if rule.mode != REASONING:
            continue
        if whole.owner is not None and (thoughts := joined(pieces, THOUGHT)):
            path, owner = whole.owner
            merge(members, {path: with_thoughts(owner, thoughts, ascii_only)})
        elif whole.item is not None:
            thoughts_of.setdefault(whole.item, []).extend(ordered_thoughts(pieces, whole.at_start))
    return members, thoughts_of


def ordered_thoughts(pieces: Iterable[Piece], leading: bool) -> Iterator[tuple[bool, str]]:
    """Yield thoughts, and whether they come before all visible text; `leading`: nothing came before these pieces."""
    for kind, text in pieces:
        if kind == THOUGHT:
            yield leading, text
        elif kind != GONE and text.strip():
            leading = False


def document_edits(body: bytes, document: dict[str, Any], rule: ThinkRule, path: Path = ()) -> list[Edit]:
    """Return the edits that remove the thoughts from a whole answer at `path`, by `rule`.

    In the Responses API, thoughts that are shown become items before their
    messages.
    """
    ascii_only = body.isascii()
    members, thoughts = whole_text_members(body, document_texts(document, path), rule, ascii_only)
    edits = edits_of(body, members)
    if thoughts:
        parts = {number: ("".join([text for _, text in found]), "") for number, found in thoughts.items()}
        edits += item_edits(body, document, path, parts, ascii_only)
    return edits


def item_edits(
    body: bytes,
    response: dict[str, Any],
    path: Path,
    thoughts: dict[int, tuple[str, str]],
    ascii_only: bool,
) -> list[Edit]:
    """Return the edits that put items with thoughts before and after output items, by their numbers."""
    output = response["output"]
    spans = locate_all(body, [(*path, "output", number) for number in thoughts])
    edits: list[Edit] = []
    for number, (before, after) in thoughts.items():
        item_path: Path = (*path, "output", number)
        start, end = spans[item_path]
        message = output[number].get("id")
        if before:
            item = encode_item(reasoning_item(reasoning_id(message), before), ascii_only)
            edits.append((start, start, item + b","))
        if after:
            item = encode_item(reasoning_item(reasoning_id(message, later=True), after), ascii_only)
            edits.append((end, end, b"," + item))
    return edits
