"""The upstreams that hold the state of conversations, in Redis: one key for each name, for several machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from .state_homes import Home
from .state_names import Digest

PREFIX = b"openai-proxy:state:1:"
"""The prefix of every key; the number is the version of key and value."""


class RedisCalls(Protocol):
    """The part of the connection to Redis that is used here."""

    def call(self, *args: bytes | str | int | float) -> Deferred[Any]:
        """Send one command; fails soon if Redis cannot be reached."""
        ...


class RedisState:
    """A `SharedState`: a look-up takes no longer than any call to Redis may."""

    def __init__(self, client: RedisCalls) -> None:
        self._client = client

    def find(self, names: Sequence[Digest]) -> Deferred[dict[Digest, Home]]:
        """Return the homes of those names that it has. Fails if Redis does."""
        asked = self._client.call("MGET", *map(_key, names))
        return asked.addCallback(lambda values: _homes(names, values))

    def keep(self, names: Sequence[Digest], home: Home, ttl_s: float) -> None:
        """Store where new state is; give up if Redis does not accept it."""
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
