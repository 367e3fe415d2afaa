"""A memo of functions of one string: bounded in entries and in bytes. Pure.

Strangers choose header values, so a memo keeps short ones only: what does
not repeat is mostly long, and 256 bytes times a few hundred entries is all
that it may hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import TypeVar

LONGEST_KEPT = 256
"""Bytes, or characters, of a value that is remembered."""

_Text = TypeVar("_Text", bytes, str)
_Result = TypeVar("_Result")


def short_memo(entries: int) -> Callable[[Callable[[_Text], _Result]], Callable[[_Text], _Result]]:
    """Decorate a pure function of one argument: remember its last `entries` results for short arguments."""

    def decorate(function: Callable[[_Text], _Result]) -> Callable[[_Text], _Result]:
        remembered = lru_cache(maxsize=entries)(function)

        def call(value: _Text) -> _Result:
            return remembered(value) if len(value) <= LONGEST_KEPT else function(value)

        update_wrapper(call, function)
        call.cache_info = remembered.cache_info  # type: ignore[attr-defined]  # for tests, as lru_cache has it
        return call

    return decorate
