"""Move thoughts in the event streams of the Responses API.

If thoughts are shown, they become items of the output. Those at the beginning
of a text come before its message, whose first events are held meanwhile; later
ones come after it. Pure; used by `filters`.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from ...wire.json_edits import Edit, splice
from ...wire.sse import with_data
from .added_events import REASONING, reasoning_id, reasoning_item, text_delta
from .event_numbers import EventNumbers
from .log_probabilities import LocatedTokens, Members, TokenLists, response_tokens
from .rewrite import (
    edits_of,
    encode_text,
    item_edits,
    merge,
    ordered_thoughts,
    response_texts,
    snapshot_texts,
    whole_text_members,
)
from .texts import Fed, Held, Key, Texts, envelope, key_of

_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed", "error"))
_DELTA = "response.output_text.delta"
_BEGINS = ("response.output_item.added", "response.content_part.added")
_WAITING_BYTES = 64 * 1024
"""A message that begins with more bytes than this before any text is passed on."""
_THOUGHT_CHARS = 4 * 1024 * 1024
"""The event that repeats thoughts whole contains at most this much of them."""


@define
class _Reasoning:
    """An output item with thoughts that is being sent."""

    item_id: str
    output_index: int
    parts: list[str] = field(factory=list)
    chars: int = 0


class ResponseStream:
    """Remove the thoughts from the events of one Responses API stream.

    States: idle; holding (`_message` is the output index of a message that
    has begun and of which nothing is visible: its events wait); renumbering (an
    event was added or moved, so that later ones get new numbers).
    """

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._shows = texts.rule.mode == REASONING
        self._message: int | None = None
        self._waiting: list[tuple[bytes, bytes, dict[str, Any], bool]] = []
        """The raw event, its changed data, the decoded original; whether all of its text was removed."""
        self._waiting_bytes = 0
        self._reasoning: _Reasoning | None = None
        self._later: dict[int, list[str]] = {}
        """Thoughts between the texts of messages, by output index."""
        self._later_chars = 0
        self._numbers = EventNumbers()

    @property
    def busy(self) -> bool:
        """Whether each event must be looked at."""
        return self._numbers.changes or self._message is not None or bool(self._later)

    def event(self, raw: bytes, data: bytes, event: dict[str, Any]) -> bytes:
        """Return the bytes that are sent for one event, `raw`, with this data."""
        kind = event.get("type")
        number = event.get("sequence_number")
        if isinstance(number, int) and not (self._numbers.changes or self._waiting):
            self._numbers.precede(number)
        if kind == _DELTA and isinstance(event.get("delta"), str):
            return self._delta(raw, data, event)
        out = self._before(kind, event)
        if self._begins_message(kind, event):
            self._wait(raw, data, event)
            return out + (self._flush() if self._waiting_bytes > _WAITING_BYTES else b"")
        if self._waiting:  # this event overtakes the waiting ones
            self._renumber()
        out += self._numbers.passed(*self._snapshot(raw, data, event), event)
        if kind == "response.output_item.done" and isinstance(event.get("output_index"), int):
            out += self._send_later(event["output_index"], event)
        return out

    def end(self) -> bytes:
        """Return the held events, because the stream is over."""
        out = b"".join([self._release(key, held) for key, held in self._texts.held(2)])
        out += self._flush()
        return out + b"".join([self._send_later(index, {}) for index in list(self._later)])

    # ---- texts

    def _delta(self, raw: bytes, data: bytes, event: dict[str, Any]) -> bytes:
        text, index, part = event["delta"], event.get("output_index"), event.get("content_index")
        key = key_of(index, part)
        out = b""
        if self._shows and isinstance(index, int) and index != self._message:
            out = self._flush()
            if not part and self._texts.is_new(key) and not self._numbers.is_full:
                self._message = index
        lists = response_tokens((), event, text)
        located = LocatedTokens(data, [lists])
        fed = self._texts.feed(key, (text,), at_start=not part, lists=lists, located=located)
        if self._texts.holds(key):
            self._texts.sources[key] = Held(envelope(event), lists=lists)
        raw, data = _changed(raw, data, text, fed, lists, located)
        if not self._shows:
            return self._numbers.passed(raw, data, event)
        if self._message is None or part:
            self._think_later(index, fed)
            return out + self._numbers.passed(raw, data, event)
        out += self._think(fed, event)
        if self._texts.is_answering(key):
            return out + self._flush() + self._numbers.passed(raw, data, event)
        self._wait(raw, data, event, emptied=bool(text) and not fed.visible[0])
        return out + (self._flush() if self._waiting_bytes > _WAITING_BYTES else b"")

    def _before(self, kind: Any, event: dict[str, Any]) -> bytes:
        """Return what must come before an event that is not a text delta."""
        if kind in _ENDS:
            return self.end()
        index = event.get("output_index")
        out = b""
        if kind == "response.output_text.done":
            key = key_of(index, event.get("content_index"))
            if (held := self._texts.sources.get(key)) is not None:
                out = self._release(key, held)
            self._texts.forget(key)
        goes_on = index == self._message and kind in _BEGINS
        return out + self._flush() if isinstance(index, int) and not goes_on else out

    def _release(self, key: Key, held: Held) -> bytes:
        fed = self._texts.release(key)
        source, out = held.event, b""
        if self._shows:
            if self._message is not None and self._message == source.get("output_index"):
                out = self._think(fed, source)
                out += self._flush() if _visible(fed) else b""
            else:
                self._think_later(source.get("output_index"), fed)
        if not _visible(fed):
            return out
        tokens = b"[" + b",".join([token[0] for token in fed.tokens or ()]) + b"]"
        event = text_delta(source, _visible(fed), tokens)
        self._renumber()
        if isinstance(index := event.get("output_index"), int):
            event["output_index"] = self._numbers.mapped(index)
        return out + self._numbers.added(event)

    def _snapshot(self, raw: bytes, data: bytes, event: dict[str, Any]) -> tuple[bytes, bytes]:
        """Return an event that repeats whole texts, and its data, without their thoughts."""
        rule, ascii_only = self._texts.rule, data.isascii()
        members, _ = whole_text_members(data, snapshot_texts(event), rule, ascii_only)
        response = event.get("response")
        more, thoughts = whole_text_members(data, response_texts(("response",), response), rule, ascii_only)
        merge(members, more)
        edits = edits_of(data, members)
        if thoughts and isinstance(response, dict):
            parts = {
                number: (_said(found, leading=True), _said(found, leading=False))
                for number, found in thoughts.items()
            }
            edits += item_edits(data, response, ("response",), parts, ascii_only)
        return _edited(raw, data, edits)

    # ---- items with thoughts

    def _begins_message(self, kind: Any, event: dict[str, Any]) -> bool:
        """Return whether an event belongs to the beginning of a message whose first text may be a thought."""
        index = event.get("output_index")
        if not self._shows or kind not in _BEGINS or not isinstance(index, int):
            return False
        if kind == _BEGINS[0]:
            item = event.get("item")
            if not isinstance(item, dict) or item.get("type") != "message" or item.get("content"):
                return False
            if self._numbers.is_full:
                return False
            self._message = index
        return self._message == index

    def _wait(self, raw: bytes, data: bytes, event: dict[str, Any], emptied: bool = False) -> None:
        if emptied and self._reasoning is not None:
            return
        self._waiting.append((raw, data, event, emptied))
        self._waiting_bytes += len(raw)

    def _think(self, fed: Fed, source: dict[str, Any]) -> bytes:
        """Send the thoughts that a message begins with; keep those that come later."""
        out = b""
        for leads, text in ordered_thoughts(fed.pieces, leading=True):
            if not leads:
                self._keep_later(self._message, text)
                continue
            reasoning = self._reasoning
            if reasoning is None:
                assert self._message is not None
                reasoning = self._reasoning = _Reasoning(
                    reasoning_id(source.get("item_id") or self._waiting_id()),
                    self._numbers.mapped(self._message),
                )
                self._numbers.insert(self._message)
                out += self._begin(reasoning)
            out += self._say(reasoning, text)
        return out

    def _waiting_id(self) -> Any:
        item = self._waiting[0][2].get("item") if self._waiting else None
        return item.get("id") if isinstance(item, dict) else None

    def _think_later(self, index: Any, fed: Fed) -> None:
        for _, text in ordered_thoughts(fed.pieces, leading=False):
            self._keep_later(index, text)

    def _keep_later(self, index: Any, text: str) -> None:
        if isinstance(index, int) and self._later_chars + len(text) <= _THOUGHT_CHARS:
            self._later.setdefault(index, []).append(text)
            self._later_chars += len(text)

    def _send_later(self, index: int, event: dict[str, Any]) -> bytes:
        """Send the thoughts between the texts of a message that has ended."""
        text = "".join(self._later.pop(index, ()))
        self._later_chars -= len(text)
        if not text or self._numbers.is_full:
            return b""
        item = event.get("item")
        message_id = item.get("id") if isinstance(item, dict) else None
        reasoning = _Reasoning(reasoning_id(message_id, later=True), self._numbers.mapped(index) + 1)
        self._numbers.insert(index + 1)
        return self._begin(reasoning) + self._say(reasoning, text) + self._finish(reasoning)

    def _begin(self, reasoning: _Reasoning) -> bytes:
        self._renumber()
        item = reasoning_item(reasoning.item_id, None)
        added = self._numbers.added(
            {"type": "response.output_item.added", "output_index": reasoning.output_index, "item": item}
        )
        # SDKs put deltas into a part that has begun
        return added + self._text_event("content_part.added", reasoning, {"part": _part("")})

    def _say(self, reasoning: _Reasoning, text: str) -> bytes:
        if reasoning.chars + len(text) <= _THOUGHT_CHARS:
            reasoning.parts.append(text)
            reasoning.chars += len(text)
        return self._text_event("reasoning_text.delta", reasoning, {"delta": text})

    def _finish(self, reasoning: _Reasoning) -> bytes:
        text = "".join(reasoning.parts)
        done = self._text_event("reasoning_text.done", reasoning, {"text": text})
        done += self._text_event("content_part.done", reasoning, {"part": _part(text)})
        item = reasoning_item(reasoning.item_id, text)
        return done + self._numbers.added(
            {"type": "response.output_item.done", "output_index": reasoning.output_index, "item": item}
        )

    def _text_event(self, kind: str, reasoning: _Reasoning, members: dict[str, Any]) -> bytes:
        return self._numbers.added(
            {
                "type": f"response.{kind}",
                "item_id": reasoning.item_id,
                "output_index": reasoning.output_index,
                "content_index": 0,
                **members,
            }
        )

    # ---- events out

    def _renumber(self) -> None:
        if self._waiting and not self._numbers.changes:
            self._numbers.precede(self._waiting[0][2].get("sequence_number"))
        self._numbers.changes = True

    def _flush(self) -> bytes:
        """Return the held beginning of a message, after its thoughts, because another event comes now."""
        reasoning, self._reasoning = self._reasoning, None
        waiting, self._waiting = self._waiting, []
        self._message, self._waiting_bytes = None, 0
        out = [self._finish(reasoning)] if reasoning is not None else []
        for raw, data, event, emptied in waiting:
            if not (emptied and reasoning is not None):
                out.append(self._numbers.passed(raw, data, event))
        return b"".join(out)


def _part(text: str) -> dict[str, str]:
    return {"type": "reasoning_text", "text": text}


def _said(thoughts: list[tuple[bool, str]], leading: bool) -> str:
    return "".join([text for leads, text in thoughts if leads is leading])


def _visible(fed: Fed) -> str:
    """Return all released visible text."""
    return "".join(fed.visible)


def _changed(
    raw: bytes, data: bytes, text: str, fed: Fed, lists: TokenLists | None, located: LocatedTokens
) -> tuple[bytes, bytes]:
    """Return a text delta, and its data, with only the visible text."""
    members: Members = {}
    ascii_only = data.isascii()
    visible = _visible(fed)
    if visible != text:
        members[()] = {"delta": encode_text(visible, ascii_only)}
    if lists is not None and fed.dropped:
        merge(members, lists.without)
    elif lists is not None and fed.tokens is not None and fed.tokens != located.tokens(lists):
        merge(members, lists.members(fed.tokens))
    return _edited(raw, data, edits_of(data, members, "delta") if members else [])


def _edited(raw: bytes, data: bytes, edits: list[Edit]) -> tuple[bytes, bytes]:
    if not edits:
        return raw, data
    data = splice(data, edits)
    return with_data(raw, data), data
