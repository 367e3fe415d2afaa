"""Lists of models and other objects: read them, and change them without changing an entry. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from .json_members import Span, iter_elements, iter_members


def _entries(body: bytes) -> tuple[Span, list[tuple[str, bytes]]] | None:
    """Return the span of `data`, with id and bytes of each entry; None if it is no list."""
    try:
        models = json.loads(body)["data"]
        if not isinstance(models, list):
            return None
        ids = [item["id"] for item in models]
        start = len(body) - len(body.lstrip())
        span = dict(iter_members(body, start))["data"]
        spans = list(iter_elements(body, span[0])) if ids else []
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if len(spans) != len(ids) or not all(isinstance(each, str) for each in ids):
        return None
    return span, [(name, body[first:end]) for name, (first, end) in zip(ids, spans, strict=True)]


def ids_listed(body: bytes) -> list[str] | None:
    """Return the ids in a list, in order; None if it is none, or some entry has no id."""
    found = _entries(body)
    return None if found is None else [name for name, _ in found[1]]


def entries_listed(body: bytes) -> list[tuple[str, bytes]]:
    """Return id and bytes of each entry in a list, in order; empty if it is no list."""
    found = _entries(body)
    return [] if found is None else found[1]


EMPTY = b'{"object":"list","data":[]}'
_Entries: TypeAlias = "list[tuple[str | None, bytes]]"


def _listed(body: bytes, span: Span, items: list[Any]) -> _Entries:
    """Return name and bytes of each of the `items` of the list at `span`; the name is None if it has none."""
    spans = list(iter_elements(body, span[0])) if items else []
    return [(_name_of(item), body[start:end]) for item, (start, end) in zip(items, spans, strict=True)]


def _name_of(item: Any) -> str | None:
    names = [item.get(each) for each in ("id", "name", "model", "slug")] if isinstance(item, dict) else [item]
    return next((name for name in names if isinstance(name, str)), None)


def _lists_of_models(body: bytes) -> list[tuple[Span, _Entries]] | None:
    """Return the lists of models in a body, the one that is meant first; None if there is none.

    OpenAI has it in `data`; Together and GitHub send nothing but the list,
    Ollama's own API has `models`, llama.cpp both; for Codex, `models` have slugs.
    """
    try:
        document = json.loads(body)
        start = len(body) - len(body.lstrip())
        if isinstance(document, list):
            span = start, len(body.rstrip())
            return [(span, _listed(body, span, document))]
        spans = dict(iter_members(body, start))
        names = [name for name in ("data", "models") if isinstance(document.get(name), list)]
        return [(spans[name], _listed(body, spans[name], document[name])) for name in names] or None
    except (AttributeError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _is_for_codex(listed: _Entries) -> bool:
    """Return whether a list has Codex' own entries, which nobody else can make."""
    first = json.loads(listed[0][1]) if listed else None
    return isinstance(first, dict) and "slug" in first and "id" not in first


def changed_list(
    body: bytes,
    others: Sequence[bytes] = (),
    aliases: Sequence[str] = (),
    allows: Callable[[str], bool] | None = None,
) -> bytes:
    """Return the list of models `body` with those of `others` and `aliases` at its end, without those that are not allowed.

    Entries stay unchanged, each name once; nothing is added to a list for Codex. What is no list of models passes
    unchanged if everything is allowed; else it is an empty list.
    """
    lists = _lists_of_models(body)
    if lists is None or (allows is None and any(name is None for name, _ in lists[0][1])):
        if allows is None:
            return body
        body = EMPTY
        lists = _lists_of_models(body)
        assert lists is not None
    (span, listed), *beside = lists
    kept = {name: item for name, item in listed if name is not None and (allows is None or allows(name))}
    changes: list[tuple[Span, list[bytes]]] = []
    unchanged = len(kept) == len(listed)
    further = () if _is_for_codex(listed) else _further(others, aliases)
    for name, item in further:
        if name not in kept and (allows is None or allows(name)):
            kept[name] = item
            unchanged = False
    if not unchanged:
        changes.append((span, list(kept.values())))
    if allows is not None:
        for other_span, entries in beside:
            allowed = [item for name, item in entries if name is not None and allows(name)]
            if len(allowed) < len(entries):
                changes.append((other_span, allowed))
    for (start, end), items in sorted(changes, key=itemgetter(0), reverse=True):
        body = body[:start] + b"[" + b",".join(items) + b"]" + body[end:]
    return body


def _further(others: Sequence[bytes], aliases: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for other in others:
        listed = (_lists_of_models(other) or [((0, 0), [])])[0][1]
        if _is_for_codex(listed):
            continue
        for name, item in listed:
            if name is not None:
                yield name, item
    for alias in aliases:
        entry = {"id": alias, "object": "model", "created": 0, "owned_by": "openai-proxy"}
        yield alias, json.dumps(entry).encode("ascii")
