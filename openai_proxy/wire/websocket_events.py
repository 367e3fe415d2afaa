"""Read the messages of the API's WebSockets: which one begins a turn, which one ends it. Pure.

For `/responses` (parameters next to `type`), `/realtime` and `/live`
(parameters in `response`); both forms are accepted everywhere.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
from attrs import frozen

from .documents import maybe_object
from .json_edits import append_members
from .json_members import iter_members
from .request_json import read_request

CREATE = "response.create"
UPDATES = frozenset(("session.update", "transcription_session.update"))
"""Client events that change the session, and may name models for it."""
ENDS = frozenset(
    ("response.completed", "response.failed", "response.incomplete", "response.cancelled", "response.done")
)
"""Server events that end a turn; `error` may end one, too."""
BEGUN, ERROR = "response.created", "error"
SESSIONS = frozenset(("session.created", "session.updated"))
_WHITE = b" \t\r\n"
_NAMING = re.compile(rb"model|cription|\\", re.IGNORECASE)
"""What stands in a session that names a model or asks for transcriptions, in any spelling."""
_LONGEST_NAME = 256
_MOST_REFUSALS_SHOWN = 1000


@frozen(eq=False, repr=False)
class ClientEvent:
    """A client's text message, parsed."""

    text: bytes
    """The JSON object, in UTF-8 without a byte order mark."""
    begins_turn: bool = False
    stream_id: bytes | None = None
    """The value of `stream_id` as sent: JSON. None without one."""
    event_id: str | None = None
    updates_session: bool = False
    """Whether it may name a model for the session, or have what it hears transcribed."""


NOTHING_ASKED = ClientEvent(b"{}")
"""Replaces the client's parameters for a turn that the server begins by itself."""


def may_matter(text: bytes) -> bool:
    """Say whether a client's message must be read: it may begin a turn or name the session's model.

    That is so if a `type` says it in plain letters, or contains an escape.
    """
    return b"response.create" in text or b"session.update" in text or b"\\" in text


def read_client_event(text: bytes) -> ClientEvent:
    """Read a client's text message; raise InvalidJSON if it is no JSON object.

    Any of several `type` members counts, because servers differ in which one they use.
    """
    read = read_request(text)
    text = read.text
    types: list[Any] = []
    stream_id: bytes | None = None
    event_id: str | None = None
    for name, (first, end) in iter_members(text, _start(text)):
        folded = name.casefold()
        if folded == "type":
            types.append(_decoded(text[first:end]))
        elif folded == "stream_id":
            stream_id = text[first:end]
        elif folded == "event_id":
            event_id = _short(_decoded(text[first:end]))
    kinds = {kind for kind in types if isinstance(kind, str)}
    return ClientEvent(
        text,
        CREATE in kinds,
        None if stream_id == b"null" else stream_id,
        event_id,
        not kinds.isdisjoint(UPDATES) and _NAMING.search(text) is not None,
    )


def parameters(event: ClientEvent, session_model: str | None) -> bytes:
    """Return the parameters of a turn as the JSON object that a POST would have, for all rules.

    The members of `response` are merged with the others; if no model is named,
    the session's last one is added.
    """
    text = event.text
    members: list[tuple[str, bytes]] = []
    nested = named = False
    for name, (first, end) in iter_members(text, _start(text)):
        folded = name.casefold()
        if folded == "response" and text[first : first + 1] == b"{":
            nested = True
            for inner, (inner_first, inner_end) in iter_members(text, first):
                named = named or inner.casefold() == "model"
                members.append((inner, text[inner_first:inner_end]))
        else:
            named = named or folded == "model"
            members.append((name, text[first:end]))
    if nested:
        text = b"{" + b",".join([_encoded(name) + b":" + value for name, value in members]) + b"}"
    if not named and session_model is not None:
        text = append_members(text, b',"model":' + _encoded(session_model))
    return text


@frozen(eq=False)
class ServerEvent:
    """A server's text message, parsed."""

    kind: str
    stream_id: str | None = None
    response_id: str | None = None
    event_id: str | None = None
    """The id of the client's event that an error is about."""
    model: str | None = None
    """The model of a session that begins or changes."""
    status: int | None = None
    """For an error, the status that an HTTP answer would have."""

    @property
    def ends_turn(self) -> bool:
        return self.kind in ENDS


def maybe_server_event(text: bytes) -> ServerEvent | None:
    """Read a server's text message; None if it is no event."""
    document = maybe_object(text)
    kind = document.get("type") if document is not None else None
    if document is None or not isinstance(kind, str):
        return None
    response, session, error = document.get("response"), document.get("session"), document.get("error")
    response_id = document.get("response_id") or (response.get("id") if isinstance(response, dict) else None)
    status = document.get("status")
    return ServerEvent(
        kind,
        _short(document.get("stream_id")),
        _short(response_id),
        _short(error.get("event_id")) if isinstance(error, dict) else None,
        _short(session.get("model")) if isinstance(session, dict) and kind in SESSIONS else None,
        status if kind == ERROR and type(status) is int and 400 <= status <= 599 else None,
    )


def stream_id_of(event: ClientEvent) -> str | None:
    """Return the stream id of a client's message, as the server will name it."""
    return None if event.stream_id is None else _short(_decoded(event.stream_id))


def is_sound(text: bytes) -> bool:
    """Say whether an event contains audio: it is long, and has no text of the model."""
    beginning = text[:512]
    return b"audio.delta" in beginning or b'"type":"response.audio.delta"' in beginning


def refusal(
    body: bytes, status: int, headers: dict[str, str], stream_id: bytes | None, event_id: str | None = None
) -> bytes:
    """Return the event that refuses a turn; `body` is the error of an HTTP answer.

    `event_id` is the id of the client's message, which Realtime's errors name.
    """
    members = body[1:-1]
    if event_id is not None:
        members = members[:-1] + b',"event_id":' + _encoded(event_id) + b"}"
    event = b'{"type":"error","status":%d,%b,"headers":%b' % (status, members, orjson.dumps(headers))
    if stream_id is not None and len(stream_id) <= _MOST_REFUSALS_SHOWN:
        event += b',"stream_id":' + stream_id
    return event + b"}"


def _start(text: bytes) -> int:
    return len(text) - len(text.lstrip(_WHITE))


def _short(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME else None


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _encoded(name: str) -> bytes:
    return json.dumps(name).encode("ascii")
