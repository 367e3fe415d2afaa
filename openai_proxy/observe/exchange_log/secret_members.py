"""Credentials that travel in JSON bodies, taken out before a line is made. Pure.

Known by the name of their member (`client_secret`, `authorization`) or by
their look (`ek_...`, `sk-admin-...`). What people and models wrote to each
other is left as it is: a prompt about keys stays what it was.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from ...exchange.bounded_memo import short_memo
from ...wire.key_like import KEY_LIKE
from ..redaction import REDACTED, scrubbed
from .body_strings import shown_server, shown_text, shown_text_once
from .member_names import DATA_NAMES, HOLDERS, PROSE_NAMES, is_secret

_OF_TOOL_SERVERS = frozenset(("server_url", "server_label", "connector_id"))
_SHORTEST_KEY = 8
_TEXTS_KEPT = 1024
_LOOKED_INTO = frozenset((str, dict, list))
MOST_STRINGS = 100_000
"""Strings above which a whole body is too costly to look into: its beginning is shown as text."""
MOST_CONTAINERS = 50_000
"""Lists and objects, likewise."""

_PLAIN, _WRITTEN, _HOLDER, _HIDDEN = range(4)
"""What the strings of a container are: anything; prose; those of a credential's object; all of them secrets."""

_OTHER, _DATA, _PROSE, _TOKEN, _VALUE, _SECRET, _SERVER, _VARIABLES, _HOLDING, _ALL = range(10)
"""What a member's name says of its value. `_ALL`: no string in it may be shown."""
_HEADERS, _ENVIRONMENT, _FIELDS, _KEY = range(10, 14)
"""Names whose meaning depends on the rest of the object, and one that looks like a key itself."""
_ROLES = {
    **dict.fromkeys(PROSE_NAMES, _PROSE),
    **dict.fromkeys(DATA_NAMES, _DATA),
    **dict.fromkeys(HOLDERS, _HOLDING),
    "token": _TOKEN,
    "value": _VALUE,
    "key": _VALUE,
    "server_url": _SERVER,
    "variables": _VARIABLES,
    "env": _ENVIRONMENT,
    "fields": _FIELDS,
}


def without_credentials(value: Any) -> Any:
    """Return decoded JSON with its credentials blotted out; changed in place. O(n), without recursion."""
    if type(value) is str:
        return shown_text(value)
    if value and (type(value) is dict or type(value) is list):
        _blot_out(value)
    return value


def has_credentials(value: Any) -> bool:
    """Say whether decoded JSON holds a credential; it is blotted out in place."""
    return _blot_out([value])[0] > 0


def shows_no_credentials(value: dict[str, Any], text: bytes) -> bool:
    """Blot the credentials of `value` out in place; return whether `text`, which it was decoded from, has none.

    False also if the text may hold more than the value does: of a member
    that comes twice, decoding keeps the second one only.
    """
    changes, members = _blot_out(value)
    return not changes and text.count(b'":') == members


def _blot_out(top: dict[str, Any] | list[Any]) -> tuple[int, int]:
    """Blot out in place; return how many strings changed, and how many members were seen."""
    changes = members = 0
    waiting: list[tuple[Any, int]] = [(top, _PLAIN)]
    while waiting:
        container, kind = waiting.pop()
        if type(container) is dict:
            members += len(container)
            changes += _look_into_members(container, kind, waiting)
        else:
            changes += _look_into_items(container, kind, waiting)
    return changes, members


def _look_into_items(items: list[Any], kind: int, waiting: list[tuple[Any, int]]) -> int:
    if type(items[0]) not in _LOOKED_INTO and _LOOKED_INTO.isdisjoint(map(type, items)):
        return 0  # thousands of numbers, often
    changes = 0
    for at, item in enumerate(items):
        what = type(item)
        if what is str:
            if kind != _WRITTEN:
                shown = shown_text(item) if kind == _PLAIN else REDACTED
                if shown != item:
                    items[at] = shown
                    changes += 1
        elif item and what is dict:
            waiting.append((item, _PLAIN if kind == _WRITTEN else kind))
        elif item and what is list:
            waiting.append((item, kind))
    return changes


def _look_into_members(members: dict[str, Any], kind: int, waiting: list[tuple[Any, int]]) -> int:
    changes = 0
    has_key_as_name = False
    shows, below = _SHOWS[kind], _BELOW[kind]
    for name, value in members.items():
        role = _role(name)
        if role >= _HEADERS:
            has_key_as_name = has_key_as_name or role == _KEY
            role = _role_within(members, role, value)
        what = type(value)
        if what is str:
            show = shows[role]
            if show is not None:
                shown = show(value)
                if shown != value:
                    members[name] = shown
                    changes += 1
        elif value and (what is dict or what is list):
            waiting.append((value, below[role][what is list]))
    if has_key_as_name:
        renamed = {scrubbed(name): value for name, value in members.items()}
        members.clear()
        members.update(renamed)
        changes += 1
    return changes


@short_memo(1024, keeps=lambda name, role: role != _KEY)
def _role(name: str) -> int:
    if name in _ROLES:
        return _ROLES[name]
    if is_secret(name):
        return _SECRET
    if len(name) >= 12 and KEY_LIKE.match(name):
        return _KEY
    return _HEADERS if name.lower() == "headers" else _OTHER


def _role_within(members: dict[str, Any], role: int, value: Any) -> int:
    """Return what the name of a value says of it in this object."""
    kind = members.get("type")
    if role == _HEADERS:
        return _ALL if kind == "mcp" or not _OF_TOOL_SERVERS.isdisjoint(members) else _OTHER
    if role == _ENVIRONMENT:
        # not that of a command that a model wrote, and no schema
        hides = kind != "exec" and type(value) is dict and "type" not in value
        return _ALL if hides else _OTHER
    if role == _FIELDS:
        return _HOLDING if kind == "browser_authentication" else _OTHER
    return _OTHER if role == _KEY else role


def _shown_data(text: str) -> str:
    """Return what is shown of a member's string that is not remembered."""
    return text if len(text) < _SHORTEST_KEY else shown_text_once(text)


_shown_member = short_memo(_TEXTS_KEPT, keeps=operator.eq)(_shown_data)


def _hidden(text: str) -> str:
    return REDACTED if text else text


def _all_hidden(text: str) -> str:
    return REDACTED


_Show: TypeAlias = Callable[[str], str] | None
"""Returns what is shown of a string; None if all of it is."""
_Below: TypeAlias = tuple[int, int]
"""Of which kind a value is: if it is an object, and if it is a list."""
_Any = TypeVar("_Any")


def _by_role(usual: _Any, others: Mapping[int, _Any]) -> tuple[_Any, ...]:
    return tuple(others.get(role, usual) for role in range(_HEADERS))


_NOT_EVEN_IN_PROSE: dict[int, _Show] = {_SECRET: _hidden, _SERVER: shown_server, _ALL: _all_hidden}
_PLAINLY: dict[int, _Show] = {**_NOT_EVEN_IN_PROSE, _DATA: _shown_data, _PROSE: None, _TOKEN: None}
_SHOWS: tuple[tuple[_Show, ...], ...] = (
    _by_role(_shown_member, _PLAINLY),
    _by_role(None, _NOT_EVEN_IN_PROSE),
    _by_role(_shown_member, {**_PLAINLY, _TOKEN: _hidden, _VALUE: _hidden}),
    _by_role(_hidden, {}),
)
"""How a member's string is shown, by the kind of its object and the role of its name."""
_USUALLY_BELOW = _by_role(
    (_PLAIN, _PLAIN),
    {
        _PROSE: (_PLAIN, _WRITTEN),
        _TOKEN: (_PLAIN, _WRITTEN),
        _VARIABLES: (_WRITTEN, _WRITTEN),
        _HOLDING: (_HOLDER, _HOLDER),
        _SECRET: (_HOLDER, _HIDDEN),
        _ALL: (_HIDDEN, _HIDDEN),
    },
)
_BELOW: tuple[tuple[_Below, ...], ...] = (
    _USUALLY_BELOW,
    _USUALLY_BELOW,
    _USUALLY_BELOW,
    _by_role((_HIDDEN, _HIDDEN), {}),
)
"""Of which kind a member's object or list is, likewise."""


def is_laborious(text: bytes) -> bool:
    """Say whether JSON has so many values that looking into it would keep everybody else waiting. O(n)."""
    return text.count(b'"') > 2 * MOST_STRINGS or text.count(b"[") + text.count(b"{") > MOST_CONTAINERS
