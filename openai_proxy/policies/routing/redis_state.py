"""Where state lives, in Redis: one key for each name, for several machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from .known_state import Home
from .state_names import Digest

PREFIX = b"openai-proxy:state:1:"
"""What every key begins with; the number is the version of key and value."""


class RedisCalls(Protocol):
    """What is used of the connection to Redis."""

    def call(self, *args: bytes | str | int | float) -> Deferred[Any]:
        """Send one command; fails soon if Redis is away."""
        ...


class RedisState:
    """A `SharedState`: nobody waits for it longer than for any call to Redis."""

    def __init__(self, client: RedisCalls) -> None:
        self._client = client

    def find(self, names: Sequence[Digest]) -> Deferred[dict[Digest, Home]]:
        """Return the homes of those that are known. Fails as Redis does."""
        asked = self._client.call("MGET", *map(_key, names))
        return asked.addCallback(lambda values: _homes(names, values))

    def keep(self, names: Sequence[Digest], home: Home, ttl_s: float) -> None:
        """Note where new state lives; given up if Redis does not take it."""
        for name in names:
            kept = self._client.call("SET", _key(name), b"%016x" % home, "PX", max(1, int(ttl_s * 1000)))
            kept.addErrback(lambda failure: None)


def _key(name: Digest) -> bytes:
    return PREFIX + b"%016x" % name


def _homes(names: Sequence[Digest], values: Any) -> dict[Digest, Home]:
    found = {}
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bytes) and len(value) == 16:
            try:
                found[name] = int(value, 16)
            except ValueError:
                continue
    return found
