"""Answers from the cache: what an entry is answered with.

Used by the stages that answer: the one that looks entries up, and the one
that answers what was asked before.
"""

from __future__ import annotations

from attrs import define

from ...exchange.messages import ProxyResponse
from ...exchange.record import Exchange
from .bodies import replay_body
from .entry import CacheEntry


@define(eq=False)
class Hit(ProxyResponse):
    """An answer as the cache gave it: who changes it on its way makes an ordinary response of it."""

    key: bytes = b""
    """The entry's name."""
    serial: int = -1
    """The entry itself."""


def answer_with(entry: CacheEntry, key: bytes, exchange: Exchange, now: float) -> Hit:
    """Return the answer that `entry` is, at `now` (since the epoch), and tell the record so.

    A body that comes at once has no state: the same answer then serves all
    hits of a second.
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
    """Return `response`, for who awaits it."""
    return response
