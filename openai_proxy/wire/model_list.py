"""Lists of models and other objects: read them, and change them without changing an entry. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

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


def changed_list(
    body: bytes,
    others: Sequence[bytes] = (),
    aliases: Sequence[str] = (),
    allows: Callable[[str], bool] | None = None,
) -> bytes:
    """Return the list of models `body` with those of `others` and `aliases` at its end, without those that are not allowed.

    Entries stay unchanged, each id once. The body is returned unchanged if it
    is no list of models, or if nothing changes.
    """
    own = _entries(body)
    if own is None:
        return body
    (start, end), listed = own
    kept = {name: item for name, item in listed if allows is None or allows(name)}
    unchanged = len(kept) == len(listed)
    for name, item in _further(others, aliases):
        if name not in kept and (allows is None or allows(name)):
            kept[name] = item
            unchanged = False
    if unchanged:
        return body
    return body[:start] + b"[" + b",".join(kept.values()) + b"]" + body[end:]


def _further(others: Sequence[bytes], aliases: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for other in others:
        found = _entries(other)
        if found is not None:
            yield from found[1]
    for alias in aliases:
        entry = {"id": alias, "object": "model", "created": 0, "owned_by": "openai-proxy"}
        yield alias, json.dumps(entry).encode("ascii")
