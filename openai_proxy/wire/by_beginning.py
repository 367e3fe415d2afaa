"""A body filter that is chosen by the beginning of the body, not by its media type. Pure.

Some servers label an event stream `application/json`. SDKs ignore the label of
a stream that they requested, so it must be treated as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .sse import begins_stream


class Filter(Protocol):
    """The part of a body filter that is used here."""

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class ByBeginning:
    """Filter a body as an event stream if it begins like one, else as a document.

    Holds the first bytes until they decide, which takes one line.
    """

    transparent = False

    def __init__(self, stream: Callable[[], Filter], document: Callable[[], Filter]) -> None:
        self._stream = stream
        self._document = document
        self._chosen: Filter | None = None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        if self._chosen is not None:
            return self._chosen.feed(data)
        held = self._held + data
        is_stream = begins_stream(held)
        if is_stream is None:
            self._held = held
            return b""
        return self._choose(is_stream, held)

    def _choose(self, is_stream: bool, held: bytes) -> bytes:
        self._held = b""
        self._chosen = self._stream() if is_stream else self._document()
        return self._chosen.feed(held) if held else b""

    def finish(self) -> bytes:
        rest = self._choose(False, self._held) if self._chosen is None else b""
        assert self._chosen is not None
        return rest + self._chosen.finish()
