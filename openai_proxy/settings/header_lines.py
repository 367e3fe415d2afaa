"""Header names, globs of them, and static lines and parameters, as settings.

Headers that carry credentials or frame a message cannot be set or dropped here,
because the proxy's own rules about them would no longer be enforced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, SecretStr

from ..wire.upstream_lines import is_protected
from .fields import Allowed

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_GLOB = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z?\[\]-]+")
_FILE = "_FILE"

SecretPairs: TypeAlias = tuple[tuple[str, SecretStr], ...]


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of names is expected")
    return [item.strip().lower() for item in value]


def _names(value: Any) -> tuple[str, ...]:
    names = _list(value)
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
    return tuple(dict.fromkeys(names))


def _globs(value: Any) -> tuple[str, ...]:
    globs = _list(value)
    for glob in globs:
        if not _GLOB.fullmatch(glob):
            raise ValueError(f"{glob!r} is no name of a header and no glob")
        if is_protected(glob.encode("ascii")):
            raise ValueError(f"{glob!r} is a credential or frames the message, and always stays")
    return tuple(dict.fromkeys(globs))


def _header(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    if is_protected(name.lower().encode("ascii")) or name.lower() == "via":
        raise ValueError(f"{name!r} is a credential, frames the message or belongs to one connection")


def _parameter(name: str) -> None:
    if not name.isprintable():
        raise ValueError(f"{name!r} is no name of a query parameter")


def _pairs(value: Any, check: Callable[[str], None]) -> SecretPairs:
    """Return (name, value) pairs of a table; a name that ends in _FILE names a file with the value."""
    if isinstance(value, tuple):
        return value  # already read
    if not isinstance(value, dict):
        raise ValueError("a table is expected")
    found: dict[str, tuple[str, SecretStr]] = {}
    for name, text in value.items():
        bare = name.removesuffix(_FILE)
        if not bare:
            raise ValueError("a name is empty")
        check(bare)
        if bare.lower() in found:
            raise ValueError(f"{bare!r} is given twice")
        if isinstance(text, int) and not isinstance(text, bool):
            text = str(text)
        if not isinstance(text, str):
            raise ValueError(f"the value of {name!r} is no text")
        check_line(name, text)
        found[bare.lower()] = (name, SecretStr(text))
    return tuple(found.values())


def check_line(name: str, text: str) -> None:
    """Raise ValueError unless `text` fits on one line; the error shows only the `name`."""
    if not text or text != text.strip() or not (text.isascii() and text.isprintable()):
        raise ValueError(f"the value of {name!r} is not one line of visible ASCII text")


def file_of(name: str) -> str | None:
    """Return the name without `_FILE` if a file has its value, else None."""
    return name.removesuffix(_FILE) if name.endswith(_FILE) else None


HeaderNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    Allowed("names of headers, separated by commas (a list in TOML)"),
]
HeaderGlobs = Annotated[
    tuple[str, ...],
    BeforeValidator(_globs),
    Allowed(
        "names of headers or globs such as 'cf-*', separated by commas (a list in TOML);"
        " credentials and what frames the message always stay"
    ),
]
StaticHeaders = Annotated[
    SecretPairs,
    BeforeValidator(lambda value: _pairs(value, _header)),
    PlainSerializer(len),
    Allowed(
        "a table: header to value, or header with _FILE to a file that holds the value;"
        " no credentials, nothing that frames the message or belongs to one connection"
    ),
]
StaticQuery = Annotated[
    SecretPairs,
    BeforeValidator(lambda value: _pairs(value, _parameter)),
    PlainSerializer(len),
    Allowed("a table: parameter to value, or parameter with _FILE to a file that holds the value"),
]
