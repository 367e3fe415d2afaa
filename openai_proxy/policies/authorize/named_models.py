"""Find the models and the costly extras that a request's JSON names. Pure.

Every member counts in any spelling, with every duplicate: some servers ignore
case, some take the first of two members and some the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping
from itertools import islice
from typing import Any

from ...wire.json_members import Span, iter_members
from ...wire.request_json import MOST_MEMBERS, TooManyMembers, check_walk, parse_int

ModelMembers = Mapping[str, Any]

_SESSION: ModelMembers = {
    "model": True,
    "tools": {"model": True},
    "input_audio_transcription": {"model": True},
    "audio": {"input": {"transcription": {"model": True}}},
}
_GRADER: dict[str, Any] = {"model": True}
_GRADER["grader"] = _GRADER
_GRADER["graders"] = {}
_MODEL_MEMBERS: ModelMembers = {
    "model": True,
    "models": True,
    "fallbacks": True,
    "deployment": True,
    **{name: _SESSION[name] for name in _SESSION if name not in ("model", "audio")},
    "session": _SESSION,
    "agent": {"model": True},
    "target": {"agent": {"model": True}},
    "data_source": {"model": True},
    "testing_criteria": _GRADER,
    "grader": _GRADER,
    "method": {"reinforcement": {"grader": _GRADER}},
    "plugins": {"model": True},
    "moderation": {"model": True},
}
"""The members that contain a model in the API's schemas and in those of routers; True marks a name or a list of names."""

_HOLDERS = frozenset(("input", "items", "tools", "data_source"))
"""Members in which lists of tools are nested: items such as `additional_tools`, and tools that are namespaces."""
DRAWS = "gpt-image-1"
"""The model of the tool `image_generation` that names none (OpenAI's OpenAPI description)."""
_LETTER_ESCAPED = re.compile(rb"\\u(?:00[4-7]|017[fF])")
_LONG_S = "\u017f".encode()

_RUN_NONE = (
    "files",
    "files/*",
    "uploads",
    "uploads/*",
    "vector_stores",
    "vector_stores/*",
    "containers",
    "containers/*",
    "conversations",
    "conversations/*",
    "skills",
    "skills/*",
    "threads",
    "threads/{id}",
    "threads/{id}/messages",
    "threads/{id}/messages/{id}",
    "threads/{id}/runs/{id}",
    "threads/{id}/runs/{id}/submit_tool_outputs",
    "assistants/{id}",
    "evals",
    "evals/{id}",
    "chat/completions/{id}",
    "fine_tuning/checkpoints/*",
)
_HARMLESS_ENDS = ("cancel", "pause", "hangup", "reject", "refer")


class _Members(list[tuple[str, Any]]):
    """An object as its members in order, with duplicates."""


_decode = json.JSONDecoder(object_pairs_hook=_Members, parse_int=parse_int).decode


def runs_model(method: bytes, endpoint: str) -> bool:
    """Say whether a request runs a model: every POST except those that are known to run none."""
    if method != b"POST":
        return False
    if endpoint.rpartition("/")[2] in _HARMLESS_ENDS:
        return False
    return not any(
        endpoint == name or (name.endswith("*") and endpoint.startswith(name[:-1])) for name in _RUN_NONE
    )


def makes_session(method: bytes, endpoint: str) -> bool:
    """Say whether a request creates an ephemeral key, or a session whose traffic bypasses this proxy."""
    if method != b"POST" or endpoint.rpartition("/")[2] in _HARMLESS_ENDS:
        return False
    first, _, rest = endpoint.partition("/")
    return first in ("realtime", "live") or (first == "chatkit" and rest == "sessions")


def models_in(text: bytes, document: Mapping[str, Any]) -> list[object]:
    """Return what the JSON object `text` names as a model anywhere; `document` is its outline.

    Values that are not strings may be among them. O(n); a body with one plain
    `model` and no other relevant member is not walked.
    """
    names = {name.casefold() for name in document}
    if names.isdisjoint(_MODEL_MEMBERS) and names.isdisjoint(_HOLDERS):
        return []
    ordinary = len(names) == len(document) and names & _MODEL_MEMBERS.keys() == {"model"}
    is_plain = ordinary and b"\\u" not in text and text.count(b'"model"') == 1
    if is_plain and (names.isdisjoint(_HOLDERS) or not _may_hold_tools(text)):
        return [document["model"]]
    found: list[object] = []
    for name, span in _spans(text, _MODEL_MEMBERS.keys() | _HOLDERS):
        lists = [
            (_MODEL_MEMBERS["tools"], tools)
            for tools in (_nested_tools(text, span) if name in _HOLDERS else ())
        ]
        if name in _MODEL_MEMBERS:
            lists.append((_MODEL_MEMBERS[name], _decoded(text, *span)))
        for members, value in lists:
            found.extend(islice(_within(value, members), MOST_MEMBERS + 1 - len(found)))
            if members is _MODEL_MEMBERS["tools"] and any(map(_draws_by_default, _listed(value))):
                found.append(DRAWS)
            if len(found) > MOST_MEMBERS:
                raise TooManyMembers
    return found


def _may_hold_tools(text: bytes) -> bool:
    """Say whether JSON may have a member `tools` anywhere, in any spelling. O(n), and quick."""
    return b'"tools"' in text.lower() or _LETTER_ESCAPED.search(text) is not None or _LONG_S in text


def _nested_tools(text: bytes, span: Span) -> Iterator[Any]:
    """Yield the value of each member `tools` within a value of the body, at any depth."""
    first, end = span
    part = text[first:end]
    if not _may_hold_tools(part):
        return
    waiting: list[Any] = [_decoded(text, first, end)]
    while waiting:
        value = waiting.pop()
        if type(value) is _Members:
            yield from (inner for name, inner in value if name.casefold() == "tools")
            waiting.extend(inner for _, inner in value if isinstance(inner, list))
        elif type(value) is list:
            waiting.extend(inner for inner in value if isinstance(inner, list))


def top_level_models(text: bytes) -> list[object]:
    """Return the values of all top-level members of `text` that some server reads as the model, in order."""
    return top_level_values(text, "model")


def top_level_values(text: bytes, name: str) -> list[object]:
    """Return the values of all top-level members of `text` that some server reads as `name`, in order."""
    return [value for _, value in _values(text, (name,))]


def _values(text: bytes, names: Container[str]) -> Iterator[tuple[str, Any]]:
    """Yield each top-level member that has one of these names in any spelling, decoded; names casefolded."""
    for name, (first, end) in _spans(text, names):
        yield name, _decoded(text, first, end)


def _spans(text: bytes, names: Container[str]) -> Iterator[tuple[str, Span]]:
    """Yield name (casefolded) and span of each top-level member that has one of these names in any spelling."""
    check_walk(text)
    start = len(text) - len(text.lstrip(b" \t\r\n"))
    for number, (spelled, span) in enumerate(iter_members(text, start)):
        if number >= MOST_MEMBERS:  # a decoded document has no duplicates
            raise TooManyMembers
        name = spelled.casefold()
        if name in names:
            yield name, span


def _decoded(text: bytes, first: int, end: int) -> Any:
    return _decode(text[first:end].decode("utf-8", "surrogatepass"))


def _within(value: Any, members: Any) -> Iterator[object]:
    if type(value) is _Members:
        if members is True:  # a model described by an object: take its name, whatever the member is called
            members = {"model": True, "name": True, "id": True}
        for name, inner in value:
            below = members.get(name.casefold())
            if below is not None:
                yield from _within(inner, below)
            elif not members:  # an object of objects with arbitrary names
                yield from _within(inner, _GRADER)
    elif type(value) is list:
        for inner in value:
            yield from _within(inner, members or _GRADER)
    elif members is True and value is not None:
        yield value


MEASURED_TIERS = frozenset(("auto", "default", "flex"))
_FEE_TOOLS = frozenset(("code_interpreter", "file_search", "image_generation"))
_FEE_PREFIXES = ("web_search", "computer")
_STORED = frozenset(("prompt", "assistant_id", "agent_id"))
"""Members that refer to stored objects of the upstream, whose model and tools the proxy does not know."""
_DEAR = frozenset(("service_tier", "web_search_options", "session")) | _STORED | _HOLDERS


def unmeasured_param(text: bytes, document: Mapping[str, Any]) -> str | None:
    """Return the member because of which a request may cost more than its tokens; None if there is none.

    Such members are a service tier that costs more than the default, tools with
    a fee of their own (also in items of the input), a session whose input is
    transcribed, and a stored prompt, an assistant or an agent, which may have
    such tools and any model. A `prompt` of text, as in completions and images,
    is none of these.
    """
    if _DEAR.isdisjoint(name.casefold() for name in document):
        return None
    for name, span in _spans(text, _DEAR):
        first, end = span
        if name == "prompt":
            if text[first : first + 1] == b"{":
                return name
        elif name in _HOLDERS:
            lists = [_decoded(text, first, end)] if name == "tools" else []
            if any(map(_have_fee, [*lists, *_nested_tools(text, span)])):
                return name
        else:
            value = _decoded(text, first, end)
            if name == "session":
                if _transcribes(value):
                    return name
            elif name != "service_tier":
                if value is not None:
                    return name
            elif value is not None and (not isinstance(value, str) or value not in MEASURED_TIERS):
                return name
    return None


def _transcribes(session: Any) -> bool:
    """Say whether a session of Realtime has its input transcribed, which costs without any response."""
    if type(session) is not _Members:
        return False
    for name, inner in session:
        folded = name.casefold()
        if folded in ("audio", "input") and _transcribes(inner):
            return True
        if folded in ("transcription", "input_audio_transcription") and inner is not None:
            return True
        if folded == "type" and inner in ("transcription", "translation"):
            return True
    return False


def _have_fee(tools: Any) -> bool:
    return any(map(_has_fee, _listed(tools)))


def _listed(tools: Any) -> list[Any]:
    return tools if type(tools) is list else [tools]


def _draws_by_default(tool: Any) -> bool:
    """Say whether a tool makes images by a model that the upstream chooses."""
    return "image_generation" in _kinds(tool) and not any(
        name.casefold() == "model" and value is not None for name, value in tool
    )


def _has_fee(tool: Any) -> bool:
    kinds = _kinds(tool)
    if any(kind in _FEE_TOOLS or kind.startswith(_FEE_PREFIXES) for kind in kinds):
        return True
    # a shell in a container of the upstream has the fee of the container
    return "shell" in kinds and any(
        kind.startswith("container")
        for name, inner in tool
        if name.casefold() == "environment"
        for kind in _kinds(inner)
    )


def _kinds(value: Any) -> list[str]:
    """Return the types that an object names, with every duplicate."""
    if type(value) is not _Members:
        return []
    return [kind.lower() for name, kind in value if name.casefold() == "type" and isinstance(kind, str)]
