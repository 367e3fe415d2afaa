"""The one table for what is remembered of strangers: bounded in entries and in bytes. Pure.

Strangers choose header values, names of models and requests, so whatever is
remembered by them goes into a `BoundedMemo`. One that belongs to an object
is made by it. `short_memo` gives one to a pure function of one argument,
which then is the only owner that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

LONGEST_KEPT = 256
"""Bytes, or characters, of a key that is remembered, unless the memo says otherwise."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class BoundedMemo(dict[_Key, _Value]):
    """What was found of late, by key: at most `entries`, each of at most `longest` bytes.

    When it is full, the older half goes: those that were remembered first.
    Read it as a dict, at the cost of a dict; write it by `remember` only.
    Any thread may; several that write at once may add an entry each beyond
    the bound.
    """

    def __init__(self, entries: int, longest: int = LONGEST_KEPT) -> None:
        super().__init__()
        self._entries = entries
        self._longest = longest

    def remember(self, key: _Key, value: _Value, size: int) -> None:
        """Keep `value`, unless its entry is too large: `size` counts what strangers could make long in it.

        O(1) on average: what must not cost more than storing in a dict does
        not, for most of what strangers send is seen once.
        """
        if size <= self._longest:
            if len(self) >= self._entries and key not in self:
                self._forget_older_half()
            self[key] = value

    def _forget_older_half(self) -> None:
        for old in list(self)[: (len(self) + 1) // 2]:
            self.pop(old, None)


class Learned(BoundedMemo[_Key, _Value]):
    """What a function returns, found when it is first asked for: `memo[key]`.

    `size` gives the size of a key; `keeps` says whether a result may be kept,
    for a memo must not hold what looks like a credential.
    """

    def __init__(
        self,
        find: Callable[[_Key], _Value],
        entries: int,
        longest: int = LONGEST_KEPT,
        size: Callable[[Any], int] = len,
        keeps: Callable[[_Key, _Value], bool] | None = None,
    ) -> None:
        super().__init__(entries, longest)
        self.find = find
        """What is asked for a key that is not here."""
        self._size = size
        self._keeps = keeps

    def __missing__(self, key: _Key) -> _Value:
        found = self.find(key)
        if self._size(key) <= self._longest and (self._keeps is None or self._keeps(key, found)):
            if len(self) >= self._entries:  # not `remember`: its call would cost more than all of this
                self._forget_older_half()
            self[key] = found
        return found


def short_memo(
    entries: int,
    longest: int = LONGEST_KEPT,
    size: Callable[[Any], int] = len,
    keeps: Callable[[Any, Any], bool] | None = None,
) -> Callable[[Callable[[_Key], _Value]], Callable[[_Key], _Value]]:
    """Decorate a pure function of one argument: remember what it returned for short ones. See `Learned`.

    What stands under the function's name then is the look-up in the memo
    itself, so that a call costs no more than one in a dict.
    """

    def decorate(function: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
        memo: Learned[_Key, _Value] = Learned(function, entries, longest, size, keeps)
        return memo.__getitem__

    return decorate


def memo_of(function: object) -> Learned[Any, Any] | None:
    """Return the memo of a function that `short_memo` decorates, None for any other. For tests."""
    memo = getattr(function, "__self__", None)
    return memo if isinstance(memo, Learned) else None
