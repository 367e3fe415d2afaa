"""Keys in Redis, shared by several machines."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from ...net.redis_client import RedisClient
from .store import MOST_KEYS, Snapshot, StoreFull

READ = rb"""
local revision = redis.call('GET', KEYS[1]) or 'empty'
if revision == ARGV[1] then return {revision} end
return {revision, redis.call('HGETALL', KEYS[2])}
"""
"""KEYS: revision, records. ARGV: the last read revision, empty for none."""

PUT = rb"""
local now = redis.call('HGET', KEYS[2], ARGV[1])
local old, new = ARGV[2], ARGV[3]
if (now or '') ~= old then return 0 end
if old == '' and new ~= '' and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then return -1 end
-- also before it is made: an exchange that ended after its key was deleted may have left one
if old == '' or new == '' then redis.call('HDEL', KEYS[3], ARGV[1]) end
if new == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], new)
end
redis.call('SET', KEYS[1], ARGV[4])
return 1
"""
"""KEYS: revision, records, uses. ARGV: name, old and new record (empty for none), next revision, most keys."""

USED = rb"""
for i = 1, #ARGV, 2 do
  local before = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '0')
  if tonumber(ARGV[i + 1]) > before then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""
"""KEYS: uses. ARGV: names and minutes, alternating."""


class RedisKeys:
    """A `RecordStore`; the maker of its client starts and stops the client."""

    def __init__(self, client: RedisClient, prefix: str = "openai-proxy:{keys}") -> None:
        # braces keep all keys on one node of a cluster
        self._client = client
        self._revision = f"{prefix}:revision"
        self._records = f"{prefix}:records"
        self._uses = f"{prefix}:uses"

    def read(self, last_revision: str | None) -> Deferred[Snapshot | None]:
        asked: Deferred[Any] = self._client.call(
            "EVAL", READ, 2, self._revision, self._records, last_revision or ""
        )
        return asked.addCallback(_snapshot)

    def put(self, name: str, old: bytes | None, new: bytes | None) -> Deferred[bool]:
        keys = self._revision, self._records, self._uses
        revision = secrets.token_hex(8)
        asked: Deferred[Any] = self._client.call(
            "EVAL", PUT, 3, *keys, name, old or b"", new or b"", revision, MOST_KEYS
        )
        return asked.addCallback(_was_put)

    def note_uses(self, uses: Mapping[str, int]) -> Deferred[object]:
        pairs = [part for pair in uses.items() for part in pair]
        return self._client.call("EVAL", USED, 1, self._uses, *pairs)

    def uses(self) -> Deferred[dict[str, int]]:
        asked: Deferred[Any] = self._client.call("HGETALL", self._uses)
        return asked.addCallback(
            lambda reply: {name.decode(): int(minute) for name, minute in _pairs(reply).items()}
        )


def _pairs(reply: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _snapshot(reply: list[Any]) -> Snapshot | None:
    if len(reply) == 1:
        return None
    revision, records = reply
    return Snapshot(revision.decode(), {name.decode(): record for name, record in _pairs(records).items()})


def _was_put(reply: int) -> bool:
    if reply < 0:
        raise StoreFull
    return bool(reply)
