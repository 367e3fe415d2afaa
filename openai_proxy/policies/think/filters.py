"""Body filters that remove the thoughts from an answer.

One is for event streams, one for whole documents; both implement the
`BodyFilter` protocol. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define

from ...exchange.buffered_bytes import Lease
from ...wire.documents import maybe_object
from ...wire.json_edits import splice
from ...wire.sse import SSEBlock, SSEDecoder, with_data
from .added_events import choice_chunk, lists_json
from .log_probabilities import LocatedTokens, Members, Path, TokenLists, chat_tokens, legacy_tokens
from .responses import ResponseStream
from .rewrite import (
    TextField,
    content_fields,
    document_edits,
    edits_of,
    encode_text,
    merge,
    with_thoughts,
)
from .splitter import ThinkRule
from .texts import Fed, Held, Key, Texts, envelope, key_of

DOCUMENT_LIMIT_BYTES = 16 * 1024 * 1024
"""Larger answers pass unchanged."""
EVENT_LIMIT_BYTES = 4 * 1024 * 1024
"""Larger events pass unchanged; the last event of a Responses stream repeats the whole answer."""


class ThinkStreamFilter:
    """Remove the thoughts from an event stream, for each choice or output text.

    Changes chunks of chat completions and completions, and events of the
    Responses API. Everything else passes byte for byte, and so does every event
    whose text does not change. Held text is released before its choice
    finishes: in the finishing chunk if that has a delta, else in an event of
    its own. An event above `limit_bytes`, or one for which `lease` has no room,
    passes unchanged.
    """

    transparent = False

    def __init__(
        self, rule: ThinkRule, limit_bytes: int = EVENT_LIMIT_BYTES, lease: Lease | None = None
    ) -> None:
        self._decoder = SSEDecoder(limit_bytes, lease)
        self._texts = Texts(rule)
        self._responses = ResponseStream(self._texts)
        self._idle = False
        """Nothing is held or begun, so whole events without a start tag may pass unchanged."""

    def feed(self, data: bytes) -> bytes:
        if self._idle and data.endswith(b"\n\n") and b"\r" not in data and self._texts.may_pass(data):
            return data
        return self._feed_cut(data)

    def _feed_cut(self, data: bytes) -> bytes:
        """Take apart only the parts of an event at the beginning and the end of `data` that a read has cut.

        What is between them passes unchanged if it cannot contain a start tag.
        """
        first = data.find(b"\n\n")
        if first < 0 or self._busy or b"\r" in data or not self._texts.may_pass(data):
            return self._take_apart(data)
        start = 0 if self._idle else first + 2
        passed = self._take_apart(data[:start]) if start else b""
        if not self._idle:  # the held part has begun a thought
            return passed + self._take_apart(data[start:])
        end = data.rfind(b"\n\n") + 2
        rest = self._take_apart(data[end:]) if end < len(data) else b""
        return passed + data[start:end] + rest

    @property
    def _busy(self) -> bool:
        return self._texts.open or self._responses.busy

    def _take_apart(self, data: bytes) -> bytes:
        blocks = self._decoder.feed(data)
        passed = b"".join([block.raw if block.data is None else self._event(block) for block in blocks])
        self._idle = not self._busy and self._decoder.at_boundary
        return passed

    def finish(self) -> bytes:
        rest = b"".join([self._event(block) for block in self._decoder.finish()])
        released = self._release_all()
        if rest and released:
            rest += b"\n" if rest.endswith((b"\n", b"\r")) else b"\n\n"
        return rest + released

    def _event(self, block: SSEBlock) -> bytes:
        data = block.data
        if data is None or not (self._busy or not self._texts.may_pass(data)):
            return block.raw
        event = maybe_object(data)
        if event is None:
            return self._release_all() + block.raw if data.strip() == b"[DONE]" else block.raw
        if "choices" not in event:
            return self._responses.event(block.raw, data, event)
        extra, members, present = self._chunk(data, event)
        edits = edits_of(data, members, present) if members else []
        return extra + (with_data(block.raw, splice(data, edits)) if edits else block.raw)

    def _chunk(self, data: bytes, chunk: dict[str, Any]) -> tuple[bytes, Members, str]:
        """Return the events to send before a chunk, its new members, and the name of one that it has."""
        extra, members, present = list[bytes](), Members(), ""
        choices = [_Choice.of(*each) for each in enumerate(_list_of(chunk)) if isinstance(each[1], dict)]
        located = LocatedTokens(data, [choice.lists for choice in choices])
        ascii_only = data.isascii()
        for choice in choices:
            fields, lists, owner = choice.fields, choice.lists, choice.owner
            before = self._texts.sources.get(choice.key)
            fed = self._texts.feed(
                choice.key, [each.text for each in fields], choice.finishes, lists=lists, located=located
            )
            if not fields and before is not None:
                owner = before.owner
            earlier = before.lists if before is not None else None
            if self._texts.holds(choice.key) and (before is None or lists is not None):
                source = Held(envelope(chunk), choice.index, owner, lists or earlier)
                self._texts.sources[choice.key] = source
            if choice.target is None or (owner == "choice") != choice.is_target:
                extra.append(_released(chunk, choice.index, owner, fed, earlier))
                continue
            merge(members, _changes(choice, owner, fed, ascii_only))
            merge(members, _tokens_left(located, choice.path, fed, lists, earlier))
            present = fields[0].name if len(fields) == 1 else ""
        return b"".join(extra), members, present if len(choices) == 1 else ""

    def _release_all(self) -> bytes:
        """Return events with the held part of every text, because the stream is over."""
        out = []
        for key, held in self._texts.held(1):
            fed = self._texts.release(key)
            out.append(_released(held.event, held.index, held.owner, fed, held.lists))
        return b"".join(out) + self._responses.end()


@define  # one is made for each event: frozen, it would take four times as long
class _Choice:
    """One choice in a chunk. Never changed."""

    path: Path
    key: Key
    index: Any
    finishes: bool
    target: dict[str, Any] | None
    """The object with its text: the delta, or the choice itself."""
    is_target: bool
    """That is the choice itself, as in the completions API."""
    fields: tuple[TextField, ...]
    lists: TokenLists | None

    @classmethod
    def of(cls, number: int, choice: dict[str, Any]) -> _Choice:
        """Read the choice with this number in its chunk."""
        path: Path = ("choices", number)
        delta, index = choice.get("delta"), choice.get("index", number)
        own = isinstance(choice.get("text"), str) and not isinstance(delta, dict)
        target = choice if own else delta if isinstance(delta, dict) else None
        fields = content_fields(path, choice, "text") if own else content_fields((*path, "delta"), delta)
        text = "".join([each.text for each in fields])
        lists = legacy_tokens(path, choice, text) if own else chat_tokens(path, choice, text)
        return cls(path, key_of(index), index, bool(choice.get("finish_reason")), target, own, fields, lists)

    @property
    def owner(self) -> str:
        """The name of the object with its text, as `choice_chunk` takes it."""
        if self.is_target:
            return "choice"
        return "parts" if self.fields and self.fields[0].name == "text" else "delta"


def _list_of(chunk: dict[str, Any]) -> list[Any]:
    choices = chunk["choices"]
    return choices if isinstance(choices, list) else []


def _changes(choice: _Choice, owner: str, fed: Fed, ascii_only: bool) -> Members:
    """Return the new members of the object with a choice's text."""
    members: Members = {}
    assert choice.target is not None
    to_target = choice.path if choice.is_target else (*choice.path, "delta")
    for found, visible in zip(choice.fields, fed.visible, strict=False):
        if visible != found.text:
            merge(members, {found.path: {found.name: encode_text(visible, ascii_only)}})
    if not choice.fields and (visible := "".join(fed.visible)):
        content = encode_text(visible, ascii_only)
        if owner == "parts":
            content = b'[{"type":"text","text":' + content + b"}]"
        merge(members, {to_target: {"content": content}})
    if fed.thoughts:
        merge(members, {to_target: with_thoughts(choice.target, fed.thoughts, ascii_only)})
    return members


def _released(source: dict[str, Any], index: Any, owner: str, fed: Fed, lists: TokenLists | None) -> bytes:
    """Return a separate event with the released text of a choice, empty if there is none."""
    visible = "".join(fed.visible)
    if not visible and not fed.thoughts:
        return b""
    logprobs = lists_json(lists.names, fed.tokens) if lists is not None and fed.tokens else None
    return choice_chunk(source, index, owner, visible, fed.thoughts, logprobs)


def _tokens_left(
    located: LocatedTokens, path: Path, fed: Fed, lists: TokenLists | None, before: TokenLists | None
) -> Members:
    """Return the edit that keeps only the tokens of the visible text; `before` has the earlier lists."""
    if lists is not None:
        if fed.dropped:
            return lists.without
        if fed.tokens is None or fed.tokens == located.tokens(lists):
            return {}
        return lists.members(fed.tokens)
    if not fed.tokens or before is None:
        return {}
    return {path: {"logprobs": lists_json(before.names, fed.tokens)}}


class ThinkDocumentFilter:
    """Remove the thoughts from one JSON document: an answer, or a list of answers.

    Nothing is sent before the document is whole. One above `limit_bytes`, or
    for which `lease` has no room, passes unchanged. All bytes outside the edits
    stay. `rule` is a rule, or a function that returns the one for the model
    that an answer names.
    """

    transparent = False

    def __init__(
        self,
        rule: ThinkRule | Callable[[str], ThinkRule],
        limit_bytes: int = DOCUMENT_LIMIT_BYTES,
        lease: Lease | None = None,
    ) -> None:
        self._rule = rule
        self._lease = lease
        self._left = limit_bytes
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        if self._left >= 0:
            self._left -= len(data)
            if self._left >= 0 and (self._lease is None or self._lease.take(len(data))):
                return b""
            self._left = -1
        return self._take()

    def finish(self) -> bytes:
        body = self._take()
        rule = self._rule
        if self._left < 0:
            return body
        if isinstance(rule, ThinkRule) and not (rule.implicit_start or rule.may_begin_in(body)):
            return body
        document = maybe_object(body)
        if document is None:
            return body
        edits = []
        for path, answer in _answers(document):
            found = rule if isinstance(rule, ThinkRule) else rule(model_of(answer))
            if found.active:
                edits += document_edits(body, answer, found, path)
        return splice(body, edits) if edits else body

    def _take(self) -> bytes:
        body = b"".join(self._parts)
        self._parts.clear()
        if self._lease is not None:
            self._lease.free()
        return body


def _answers(document: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    yield (), document
    if document.get("object") == "list" and isinstance(data := document.get("data"), list):
        for number, answer in enumerate(data):
            if isinstance(answer, dict):
                yield ("data", number), answer


def model_of(answer: dict[str, Any]) -> str:
    """Return the model that an answer names, empty if it names none."""
    model = answer.get("model")
    return model if isinstance(model, str) else ""
