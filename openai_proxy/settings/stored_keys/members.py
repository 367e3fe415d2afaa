"""The members of a stored key: those of `[[keys]]`, checked like those of the configuration.

Only JSON values come in and go out, so that a record can be stored and shown
unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from ...exchange.page_errors import InvalidValue
from ..errors import without_keys
from ..fields import allowed_of
from ..tables import KeyEntry

_NOT_HERE = frozenset(("name", "key", "key_sha256", "upstream_key"))
_ANY_DIGEST = "0" * 64
_DEEPEST = 3
"""The deepest nesting that is merged: clients choose the depth of their JSON, and tables of a key have no tables in them."""
_SECRET = (
    "upstream_key cannot be set here, for it would travel in clear: put it into [[keys]] of the TOML file."
)
MEMBERS = tuple(name for name in KeyEntry.model_fields if name not in _NOT_HERE)


def key_entry_of(name: str, members: Mapping[str, Any]) -> KeyEntry:
    """Return the entry of a stored key, without its secret; raise InvalidValue, which says what is wrong."""
    for member in members:
        if member == "upstream_key":
            raise InvalidValue(_SECRET, param=member)
        if member not in MEMBERS:
            member = without_keys(member)
            near = get_close_matches(member, MEMBERS, 1, cutoff=0.0)[0]
            raise InvalidValue(
                f"A key has no member {member[:40]!r}; the nearest known one is {near!r}.", param=member[:100]
            )
    try:
        return KeyEntry.model_validate({**members, "name": name, "key_sha256": _ANY_DIGEST})
    except ValidationError as error:
        raise _bad(error) from None


def _bad(error: ValidationError) -> InvalidValue:
    """Return the error for the first problem; it repeats nothing of the input."""
    location = error.errors(include_url=False, include_input=False)[0]["loc"]
    model: Any = KeyEntry
    field, path = None, []
    for step in location:
        if isinstance(step, int) or model is None or step not in model.model_fields:
            continue
        field = model.model_fields[step]
        path.append(step)
        inner = field.annotation
        model = inner if isinstance(inner, type) and hasattr(inner, "model_fields") else None
    if field is None or not path:
        return InvalidValue("This is no client key.", param=str(location[0])[:100] if location else None)
    if len(location) > len(path) and isinstance(location[-1], str) and model is not None:
        param = ".".join((*path, location[-1]))[:100]
        return InvalidValue(f"{'.'.join(path)} has no such member.", param=param)
    words = allowed_of(field) or "a table"
    return InvalidValue(f"{'.'.join(path)} must be {words}.", param=".".join(path))


def merged(members: Mapping[str, Any], changes: Mapping[str, Any], depth: int = _DEEPEST) -> dict[str, Any]:
    """Return `members` with `changes` applied: null removes, tables are merged (RFC 7396).

    Tables nested deeper than `depth` are not merged: no member has such a
    table, so they are refused later.
    """
    result = dict(members)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping) and depth > 0:
            before = result.get(name)
            inner = merged(before if isinstance(before, Mapping) else {}, value, depth - 1)
            if inner:
                result[name] = inner
            else:
                result.pop(name, None)
        else:
            result[name] = value
    return result
