"""Find variables that look like settings but are not.

Their author must be warned that, for example, a limit is not set. They are
reported and not refused, because the environment belongs to other programs too.
A `.env` file belongs only to this proxy, so that every name in it is checked.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache

from .schema import leaves

CONFIG_VARIABLE = "OPENAI_PROXY_CONFIG"
_NEAR = 0.87
"""The required similarity of a variable to a setting's name, from 0 to 1."""
_SHORTEST = 8
"""Shorter names are similar by chance."""
_OF_OTHERS = ("OTEL_", "AZURE_", "PYTHON")
"""Prefixes of other programs' variables, some of which resemble settings of this proxy."""
_CLIENTS = "OPENAI_BASE_URL"


@lru_cache(maxsize=1)
def known_names() -> frozenset[str]:
    """Return all variables that are read."""
    names = {name for leaf in leaves() for name in leaf.environment}
    files = {f"{name}_FILE" for leaf in leaves() if leaf.doc.secret for name in leaf.environment}
    return frozenset(names | files | {CONFIG_VARIABLE})


def unknown_names(variables: Iterable[str], where: str) -> Iterator[str]:
    """Yield a line for each variable that is not read and was probably meant for this proxy.

    `where` follows the variable's name, as in errors: empty for the
    environment. There, a name counts if its table exists (`RATE_LIMIT__X`), or
    if it is similar to a setting (`CACHE_URL`).
    """
    known = known_names()
    for name in sorted(variables):
        if name in known:
            continue
        if name == _CLIENTS:
            yield (
                f"{name}{where}: is not read, for it is the variable of clients and often points at this very"
                " proxy; did you mean OPENAI_API_BASE?"
            )
            continue
        near = _nearest(name) if where else _near_miss(name)
        if near is not None:
            yield f"{name}{where}: unknown setting; the nearest known one is {near}"


def _nearest(name: str) -> str:
    return _same_letters(name) or get_close_matches(name.upper(), sorted(known_names()), 1, cutoff=0.0)[0]


def _near_miss(name: str) -> str | None:
    table, mark, _ = name.partition("__")
    if mark and table in {each.partition("__")[0] for each in known_names() if "__" in each}:
        return _nearest(name)
    same = _same_letters(name)
    if same is not None:
        return same
    if len(name) < _SHORTEST or name.upper().startswith(_OF_OTHERS):
        return None
    return next(iter(get_close_matches(name.upper(), sorted(known_names()), 1, cutoff=_NEAR)), None)


def _same_letters(name: str) -> str | None:
    """Return the setting's name that differs only in underscores."""
    if "_" not in name:
        return None
    return next((known for known in sorted(known_names()) if _letters(known) == _letters(name)), None)


def _letters(name: str) -> str:
    return name.upper().replace("_", "")
