"""Let all instances of a class share their attribute names, so that long-lived objects take less memory. Pure.

CPython (PEP 412) keeps the names of a class's attributes once, in a table for
some thirty names that is made by its first dozens of instances. An instance
with a name that came too late, or is one too many, has a table of its own for
as long as it lives: that takes some 500 bytes more, and 1 µs to make. Which
instances come first depends on the traffic: a burst at the start makes dozens
before the first of them has all of its attributes.
"""

from __future__ import annotations

from typing import Any

MOST_NAMES = 29
"""The largest number of names, in every CPython so far: a table has 30 slots, and its first instance takes one."""


def share_names(kind: type, names: str) -> None:
    """Have the instances of `kind` share `names`, separated by white space; call it before the first instance is made.

    Name the attributes that most instances have, at most MOST_NAMES: an
    instance with any other has a table of its own. Do not name slots. Raises
    ValueError for more.
    """
    wanted = names.split()
    if len(wanted) > MOST_NAMES:
        raise ValueError(f"{kind.__name__} would have {len(wanted)} names")
    first: object = object.__new__(kind)
    for name in wanted:
        object.__setattr__(first, name, None)


class OwnList:
    """A list that is made when it is first accessed: most exchanges never fill it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, exchange: Any, owner: type) -> Any:
        if exchange is None:
            return self
        made: list[Any] = []
        exchange.__dict__[self._name] = made
        return made
