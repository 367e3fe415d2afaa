"""Change members of a JSON object in its bytes.

All other bytes stay as they came: spacing, key order, escapes, number forms.
The input should be valid JSON; anything else raises ValueError or, between
brackets, passes unread. Pure; every change of a body's JSON uses this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from typing import TypeAlias

from .json_members import find_only_member, iter_members, locate, skip_space

Edit: TypeAlias = tuple[int, int, bytes]
"""Replace the bytes from the first offset up to the second."""

_WHITE = b" \t\n\r"
_plain_name = re.compile(r"[A-Za-z_]+")


def splice(body: bytes, edits: list[Edit]) -> bytes:
    """Apply edits that do not overlap, in any order."""
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


def replace_members(
    body: bytes,
    members: Mapping[str, bytes],
    present: Container[str] | None = None,
    any_case: bool = False,
) -> bytes:
    """Set top-level members (name to JSON) of the object `body`; all other bytes stay.

    `present` may have the members of the body (its decoded document): then a
    byte search often saves the walk. `any_case` as for `member_edits`. Raises
    ValueError if `body` is no object.
    """
    edits = _quick_edits(body, members, present) if present is not None and not any_case else None
    if edits is None:
        edits = member_edits(body, skip_space(body, 0), members, any_case)
    return splice(body, edits)


def _encoded(name: str) -> bytes:
    # not by orjson, which refuses half of a surrogate pair
    return json.dumps(name).encode("ascii")


def rendered_members(members: Mapping[str, bytes]) -> bytes:
    """Return members (name to JSON) as `append_members` takes them."""
    return b"".join([b"," + _encoded(name) + b":" + value for name, value in members.items()])


def append_members(body: bytes, rendered: bytes) -> bytes:
    """Put `rendered_members` after the last member of the object `body`, which must be valid JSON.

    As `replace_members` does with missing members.
    """
    last = _end_of_members(body)
    if body[last - 1] == 0x7B:  # the object is empty: nothing else ends in this way
        rendered = rendered[1:]
    return body[:last] + rendered + body[last:]


def _end_of_members(body: bytes) -> int:
    """Return the offset after the last member of the object `body`, without a walk or a copy."""
    last = len(body) - 1
    while body[last] in _WHITE:
        last -= 1
    while body[last - 1] in _WHITE:  # before the brace
        last -= 1
    return last


def _quick_edits(body: bytes, members: Mapping[str, bytes], present: Container[str]) -> list[Edit] | None:
    """Return the edits of `member_edits` without a walk, or None if a walk is needed."""
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
        if body[last - 1] == 0x7B:  # the object is empty: nothing else ends in this way
            missing = missing[1:]
        edits.append((last, last, missing))
    return edits


def without_members(body: bytes, names: Container[str], any_case: bool = False) -> bytes:
    """Remove top-level members of the object `body`, with every duplicate.

    All other bytes stay, except white space before commas.

    With `any_case` in any spelling: `names` are in lower case. Raises
    ValueError if `body` is no object. O(n).
    """
    start = skip_space(body, 0)
    kept: list[bytes] = []
    at = after = start + 1
    removed = False
    for key, (_, end) in iter_members(body, start):
        # from after the comma before the member (or the brace) to after its value
        member, at = body[at:end], end + 1
        closing = skip_space(body, end)
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

    If `outer` is missing or null it becomes an object with `members`. `present`
    and `any_case` as for `replace_members`. Raises ValueError if `outer` is
    anything else.
    """
    inner = b"null"
    if any_case:
        for name, (start, end) in iter_members(body, skip_space(body, 0)):
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
