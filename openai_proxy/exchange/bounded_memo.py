"""The only memo for values that clients choose: bounded in entries and in bytes. Pure.

Clients choose header values, names of models and requests, so whatever is
cached by them goes into a `BoundedMemo`. An object makes the memos that belong
to it. `short_memo` gives one to a pure function of one argument, which is then
its only owner.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

LONGEST_KEPT = 256
"""The longest key that is remembered, in bytes or characters, unless the memo has another bound."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class BoundedMemo(dict[_Key, _Value]):
    """Recent results by key: at most `entries`, each of at most `longest` bytes.

    When it is full, the older half is dropped: the entries that were remembered
    first. Read it as a dict, at the cost of a dict; write it only by
    `remember`. Any thread may write; several that write at once may each exceed
    the bound by one entry.
    """

    def __init__(self, entries: int, longest: int = LONGEST_KEPT) -> None:
        super().__init__()
        self._entries = entries
        self._longest = longest

    def remember(self, key: _Key, value: _Value, size: int) -> None:
        """Keep `value`, unless its entry is too large: `size` counts the parts of it that clients could make long.

        O(1) on average. A write must cost no more than storing in a dict,
        because most of what clients send is seen only once.
        """
        if size <= self._longest:
            if len(self) >= self._entries and key not in self:
                self._forget_older_half()
            self[key] = value

    def _forget_older_half(self) -> None:
        for old in list(self)[: (len(self) + 1) // 2]:
            self.pop(old, None)


class Learned(BoundedMemo[_Key, _Value]):
    """The results of a function, computed when they are first needed: `memo[key]`.

    `size` returns the size of a key; `keeps` says whether a result may be kept,
    because a memo must not contain what looks like a credential.
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
        """The function that computes the value of a missing key."""
        self._size = size
        self._keeps = keeps

    def __missing__(self, key: _Key) -> _Value:
        found = self.find(key)
        if self._size(key) <= self._longest and (self._keeps is None or self._keeps(key, found)):
            if len(self) >= self._entries:  # not by `remember`, whose call would cost more than all of this
                self._forget_older_half()
            self[key] = found
        return found


def short_memo(
    entries: int,
    longest: int = LONGEST_KEPT,
    size: Callable[[Any], int] = len,
    keeps: Callable[[Any, Any], bool] | None = None,
) -> Callable[[Callable[[_Key], _Value]], Callable[[_Key], _Value]]:
    """Decorate a pure function of one argument: memoise its results for short ones. See `Learned`.

    The function's name then refers to the look-up in the memo itself, so that a
    call costs no more than a look-up in a dict.
    """

    def decorate(function: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
        memo: Learned[_Key, _Value] = Learned(function, entries, longest, size, keeps)
        return memo.__getitem__

    return decorate


def memo_of(function: object) -> Learned[Any, Any] | None:
    """Return the memo of a function that `short_memo` decorates, None for any other. For tests."""
    memo = getattr(function, "__self__", None)
    return memo if isinstance(memo, Learned) else None
