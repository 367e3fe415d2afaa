"""The bodies of one exchange, kept for the observers that want them.

Only what passes by is kept, up to a limit: nothing is decoded here, for
this stands in the path of every chunk. Read by observers when the exchange
has ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from ...wire.body_headers import is_event_stream
from ...wire.headers import media_type


class BodyCapture:
    """A watching body filter: keeps the first `limit_bytes`, counts the rest.

    Cost of a chunk within the limit: an append. Beyond it the bytes are
    hashed and forgotten, so that a long body can still be identified by its SHA-256;
    with `hashed` False they are only counted (event streams).
    """

    transparent = True
    hashed = True
    arrivals: Sequence[tuple[float, int]] = ()
    """When each chunk came, and its bytes; see TimedCapture."""
    total_bytes = 0
    _digest: Any = None

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Return `data` as it is."""
        self.total_bytes = total_bytes = self.total_bytes + len(data)
        if total_bytes <= self.limit_bytes:
            self._chunks.append(data)
        else:
            self._overflow(data, self.limit_bytes - (total_bytes - len(data)))
        return data

    def finish(self) -> bytes:
        return b""

    def _overflow(self, data: bytes, room: int) -> None:
        if self.hashed:
            if self._digest is None:
                self._digest = hashlib.sha256(b"".join(self._chunks))
            self._digest.update(data)
        if room > 0:
            self._chunks.append(data[:room])

    @property
    def truncated(self) -> bool:
        """True if the body was longer than what is kept."""
        return self.total_bytes > self.limit_bytes

    def body(self) -> bytes:
        """Return the kept bytes, the first `limit_bytes` of the body."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    def sha256(self) -> str | None:
        """Return the digest of the whole body in hex; None if it is not known."""
        if not self.truncated:
            return hashlib.sha256(self.body()).hexdigest()
        return self._digest.hexdigest() if self._digest is not None else None


class TimedCapture(BodyCapture):
    """One that also knows when each chunk came, by `clock`."""

    def __init__(self, limit_bytes: int, clock: Callable[[], float]) -> None:
        super().__init__(limit_bytes)
        self._clock = clock
        self.arrivals: list[tuple[float, int]] = []

    def feed(self, data: bytes) -> bytes:
        """Return `data` as it is."""
        if data and self.total_bytes <= self.limit_bytes:
            self.arrivals.append((self._clock(), len(data)))
        return super().feed(data)


class Capture:
    """Both bodies of one exchange.

    `response` is the last filter of the response: it sees the bytes that the
    client gets, after every change of ours, as they are on the wire (still
    compressed if they were). `request` sees a body that is streamed up;
    one that was buffered is `exchange.request_body` and not fed here. With a
    `clock` it is known when each chunk of the response came.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] | None = None) -> None:
        self.response = BodyCapture(limit_bytes) if clock is None else TimedCapture(limit_bytes, clock)

    @cached_property
    def request(self) -> BodyCapture:
        return BodyCapture(self.response.limit_bytes)

    def response_filter(self, headers: list[tuple[bytes, bytes]]) -> BodyCapture:
        """Return `response`, to be the last filter of the response with these headers."""
        for name, value in headers:
            if name.lower() == b"content-type" and is_event_stream(media_type(value)):
                self.response.hashed = False
        return self.response
