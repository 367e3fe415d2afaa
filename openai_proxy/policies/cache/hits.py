"""Make answers from cache entries.

Used by the stage that looks entries up and by the stage that answers repeated
requests.
"""

from __future__ import annotations

from attrs import define

from ...exchange.messages import ProxyResponse
from ...exchange.record import Exchange
from .bodies import replay_body
from .entry import CacheEntry


@define(eq=False, repr=False)
class Hit(ProxyResponse):
    """An answer straight from the cache; a stage that changes it turns it into an ordinary response."""

    key: bytes = b""
    """The entry's name."""
    serial: int = -1
    """The entry itself."""


def answer_with(entry: CacheEntry, key: bytes, exchange: Exchange, now: float) -> Hit:
    """Return the answer made from `entry` at `now` (since the epoch), and note the hit in the record.

    A body that comes at once has no state, so the same answer serves all hits
    of a second.
    """
    exchange.cached = True
    exchange.cache_result = "hit"
    exchange.usage = entry.usage
    exchange.cost_usd = 0.0
    age_s = int(now - entry.stored_at)
    shown = entry.shown
    if age_s != shown.age_s:
        shown.age_s = age_s
        shown.response = Hit(
            status=200,
            reason=entry.reason,
            headers=entry.hit_headers(entry.age_s(now)),
            body=replay_body(entry.chunks, entry.announced_bytes),
            key=key,
            serial=entry.serial,
        )
    hit: Hit = shown.response
    if len(entry.chunks) == 1:
        return hit
    body = replay_body(entry.chunks, hit.body.length)
    return Hit(200, hit.reason, hit.headers, body, key=key, serial=entry.serial)


async def at_once(response: ProxyResponse) -> ProxyResponse:
    """Return `response`, for a caller that awaits it."""
    return response
