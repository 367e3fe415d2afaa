"""Tags as settings: `[tags] team = "x-team"`, and the fixed tags of a key."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from ..wire.upstream_lines import is_protected
from .fields import Allowed

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_RESERVED = ("end_user",)
MOST_TAGS = 10
MOST_VALUE = 100

Pairs: TypeAlias = tuple[tuple[str, str], ...]


def _pairs(value: Any) -> dict[str, str]:
    """Return the members of a table, or of text such as `team=x-team,project=x-project`."""
    if isinstance(value, tuple):
        value = dict(value)
    if isinstance(value, str):
        parts = [part.partition("=") for part in re.split(r"[,\s]+", value) if part]
        value = {name.strip(): header.strip() for name, _, header in parts}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError("a table of texts is expected")
    if len(value) > MOST_TAGS:
        raise ValueError(f"there may be {MOST_TAGS} tags, not {len(value)}")
    for name in value:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            raise ValueError(f"{str(name)[:40]!r} is no name of a tag: lower-case letters, digits and _")
    return value


def _headers(value: Any) -> Pairs:
    found = []
    for name, header in _pairs(value).items():
        header = header.lower()
        if not _TOKEN.fullmatch(header):
            raise ValueError(f"the tag {name} names no header")
        if is_protected(header.encode("ascii")):
            raise ValueError(f"the header of the tag {name} is a credential or frames the message")
        found.append((name, header))
    if len({header for _, header in found}) < len(found):
        raise ValueError("two tags have the same header")
    return tuple(found)


def _values(value: Any) -> Pairs:
    found = _pairs(value)
    for name, text in found.items():
        if not text.strip() or len(text) > MOST_VALUE or not text.isprintable():
            raise ValueError(f"the tag {name} must have 1 to {MOST_VALUE} printable characters")
    return tuple((name, text.strip()) for name, text in found.items())


TagHeaders = Annotated[
    Pairs,
    BeforeValidator(_headers),
    PlainSerializer(lambda pairs: dict(pairs)),
    Allowed(f"a table of at most {MOST_TAGS} tags and the names of their headers, such as team = 'x-team'"),
]
TagValues = Annotated[
    Pairs,
    BeforeValidator(_values),
    PlainSerializer(lambda pairs: dict(pairs)),
    Allowed(f"a table of at most {MOST_TAGS} tags and their values, such as {{ team = 'red' }}"),
]
