"""Counts how many examples of a property test took the fast path that it is about."""

from collections.abc import Callable
from typing import Any


class Taken:
    """`with` it around all examples: at the end, at least half of them must have taken the fast path.

    A test whose examples all go the slow way compares that way with itself.
    """

    def __init__(self) -> None:
        self.examples = self.taken = 0

    def note(self, took_it: bool) -> None:
        """Note one example."""
        self.examples += 1
        self.taken += bool(took_it)

    def __enter__(self) -> Callable[[bool], None]:
        return self.note

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            assert self.examples >= 50, f"only {self.examples} examples"
            assert 2 * self.taken >= self.examples, (
                f"only {self.taken} of {self.examples} examples took the fast path"
            )
