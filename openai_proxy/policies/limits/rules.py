"""The limits of a client key, and the decision that its levels imply.

Pure values shared by every store of limits.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from attrs import frozen

from .token_bucket import TOLERANCE

CONCURRENCY_RETRY_S = 1.0
"""The wait that a client is told if no slot is free: nobody knows when one will be."""


@frozen
class Limits:
    """Limits of one client key; None means off."""

    requests_per_minute: int | None = None
    model_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None

    def __bool__(self) -> bool:
        return (
            self.requests_per_minute is not None
            or self.model_tokens_per_minute is not None
            or self.concurrent_requests is not None
        )

    def reservation(self, model_tokens: float) -> float:
        """Return what is reserved for a request of `model_tokens`: never more than the bucket holds.

        So a request larger than the whole limit waits for a full bucket instead
        of for ever; its actual usage is settled as debt.
        """
        if self.model_tokens_per_minute is None:
            return 0.0
        most = self.model_tokens_per_minute
        return model_tokens if model_tokens < most else float(most)


GROUP = "\x1fgroup:"
"""The prefix of a group's name in a store: it contains a control character, so no key has such a name."""


@frozen
class GroupScope:
    """A group of keys that share limits."""

    name: str
    limits: Limits

    @property
    def key(self) -> str:
        """The group's name in a store of limits."""
        return GROUP + self.name


class Levels(NamedTuple):
    """Levels of a key's buckets and its running requests; a limit that is off has `inf`."""

    requests: float = inf
    model_tokens: float = inf
    running: int = 0


@frozen
class Refusal:
    """Why a request is refused.

    `kind` is the first limit that refuses: `requests`, `tokens` or
    `concurrent`. `wait_s` is the time after which all of them may admit it, as
    far as that can be predicted.
    """

    kind: str
    wait_s: float


def maybe_refusal(limits: Limits, levels: Levels, reserved: float) -> Refusal | None:
    """Judge a request that reserves `reserved` model tokens; None admits it."""
    kind, wait_s = None, 0.0
    if limits.requests_per_minute is not None and levels.requests + TOLERANCE < 1.0:
        kind = "requests"
        wait_s = (1.0 - levels.requests) * 60.0 / limits.requests_per_minute
    if limits.model_tokens_per_minute is not None and reserved and levels.model_tokens + TOLERANCE < reserved:
        kind = kind or "tokens"
        missing = reserved - levels.model_tokens
        wait_s = max(wait_s, missing * 60.0 / limits.model_tokens_per_minute)
    if limits.concurrent_requests is not None and levels.running >= limits.concurrent_requests:
        kind = kind or "concurrent"
        wait_s = wait_s or CONCURRENCY_RETRY_S
    return Refusal(kind, wait_s) if kind else None
