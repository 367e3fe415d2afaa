"""Process many keys in slices, so that requests continue meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")
Pause = Callable[[], Deferred[None]]
"""Fires in a later turn of the reactor."""
AT_ONCE = 200
"""A slice of keys takes the reactor some 10 ms."""


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield all items, AT_ONCE of them at a time.

    >>> [len(part) for part in slices(range(450))]
    [200, 200, 50]
    """
    for begin in range(0, len(items), AT_ONCE):
        yield items[begin : begin + AT_ONCE]
