"""The one table for what is remembered of strangers: bounded in entries and in bytes. Pure.

Strangers choose header values, names of models and requests, so whatever is
remembered by them goes into a `BoundedMemo`. One that belongs to an object
is made by it. `short_memo` gives one to a pure function of one argument,
which then is the only owner that it has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import update_wrapper
from threading import Lock
from typing import Any, TypeVar

LONGEST_KEPT = 256
"""Bytes, or characters, of a key that is remembered, unless the memo says otherwise."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class BoundedMemo(OrderedDict[_Key, _Value]):
    """What was found of late, by key: at most `entries`, each of at most `longest` bytes.

    When it is full, the oldest entry goes: the one that was remembered
    first. Read it as a dict, at the cost of a dict; write it by `remember`
    only, from any thread.
    """

    def __init__(self, entries: int, longest: int = LONGEST_KEPT) -> None:
        super().__init__()
        self._entries = entries
        self._longest = longest
        self._lock = Lock()

    def remember(self, key: _Key, value: _Value, size: int) -> None:
        """Keep `value`, unless its entry is too large: `size` counts what strangers could make long in it. O(1)."""
        if size > self._longest:
            return
        with self._lock:
            self.pop(key, None)
            while len(self) >= self._entries:
                self.popitem(last=False)
            self[key] = value


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
        self._find = find
        self._size = size
        self._keeps = keeps

    def __missing__(self, key: _Key) -> _Value:
        found = self._find(key)
        if self._keeps is None or self._keeps(key, found):
            self.remember(key, found, self._size(key))
        return found


def short_memo(
    entries: int,
    longest: int = LONGEST_KEPT,
    size: Callable[[Any], int] = len,
    keeps: Callable[[Any, Any], bool] | None = None,
) -> Callable[[Callable[[_Key], _Value]], Callable[[_Key], _Value]]:
    """Decorate a pure function of one argument: remember what it returned for short ones. See `Learned`."""

    def decorate(function: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
        memo: Learned[_Key, _Value] = Learned(function, entries, longest, size, keeps)

        def call(value: _Key) -> _Value:
            return memo[value]

        update_wrapper(call, function)
        call.memo = memo  # type: ignore[attr-defined]  # for tests
        return call

    return decorate
