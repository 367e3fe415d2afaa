"""Where the members of a JSON object stand, and how to change a few.

Works on the bytes, so that what is not touched stays as it came: spacing,
key order, escapes, number forms. Iterative: nesting costs no stack. The
input should be valid JSON; anything else raises ValueError or, between
brackets, passes unlooked-at. Pure; the base of every rewriting of bodies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Span: TypeAlias = tuple[int, int]
"""Offsets of a value: first byte, one past the last."""
Edit: TypeAlias = tuple[int, int, bytes]
"""Replace the bytes from the first offset up to the second."""

_WHITE = b" \t\n\r"
_space = re.compile(rb"[ \t\n\r]*")
_bracket = re.compile(rb'["{}\[\]]')
_scalar = re.compile(rb"[^ \t\n\r,\]}:\"{\[]+")
_colon = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*")
_escaped_letter = re.compile(rb"\\u00[4-7]")
_plain_name = re.compile(r"[A-Za-z_]+")
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
    """Return the offset after the value that begins at `start`; ValueError if it is cut off."""
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


def _skip_space(body: bytes, at: int) -> int:
    found = _space.match(body, at)
    return found.end() if found else at


def _after_value(body: bytes, at: int, close: bytes) -> int | None:
    """Return where the next item begins, or None after the closing bracket."""
    found = _separator.match(body, at)
    if found is None or found[1] not in (b",", close):
        raise ValueError("a separator is missing")
    return found.end() if found[1] == b"," else None


def iter_members(body: bytes, start: int = 0) -> Iterator[tuple[str, Span]]:
    """Yield each member of the object at `start`: decoded key, span of its value.

    Duplicates are yielded each. Raises ValueError if it is no object.
    """
    at = _first_member(body, start)
    while at is not None:
        name, first = _member_at(body, at)
        end = value_end(body, first)
        yield name, (first, end)
        at = _after_value(body, end, b"}")


def iter_starts(body: bytes, start: int = 0) -> Iterator[tuple[str, int]]:
    """Yield each member of the object at `start`: decoded key, and where its value begins.

    As `iter_members`, but what follows is not looked at before the next one
    is asked for: the value may be cut off.
    """
    at = _first_member(body, start)
    while at is not None:
        name, first = _member_at(body, at)
        yield name, first
        at = _after_value(body, value_end(body, first), b"}")


def _first_member(body: bytes, start: int) -> int | None:
    """Return where the first member of the object at `start` begins, None if it has none."""
    if body[start : start + 1] != b"{":
        raise ValueError("not an object")
    at = _skip_space(body, start + 1)
    return None if body[at : at + 1] == b"}" else at


def _member_at(body: bytes, at: int) -> tuple[str, int]:
    """Return the key of the member that begins at `at`, and where its value begins."""
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
    """Yield the span of each element of the array at `start`; ValueError if it is none."""
    if body[start : start + 1] != b"[":
        raise ValueError("not an array")
    at: int | None = _skip_space(body, start + 1)
    if body[at : at + 1] == b"]":  # type: ignore[operator]  # not None yet
        return
    while at is not None:
        end = value_end(body, at)
        yield at, end
        at = _after_value(body, end, b"]")


def locate(body: bytes, path: tuple[str | int, ...], start: int | None = None) -> Span:
    """Return the span of the value at `path` (keys and indexes) from the value at `start`.

    Of duplicate keys the last counts, as JSON decoders have it. Without
    `start`, from the document's value. Raises LookupError if there is none.
    """
    at = _skip_space(body, 0) if start is None else start
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
    """Return the spans of the values at several paths, by path; those that are not there are left out.

    As `locate` finds each. O(n) for all of them together, times the depth of the paths.
    """
    wanted: dict[Any, Any] = {}
    for path in paths:
        branch = wanted
        for step in path:
            branch = branch.setdefault(step, {})
    found: dict[tuple[str | int, ...], Span] = {}
    waiting: list[tuple[tuple[str | int, ...], dict[Any, Any], Span]] = [
        ((), wanted, (_skip_space(body, 0), len(body)))
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


def splice(body: bytes, edits: list[Edit]) -> bytes:
    """Apply edits that do not overlap, given in any order."""
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts.append(body[at:start])
        parts.append(new)
        at = end
    parts.append(body[at:])
    return b"".join(parts)


def member_edits(body: bytes, start: int, members: Mapping[str, bytes], any_case: bool = False) -> list[Edit]:
    """Return the edits that give the object at `start` these members (name to JSON).

    Every duplicate of a name gets the new value, so that any decoder sees
    it; missing ones are appended. With `any_case` so does every other
    spelling of a name, for servers that ignore case (Go's encoding/json).
    Raises ValueError if it is no object.
    """
    edits: list[Edit] = []
    missing = dict(members)
    last_end: int | None = None
    folded = {name.casefold(): name for name in members} if any_case else {}
    for key, (value_start, end) in iter_members(body, start):
        name = key if key in members or not any_case else folded.get(key.casefold(), key)
        if name in members:
            edits.append((value_start, end, members[name]))
            missing.pop(key, None)
        last_end = end
    if missing:
        rendered = b",".join(_encoded(name) + b":" + value for name, value in missing.items())
        if last_end is None:
            edits.append((start + 1, start + 1, rendered))
        else:
            edits.append((last_end, last_end, b"," + rendered))
    return edits


def find_only_member(body: bytes, name: str) -> Span | None:
    """Return the span of the value of the one member of this name at any depth.

    None if there are more, or where it cannot be told by a byte search
    (10 times faster than a walk): the caller walks then. `name` is ASCII
    letters and underscores. The member must exist somewhere in valid JSON.
    """
    quoted = b'"' + name.encode("ascii") + b'"'
    at = body.find(quoted)
    if at < 0 or body.find(quoted, at + 1) >= 0 or _escaped_letter.search(body):
        return None
    colon = _colon.match(body, at + len(quoted))
    return (colon.end(), value_end(body, colon.end())) if colon else None


def replace_members(
    body: bytes,
    members: Mapping[str, bytes],
    present: Container[str] | None = None,
    any_case: bool = False,
) -> bytes:
    """Set top-level members (name to JSON) of the object `body`; all other bytes stay.

    `present` may name the members that the body is known to have (its
    decoded document): then a byte search often saves the walk. `any_case`
    as for `member_edits`. Raises ValueError if `body` is no object.
    """
    edits = _quick_edits(body, members, present) if present is not None and not any_case else None
    if edits is None:
        edits = member_edits(body, _skip_space(body, 0), members, any_case)
    return splice(body, edits)


def _encoded(name: str) -> bytes:
    # not by orjson, which refuses the half of a surrogate pair
    return json.dumps(name).encode("ascii")


def rendered_members(members: Mapping[str, bytes]) -> bytes:
    """Return members (name to JSON) as `append_members` takes them."""
    return b"".join([b"," + _encoded(name) + b":" + value for name, value in members.items()])


def append_members(body: bytes, rendered: bytes) -> bytes:
    """Put `rendered_members` behind the last member of the object `body`, which must be valid JSON.

    As `replace_members` does with members that are missing.
    """
    last = _end_of_members(body)
    if body[last - 1] == 0x7B:  # the object is empty: nothing else ends so
        rendered = rendered[1:]
    return body[:last] + rendered + body[last:]


def _end_of_members(body: bytes) -> int:
    """Return the offset after the last member of the object `body`, without a walk or a copy."""
    last = len(body) - 1
    while body[last] in _WHITE:
        last -= 1
    while body[last - 1] in _WHITE:  # in front of the brace
        last -= 1
    return last


def _quick_edits(body: bytes, members: Mapping[str, bytes], present: Container[str]) -> list[Edit] | None:
    """Return the edits of `member_edits` without a walk, or None if only that can tell."""
    edits: list[Edit] = []
    missing = b""
    for name, value in members.items():
        if name not in present:
            missing += b"," + _encoded(name) + b":" + value
            continue
        span = find_only_member(body, name) if _plain_name.fullmatch(name) else None
        if span is None:
            return None
        edits.append((*span, value))
    if missing:
        last = _end_of_members(body)
        if body[last - 1] == 0x7B:  # the object is empty: nothing else ends so
            missing = missing[1:]
        edits.append((last, last, missing))
    return edits


def without_members(body: bytes, names: Container[str], any_case: bool = False) -> bytes:
    """Take top-level members out of the object `body`, every duplicate too.

    All other bytes stay, but for white space before commas.

    With `any_case` in any spelling: `names` are in lower case. Raises
    ValueError if `body` is no object. O(n).
    """
    start = _skip_space(body, 0)
    kept: list[bytes] = []
    at = after = start + 1
    removed = False
    for key, (_, end) in iter_members(body, start):
        # from behind the comma before the member (or the brace) to behind its value
        member, at = body[at:end], end + 1
        closing = _skip_space(body, end)
        if body[closing : closing + 1] == b",":
            at = closing + 1
        after = end
        if (key.casefold() if any_case else key) in names:
            removed = True
        else:
            kept.append(member)
    if not removed:
        return body
    return body[: start + 1] + b",".join(kept) + body[after:]


def replace_nested(
    body: bytes,
    outer: str,
    members: Mapping[str, bytes],
    present: Container[str] | None = None,
    any_case: bool = False,
) -> bytes:
    """Set members of the object that is the top-level member `outer`.

    Where `outer` is missing or null it becomes an object of `members`.
    `present` and `any_case` as for `replace_members`. Raises ValueError
    where `outer` is anything else.
    """
    inner = b"null"
    if any_case:
        for name, (start, end) in iter_members(body, _skip_space(body, 0)):
            if name.casefold() == outer:
                inner = body[start:end]
    elif present is None or outer in present:
        try:
            start, end = locate(body, (outer,))
            inner = body[start:end]
        except LookupError:
            pass
    new = replace_members(b"{}" if inner == b"null" else inner, members, any_case=True)
    return replace_members(body, {outer: new}, present, any_case)
