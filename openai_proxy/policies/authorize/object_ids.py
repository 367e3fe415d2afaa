"""Find the stored objects that a request or an answer names: files, responses, batches and the like. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from ...wire.json_members import iter_members, iter_starts, value_end
from ...wire.request_json import check_walk, parse_int

RESPONSES_KEPT_S = 32 * 86400
"""OpenAI keeps responses for 30 days."""
_LONGEST_ID = 256
_MOST_ITEMS = 256

KINDS = {
    "files": "File",
    "batches": "Batch",
    "responses": "Response",
    "vector_stores": "Vector store",
    "conversations": "Conversation",
    "assistants": "Assistant",
    "threads": "Thread",
    "containers": "Container",
    "uploads": "Upload",
    "videos": "Video",
    "evals": "Eval",
    "skills": "Skill",
    "fine_tuning/jobs": "Fine-tuning job",
    "chat/completions": "Chat completion",
    "chatkit/sessions": "Session",
    "chatkit/threads": "Thread",
    "audio/voices": "Voice",
    "audio/voice_consents": "Voice consent",
    "agents": "Agent",
    "agents/automations": "Automation",
    "agents/environments": "Environment",
    "agents/environments/templates": "Environment template",
    "agents/sessions": "Session",
    "vaults": "Vault",
    "live/sessions": "Session",
    "realtime/calls": "Call",
    "safety/alerts": "Alert",
    "safety/cases": "Case",
}
"""The collections whose objects have owners, by the name of the endpoint."""
MAKE_FILES = ("batches", "fine_tuning/jobs")
"""The collections whose objects produce files while they run."""
TAKEN = frozenset(("live/sessions", "realtime/calls"))
"""The collections of calls. A webhook or a WebSocket may announce a call, so one without
an owner belongs to the key that first posts to it."""
_LATER = frozenset(
    (
        "batches/{id}",
        "fine_tuning/jobs/{id}",
        "responses/{id}",
        "agents/sessions/{id}",
        "agents/automations/{id}/invocations",
        "agents/automations/{id}/invocations/{id}",
    )
)
"""Objects that name others once they have made them: files, containers, environments, sessions."""
_PREFIXES = {
    "file-": "File",
    "resp_": "Response",
    "batch_": "Batch",
    "vs_": "Vector store",
    "conv_": "Conversation",
    "asst_": "Assistant",
    "thread_": "Thread",
    "cntr_": "Container",
}
_NAMES = re.compile(
    r"previous_response_id|conversation|conversation_id|\w*file_ids?|training_file|validation_file"
    r"|vector_store_ids?|container|container_id|batch_id|assistant_id|thread_id|skill_id|video_id|video|voice"
    r"|comparison_response_id"
)
_NAMES_OF = {
    "agents": re.compile(r"(?:agent|environment|environment_template|session|vault|credential)_ids?"),
    "audio": re.compile("consent"),
}
"""Further members that refer, by the family of the endpoint: elsewhere such words are other programs' own."""
_AS_OBJECTS = frozenset(("video", "voice"))
"""Members that refer by an object with an `id`; as a string they are an address, or the name of a built-in voice."""
_LABELS = frozenset(("metadata", "client_metadata", "attributes"))
"""Members whose own members have names that the client chooses; their strings refer to nothing."""
_NO_WORD = re.compile(r"\W+")
_SEPARATORS = re.compile(r"[,;\s]+")
_OF_TYPE = ("item_reference", "file_id")
_MAY_NAME = re.compile(rb'"(?:' + _NAMES.pattern.encode() + rb'|item_reference)"')
"""A member, in lower case: with a literal at its beginning this is found twenty times as fast as in any case."""
_MADE_IDS = ("id", "thread_id", "session_id", "output_file_id", "error_file_id")
_MADE_OBJECTS = ("response", "item", "session", "environment")
_MADE = frozenset((*_MADE_IDS, *_MADE_OBJECTS, "result_files", "output", "data"))
"""Members of an answer whose ids the upstream itself has written."""
_WORDS = frozenset(("auto", "none"))
"""Strings that may be given instead of an id."""


_FILTERS = frozenset(("stored_completions", "responses", "logs"))
"""Sources of an evaluation's run that are not files: all that the upstream has stored."""


class _Members(list[tuple[str, Any]]):
    """An object as its members in order, with duplicates."""


_decode = json.JSONDecoder(object_pairs_hook=_Members, parse_int=parse_int).decode


def collection_of(endpoint: str) -> str | None:
    """Return the collection that an endpoint belongs to, None if its objects have no owners."""
    segments = endpoint.split("/")
    names = ("/".join(segments[:length]) for length in (3, 2, 1))
    return next((name for name in names if name in KINDS), None)


def id_in_path(target: bytes, endpoint: str) -> str | None:
    """Return the id of the first stored object that a target names, None if it names none."""
    collection = collection_of(endpoint)
    if collection is None:
        return None
    words = endpoint.split("/")
    if "{id}" not in words:
        return None
    at = words.index("{id}")
    segments = [part for part in unquote_to_bytes(target.partition(b"?")[0]).split(b"/") if part]
    first = 0
    while first < len(segments) - 1 and segments[first].lower() in (b"openai", b"v1"):
        first += 1
    return segments[first + at].partition(b";")[0].decode("utf-8", "replace")


def calls_in_query(target: bytes) -> list[str]:
    """Return the calls that the handshake of a WebSocket joins: `/realtime?call_id=rtc_1`."""
    pairs = parse_qsl(target.partition(b"?")[2].replace(b";", b"&").decode("latin-1"))
    return [value for name, value in pairs if name.casefold() == "call_id"]


def ids_in_body(text: bytes, endpoint: str = "") -> list[str]:
    """Return the ids of stored objects that the JSON object `text` uses, in any spelling of their members. O(n)."""
    return list(references_in_body(text, endpoint))


def references_in_body(text: bytes, endpoint: str = "") -> dict[str, str]:
    """Return the ids that `ids_in_body` finds, each with the last member that names it. O(n)."""
    further = _further_names(endpoint)
    is_plain = further is None and text.isascii() and b"\\u" not in text
    if is_plain and _MAY_NAME.search(text.lower()) is None:
        return {}
    check_walk(text)
    found: dict[str, str] = {}
    waiting: list[Any] = [_decode(text.decode("utf-8", "surrogatepass"))]
    while waiting:
        value = waiting.pop()
        if type(value) is not _Members:
            waiting.extend(inner for inner in value if isinstance(inner, list))
            continue
        kinds = [inner for name, inner in value if name.casefold() == "type"]
        by_type = any(kind in _OF_TYPE for kind in kinds if isinstance(kind, str))
        for name, inner in value:
            folded = name.casefold()
            if _refers(folded, further) and not (folded in _AS_OBJECTS and isinstance(inner, str)):
                found.update(dict.fromkeys(_ids(inner), name))
            elif by_type and folded == "id" and isinstance(inner, str):
                found[inner] = name
            if folded in _LABELS and type(inner) is _Members:
                waiting.extend(each for _, each in inner if isinstance(each, list))
            elif isinstance(inner, list):
                waiting.append(inner)
    return found


def _further_names(endpoint: str) -> re.Pattern[str] | None:
    return _NAMES_OF.get(endpoint.partition("/")[0])


def _refers(name: str, further: re.Pattern[str] | None) -> bool:
    return _NAMES.fullmatch(name) is not None or (further is not None and further.fullmatch(name) is not None)


def filters_stored(endpoint: str, text: bytes) -> bool:
    """Say whether a run of an evaluation selects stored answers by filters, whatever key they belong to. O(n)."""
    if endpoint != "evals/{id}/runs":
        return False
    check_walk(text)
    waiting: list[Any] = [_decode(text.decode("utf-8", "surrogatepass"))]
    while waiting:
        value = waiting.pop()
        members = value if type(value) is _Members else [("", inner) for inner in value]
        for name, inner in members:
            if name.casefold() == "source" and type(inner) is _Members:
                kinds = [kind for key, kind in inner if key.casefold() == "type"]
                if any(kind in _FILTERS for kind in kinds if isinstance(kind, str)):
                    return True
            if isinstance(inner, list):
                waiting.append(inner)
    return False


def is_reference(field: str, endpoint: str = "") -> bool:
    """Say whether a field of a form with this name, casefolded, may refer to a stored object: `file_id`, `video[id]`."""
    words = [word for word in _NO_WORD.split(field) if word]
    while words and (words[-1] == "id" or words[-1].isdigit()):
        words.pop()
    if not words or words[-1] == "voice" or (len(words) > 1 and words[-2] in _LABELS):
        return False
    return _refers(words[-1], _further_names(endpoint))


def ids_in_field(value: str) -> list[str]:
    """Return the ids in the value of such a field: one, several, or JSON that names them."""
    try:
        read = _decode(value)
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, str | list):
        return list(_ids(read))
    return [each for each in _SEPARATORS.split(value) if each]


def _ids(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if each and each not in _WORDS:
                yield each
        elif type(each) is _Members:
            yield from (inner for name, inner in each if name.casefold() == "id" and isinstance(inner, str))
        elif isinstance(each, list):
            waiting.extend(reversed(each))


def ids_made(text: bytes) -> list[str]:
    """Return the ids of the objects that an answer says it has created; `text` may be truncated.

    Only members that the upstream writes itself count, never those that it
    echoes.
    """
    try:
        found = orjson.loads(text)
    except ValueError:
        found = _whole_members(text)
    if not isinstance(found, dict):
        return []
    ids: list[Any] = [found.get(name) for name in _MADE_IDS]
    ids += found["result_files"] if isinstance(found.get("result_files"), list) else []
    for inner in map(found.get, _MADE_OBJECTS):
        if isinstance(inner, Mapping):
            ids += [inner.get("id"), inner.get("container_id"), _id_of(inner.get("environment"))]
    output = found.get("output")
    if isinstance(output, list):
        items = [item for item in output[:_MOST_ITEMS] if isinstance(item, dict)]
        ids += [item.get(name) for item in items for name in ("id", "container_id")]
    listed = found.get("data")
    if isinstance(listed, list):  # the invocations of an automation
        ids += [item.get("session_id") for item in listed[:_MOST_ITEMS] if isinstance(item, dict)]
    return list(dict.fromkeys(filter(_is_id, ids[: 3 * _MOST_ITEMS + 20])))


def _id_of(value: object) -> object:
    return value.get("id") if isinstance(value, Mapping) else None


def _whole_members(text: bytes) -> dict[str, Any]:
    """Return the members that `ids_made` looks at, as far as they came before the truncation."""
    found: dict[str, Any] = {}
    try:
        for name, (first, end) in iter_members(text, len(text) - len(text.lstrip())):
            if name in _MADE:
                found[name] = json.loads(text[first:end])
    except (ValueError, RecursionError):
        pass
    return found


def id_begun(text: bytes) -> str | None:
    """Return the id of the object that an answer is, or that an event is about; `text` may be truncated
    anywhere.

    Reads only a member that the upstream writes itself, as for `ids_made`. It
    stands near the beginning, so this costs little. None if it has not come
    yet.
    """
    start = len(text) - len(text.lstrip())
    try:
        for name, at in iter_starts(text, start):
            if name == "id":
                return _id_at(text, at)
            if name == "response":
                return next(
                    (_id_at(text, inner) for key, inner in iter_starts(text, at) if key == "id"), None
                )
    except (ValueError, RecursionError):
        pass
    return None


def _id_at(text: bytes, at: int) -> str | None:
    value = json.loads(text[at : value_end(text, at)])
    return value if _is_id(value) else None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID


def no_such(name: str, endpoint: str) -> str:
    """Return OpenAI's message for an object that does not exist; `endpoint` or its id says of which kind."""
    kind = next((kind for prefix, kind in _PREFIXES.items() if name.startswith(prefix)), None)
    if kind is None:
        kind = KINDS.get(collection_of(endpoint) or "", "object")
    return (
        f"No such {kind} object: {name[:_LONGEST_ID]}"
        if kind != "object"
        else f"No such object: {name[:_LONGEST_ID]}"
    )


def makes_objects(method: bytes, endpoint: str, document: Mapping[str, Any] | None) -> bool:
    """Say whether a 2xx answer may name objects that are new, or that its object has produced."""
    collection = collection_of(endpoint)
    if collection is None:
        return False
    if method == b"GET":
        return endpoint in _LATER
    if method != b"POST":
        return False
    if endpoint == "chat/completions":
        return document is not None and document.get("store") is True
    return not (endpoint == "responses" and document is not None and document.get("store") is False)
