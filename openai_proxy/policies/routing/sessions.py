"""Assign sessions to upstreams, so that their prompt caches are used.

By rendezvous hashing: every upstream gets a score for the session, and the one
with the highest score serves. If an upstream disappears, only its own sessions
move, and they return with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import log

from ...exchange.messages import ProxyRequest
from ...wire.headers import get
from .session_text import LONGEST_KEY, beginning, inner_text
from .table import Upstream

_MASK = (1 << 64) - 1
_DROPPED_BITS = 12
_SCALE = 2.0 ** (_DROPPED_BITS - 64)
"""The remaining bits plus a half are a float without rounding, which is never 1."""


def session_of(request: ProxyRequest, header: bytes | None) -> int:
    """Return a number for the session of a request that names a model: 8 bytes of a SHA-256.

    It is made of the client key, the model, and the first of these that is
    there: `prompt_cache_key`, the header, `conversation`,
    `metadata.session_id`, the instructions with the first message of the user.
    """
    name = _named(request, header) or (b"" if request.document is None else beginning(request.json))
    whose = f"{request.exchange.credential_id}\0{request.model}\0".encode("utf-8", "replace")
    return int.from_bytes(sha256(whose + name).digest()[:8], "big")


def _named(request: ProxyRequest, header: bytes | None) -> bytes | None:
    """Return the client's name for the session."""
    document = request.document
    key = document.get("prompt_cache_key") if document is not None else None
    if isinstance(key, str) and key:
        return key.encode("utf-8", "replace")
    if header is not None:
        value = get(request.headers, header)
        if value:
            return value[:LONGEST_KEY]
    if document is None:
        return None
    conversation = document.get("conversation")
    if isinstance(conversation, str) and conversation:
        return conversation.encode("utf-8", "replace")
    for outer, inner in (("conversation", "id"), ("metadata", "session_id")):
        if document.get(outer):
            named = inner_text(request.json, outer, inner)
            if named is not None:
                return named
    return None


def seed_of(name: str) -> int:
    """Return an upstream's number for `score`: odd, so that each session has a draw of its own."""
    return int.from_bytes(sha256(name.encode("utf-8")).digest()[:8], "big") | 1


def score(session: int, seed: int, weight: float) -> float:
    """Return the score of an upstream for a session: -weight / ln(h), with h in (0, 1) made of both.

    The shares follow the weights. "Weighted Distributed Hash Tables",
    Schindelhauer and Schomaker, 2005. The session is a digest already, so a
    product distributes it (Dietzfelbinger's multiply-shift, 1997).
    """
    drawn = ((session * seed) & _MASK) >> _DROPPED_BITS
    return -weight / log((drawn + 0.5) * _SCALE)


def first_of(session: int, upstreams: Sequence[Upstream], seeds: dict[str, int]) -> Upstream:
    """Return the upstream of the session."""
    best, highest = upstreams[0], -1.0
    for each in upstreams:
        scored = score(session, seeds[each.name], each.weight)
        if scored > highest:
            best, highest = each, scored
    return best


def ranked(session: int, upstreams: Sequence[Upstream], seeds: dict[str, int]) -> list[Upstream]:
    """Return the upstreams, that of the session first."""
    return sorted(upstreams, key=lambda each: -score(session, seeds[each.name], each.weight))
