"""twisted.web Headers that keep the lines as they are on the wire.

Order, case and repetition survive; the mapping that twisted.web and treq use is
made only when it is accessed. Imported by both edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.web.http_headers import Headers

from ..exchange.record import HeaderPairs


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


class WireHeaders(Headers):
    """Header lines as (name, value) pairs with the interface of Headers."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: HeaderPairs) -> None:
        self.pairs = pairs

    @classmethod
    def of(cls, headers: Headers | None) -> WireHeaders:
        """Return `headers` itself if it is one, else its lines."""
        if isinstance(headers, WireHeaders):
            return headers
        if headers is None:
            return cls([])
        return cls([(name, value) for name, values in headers.getAllRawHeaders() for value in values])

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        grouped: dict[bytes, tuple[bytes, list[bytes]]] = {}
        for name, value in self.pairs:
            grouped.setdefault(name.lower(), (name, []))[1].append(value)
        return iter(grouped.values())

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        wanted = _bytes(name).lower()
        values = [value for key, value in self.pairs if key.lower() == wanted]
        if not values:
            return default
        return [value.decode("latin-1") for value in values] if isinstance(name, str) else values

    def hasHeader(self, name: str | bytes) -> bool:
        wanted = _bytes(name).lower()
        return any(key.lower() == wanted for key, _ in self.pairs)

    def setRawHeaders(self, name: Any, values: Any) -> None:
        self.removeHeader(name)
        for value in values:
            self.addRawHeader(name, value)

    def addRawHeader(self, name: Any, value: Any) -> None:
        # A copy: pairs may be shared with their maker.
        self.pairs = [*self.pairs, (_bytes(name), _bytes(value))]

    def removeHeader(self, name: str | bytes) -> None:
        wanted = _bytes(name).lower()
        self.pairs = [pair for pair in self.pairs if pair[0].lower() != wanted]

    def copy(self) -> Headers:
        return WireHeaders(list(self.pairs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and list(self.getAllRawHeaders()) == list(other.getAllRawHeaders())

    __hash__ = None  # type: ignore[assignment]  # mutable, as Headers is

    def __repr__(self) -> str:
        return f"<WireHeaders of {len(self.pairs)} lines>"  # never show a value: some are secrets
