"""Body filters that take the thoughts out of a chat's answer.

One for event streams, one for whole documents; both satisfy the
`BodyFilter` protocol. Pure.
"""

from __future__ import annotations

from typing import Any

from .documents import maybe_object
from .json_members import Edit, splice
from .sse import SSEBlock, SSEDecoder, with_data
from .think import ThinkRule, ThinkSplitter
from .think_rewrite import (
    REASONING,
    Change,
    TextField,
    chat_chunk,
    document_fields,
    field_edits,
    snapshot_fields,
    text_delta,
    whole_text_edits,
)

DOCUMENT_LIMIT_BYTES = 16 * 1024 * 1024
"""Larger answers pass as they are."""
EVENT_LIMIT_BYTES = 4 * 1024 * 1024
"""Larger events pass as they are; the last event of a Responses stream repeats the whole answer."""

_RESPONSE_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))


class ThinkStreamFilter:
    """Take the thoughts out of an event stream, per choice or output text.

    Chunks of chat completions and events of the Responses API; whatever
    else comes passes byte for byte, and so does every event whose text
    does not change. Of a changed event only the string changes. What
    begins like a tag and is none is released before its choice finishes:
    in the finishing chunk where that has a delta, else in an event of its
    own. A block that never closes takes the rest of its choice with it.
    """

    transparent = False

    def __init__(self, rule: ThinkRule, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._rule = rule
        self._decoder = SSEDecoder(limit_bytes)
        self._splitters: dict[object, ThinkSplitter] = {}
        self._sources: dict[object, tuple[dict[str, Any], Any]] = {}
        """The event that gave what a splitter holds, and the choice's index in it, by the splitter's key."""
        self._open: set[object] = set()
        """The keys of the splitters that hold something, or are within a thought."""
        self._at_ease = False
        """Nothing is held, nothing begun: whole events without a start tag would pass."""

    def feed(self, data: bytes) -> bytes:
        if (
            self._at_ease
            and data.endswith(b"\n\n")
            and b"\r" not in data
            and not self._rule.may_begin_in(data)
        ):
            return data
        return self._feed_cut(data)

    def _feed_cut(self, data: bytes) -> bytes:
        """Take apart no more of `data` than what an event cut by a read begins or ends it with.

        What stands between passes as it is, if it may hold no start tag.
        """
        first = data.find(b"\n\n")
        if first < 0 or self._open or b"\r" in data or self._rule.may_begin_in(data):
            return self._take_apart(data)
        start = 0 if self._at_ease else first + 2
        passed = self._take_apart(data[:start]) if start else b""
        if not self._at_ease:  # what was held has begun a thought
            return passed + self._take_apart(data[start:])
        end = data.rfind(b"\n\n") + 2
        rest = self._take_apart(data[end:]) if end < len(data) else b""
        return passed + data[start:end] + rest

    def _take_apart(self, data: bytes) -> bytes:
        blocks = self._decoder.feed(data)
        passed = b"".join([block.raw if block.data is None else self._event(block) for block in blocks])
        self._at_ease = not self._open and self._decoder.at_boundary
        return passed

    def finish(self) -> bytes:
        rest = b"".join([self._event(block) for block in self._decoder.finish()])
        released = self._release_all()
        if rest and released:
            rest += b"\n" if rest.endswith((b"\n", b"\r")) else b"\n\n"
        return rest + released

    def _event(self, block: SSEBlock) -> bytes:
        data = block.data
        if data is None or not (self._open or self._rule.may_begin_in(data)):
            return block.raw
        event = maybe_object(data)
        if event is None:
            return self._release_all() + block.raw if data.strip() == b"[DONE]" else block.raw
        extra, edits = self._chat(data, event) if "choices" in event else self._response(data, event)
        return extra + (with_data(block.raw, splice(data, edits)) if edits else block.raw)

    def _chat(self, data: bytes, chunk: dict[str, Any]) -> tuple[bytes, list[Edit]]:
        extra, changes = list[bytes](), list[Change]()
        choices = chunk["choices"] if isinstance(chunk["choices"], list) else []
        for number, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index", number)
            delta = choice.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            text = content if isinstance(content, str) else None
            visible, thoughts = self._feed(
                ("chat", repr(index)), text, (chunk, index), bool(choice.get("finish_reason"))
            )
            if isinstance(delta, dict):
                found = TextField(("choices", number, "delta"), "content", text, delta)
                changes.append((found, visible, thoughts))
            elif visible or thoughts:
                extra.append(chat_chunk(chunk, index, visible, thoughts))
        return b"".join(extra), field_edits(data, changes) if changes else []

    def _response(self, data: bytes, event: dict[str, Any]) -> tuple[bytes, list[Edit]]:
        kind = event.get("type")
        key = ("text", repr((event.get("output_index"), event.get("content_index"))))
        if kind == "response.output_text.delta":
            text = event.get("delta")
            if not isinstance(text, str):
                return b"", []
            visible, thoughts = self._feed(key, text, (event, None), finishes=False)
            return b"", field_edits(data, [(TextField((), "delta", text, event), visible, thoughts)])
        extra = b""
        if kind == "response.output_text.done":
            extra = self._release(key)
            self._splitters.pop(key, None)
            self._open.discard(key)
        elif kind in _RESPONSE_ENDS:
            extra = self._release_all()
        return extra, whole_text_edits(data, snapshot_fields(event), self._rule)

    def _feed(
        self, key: object, text: str | None, source: tuple[dict[str, Any], Any], finishes: bool
    ) -> tuple[str, str]:
        """Return (visible, thoughts to show) that the text with this key gives now."""
        splitter = self._splitters.get(key)
        if splitter is None:
            if text is None:
                return "", ""
            rule = self._rule
            splitter = self._splitters[key] = ThinkSplitter(rule.start_tag, rule.end_tag, rule.trim)
        visible, thoughts = splitter.feed(text) if text is not None else ("", "")
        if finishes:
            last_visible, last_thoughts = splitter.finish()
            visible += last_visible
            thoughts += last_thoughts
        if splitter.held:
            self._sources[key] = source
        else:
            self._sources.pop(key, None)
        self._note(key, splitter)
        return visible, thoughts if self._rule.mode == REASONING else ""

    def _note(self, key: object, splitter: ThinkSplitter) -> None:
        """Keep what has a state, and nothing of a choice that has none: an upstream may number them endlessly."""
        if splitter.idle:
            self._open.discard(key)
            del self._splitters[key]
        else:
            self._open.add(key)

    def _release(self, key: object) -> bytes:
        """Return an event with what the splitter holds, or nothing."""
        source = self._sources.pop(key, None)
        if source is None:
            return b""
        event, index = source
        splitter = self._splitters[key]
        visible, thoughts = splitter.finish()
        self._note(key, splitter)
        thoughts = thoughts if self._rule.mode == REASONING else ""
        if not visible and not thoughts:
            return b""
        if "choices" not in event:
            return text_delta(event, visible, thoughts)
        return chat_chunk(event, index, visible, thoughts)

    def _release_all(self) -> bytes:
        return b"".join([self._release(key) for key in list(self._sources)])


class ThinkDocumentFilter:
    """Take the thoughts out of one JSON document.

    Nothing goes on before the document is whole; one above `limit_bytes`
    passes as it is. All bytes but the changed strings stay.
    """

    transparent = False

    def __init__(self, rule: ThinkRule, limit_bytes: int = DOCUMENT_LIMIT_BYTES) -> None:
        self._rule = rule
        self._left = limit_bytes
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        self._left -= len(data)
        self._parts.append(data)
        return b"" if self._left >= 0 else self._take()

    def finish(self) -> bytes:
        body = self._take()
        if self._left < 0 or not self._rule.may_begin_in(body):
            return body
        document = maybe_object(body)
        if document is None:
            return body
        edits = whole_text_edits(body, document_fields(document), self._rule)
        return splice(body, edits) if edits else body

    def _take(self) -> bytes:
        body = b"".join(self._parts)
        self._parts.clear()
        return body
