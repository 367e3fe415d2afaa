"""Find the members of a JSON object in its bytes.

Iterative: nesting costs no stack. The input should be valid JSON; anything else
raises ValueError or, between brackets, passes unread. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

Span: TypeAlias = tuple[int, int]
"""Offsets of a value: first byte, one past the last."""

_space = re.compile(rb"[ \t\n\r]*")
_bracket = re.compile(rb'["{}\[\]]')
_scalar = re.compile(rb"[^ \t\n\r,\]}:\"{\[]+")
_colon = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*")
_escaped_letter = re.compile(rb"\\u00[4-7]")
_separator = re.compile(rb"[ \t\n\r]*([,}\]])[ \t\n\r]*")


def string_end(body: bytes, start: int) -> int:
    """Return the offset after the string that opens at `start`. O(its length)."""
    at = start
    while True:
        at = body.find(b'"', at + 1)
        if at < 0:
            raise ValueError("unterminated string")
        before = at - 1
        while body[before] == 0x5C:
            before -= 1
        if (at - before) % 2:
            return at + 1


def value_end(body: bytes, start: int) -> int:
    """Return the offset after the value that begins at `start`; raise ValueError if it is truncated."""
    first = body[start : start + 1]
    if first == b'"':
        return string_end(body, start)
    if first in (b"{", b"["):
        return _container_end(body, start)
    found = _scalar.match(body, start)
    if found is None:
        raise ValueError("a value is missing")
    return found.end()


def _container_end(body: bytes, start: int) -> int:
    depth, at = 0, start
    search = _bracket.search
    while found := search(body, at):
        bracket = body[found.start()]
        if bracket == 0x22:
            at = string_end(body, found.start())
            continue
        at = found.end()
        depth += 1 if bracket in b"{[" else -1
        if not depth:
            return at
    raise ValueError("unterminated object or array")


def skip_space(body: bytes, at: int) -> int:
    """Return the offset after the white space at `at`."""
    found = _space.match(body, at)
    return found.end() if found else at


def _after_value(body: bytes, at: int, close: bytes) -> int | None:
    """Return the offset of the next item, or None after the closing bracket."""
    found = _separator.match(body, at)
    if found is None or found[1] not in (b",", close):
        raise ValueError("a separator is missing")
    return found.end() if found[1] == b"," else None


def iter_members(body: bytes, start: int = 0) -> Iterator[tuple[str, Span]]:
    """Yield each member of the object at `start`: decoded key, span of its value.

    Each duplicate is yielded. Raises ValueError if it is no object.
    """
    at = _first_member(body, start)
    while at is not None:
        name, first = _member_at(body, at)
        end = value_end(body, first)
        yield name, (first, end)
        at = _after_value(body, end, b"}")


def iter_starts(body: bytes, start: int = 0) -> Iterator[tuple[str, int]]:
    """Yield each member of the object at `start`: decoded key, offset of its value.

    As `iter_members`, but the value is not read before the next member is
    requested, so it may be truncated.
    """
    at = _first_member(body, start)
    while at is not None:
        name, first = _member_at(body, at)
        yield name, first
        at = _after_value(body, value_end(body, first), b"}")


def _first_member(body: bytes, start: int) -> int | None:
    """Return the offset of the first member of the object at `start`, None if it has none."""
    if body[start : start + 1] != b"{":
        raise ValueError("not an object")
    at = skip_space(body, start + 1)
    return None if body[at : at + 1] == b"}" else at


def _member_at(body: bytes, at: int) -> tuple[str, int]:
    """Return the key of the member that begins at `at`, and the offset of its value."""
    if body[at : at + 1] != b'"':
        raise ValueError("a key is missing")
    key_end = string_end(body, at)
    colon = _colon.match(body, key_end)
    if colon is None:
        raise ValueError("a colon is missing")
    return _decode_key(body[at:key_end]), colon.end()


def _decode_key(raw: bytes) -> str:
    if b"\\" not in raw:
        return raw[1:-1].decode("utf-8", "surrogateescape")
    return str(json.loads(raw.decode("utf-8", "surrogateescape"), strict=False))


def iter_elements(body: bytes, start: int) -> Iterator[Span]:
    """Yield the span of each element of the array at `start`; raise ValueError if it is none."""
    if body[start : start + 1] != b"[":
        raise ValueError("not an array")
    at: int | None = skip_space(body, start + 1)
    if body[at : at + 1] == b"]":  # type: ignore[operator]  # not None yet
        return
    while at is not None:
        end = value_end(body, at)
        yield at, end
        at = _after_value(body, end, b"]")


def locate(body: bytes, path: tuple[str | int, ...], start: int | None = None) -> Span:
    """Return the span of the value at `path` (keys and indexes) from the value at `start`.

    Of duplicate keys the last counts, as in JSON decoders. Without `start`,
    from the document's value. Raises LookupError if there is none.
    """
    at = skip_space(body, 0) if start is None else start
    span = (at, len(body))
    for step in path:
        wanted: Span | None = None
        if isinstance(step, str):
            for key, found in iter_members(body, span[0]):
                if key == step:
                    wanted = found
        else:
            for number, found in enumerate(iter_elements(body, span[0])):
                if number == step:
                    wanted = found
                    break
        if wanted is None:
            raise LookupError(step)
        span = wanted
    return span


def locate_all(body: bytes, paths: Iterable[tuple[str | int, ...]]) -> dict[tuple[str | int, ...], Span]:
    """Return the spans of the values at several paths, by path; missing ones are left out.

    Each is found like `locate` does. O(n) for all of them together, times the depth of the paths.
    """
    wanted: dict[Any, Any] = {}
    for path in paths:
        branch = wanted
        for step in path:
            branch = branch.setdefault(step, {})
    found: dict[tuple[str | int, ...], Span] = {}
    waiting: list[tuple[tuple[str | int, ...], dict[Any, Any], Span]] = [
        ((), wanted, (skip_space(body, 0), len(body)))
    ]
    while waiting:
        path, branch, span = waiting.pop()
        found[path] = span
        if not branch:
            continue
        children: Iterator[tuple[str | int, Span]]
        if body[span[0] : span[0] + 1] == b"{":
            children = iter_members(body, span[0])
        else:
            children = enumerate(iter_elements(body, span[0]))
        # Of duplicate keys the last counts.
        spans = {step: inner for step, inner in children if step in branch}
        waiting += [((*path, step), branch[step], inner) for step, inner in spans.items()]
    return found


def find_only_member(body: bytes, name: str) -> Span | None:
    """Return the span of the value of the one member of this name at any depth.

    None if there are more, or if a byte search (10 times faster than a walk) is
    not enough: then the caller walks. `name` is ASCII letters and underscores.
    The member must exist somewhere in valid JSON.
    """
    quoted = b'"' + name.encode("ascii") + b'"'
    at = body.find(quoted)
    if at < 0 or body.find(quoted, at + 1) >= 0 or _escaped_letter.search(body):
        return None
    colon = _colon.match(body, at + len(quoted))
    return (colon.end(), value_end(body, colon.end())) if colon else None
