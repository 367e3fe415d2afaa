"""A token bucket: it limits the number at once and the average per second. Pure."""

from __future__ import annotations

from attrs import define, field

TOLERANCE = 1e-6
"""A tolerance for rounding, so that whoever waited as long as it was told finds its tokens."""


@define(slots=True, eq=False)
class TokenBucket:
    """A level that rises by `refill_per_second` up to `capacity`.

    Owned by the stage or store that limits. Times are monotonic seconds and may
    repeat; an earlier one counts as the latest seen. The level falls below zero
    (debt) only through `settle`.
    """

    capacity: float
    refill_per_second: float
    level: float = field(init=False)
    updated: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.level = self.capacity

    @classmethod
    def per_minute(cls, limit: int) -> TokenBucket:
        """Return a full bucket of `limit` tokens that fills within a minute."""
        return cls(float(limit), limit / 60.0)

    def refill(self, now: float) -> float:
        """Bring the level up to `now` and return it."""
        if now > self.updated:
            level = self.level + (now - self.updated) * self.refill_per_second
            self.level = level if level < self.capacity else self.capacity
            self.updated = now
        return self.level

    def has(self, cost: float, now: float) -> bool:
        """Say whether `take` would succeed; takes nothing."""
        return self.refill(now) + TOLERANCE >= cost

    def take(self, cost: float, now: float) -> bool:
        """Take `cost` tokens if the level suffices; return whether they were taken."""
        if not self.has(cost, now):
            return False
        self.level -= cost
        return True

    def settle(self, difference: float, now: float) -> None:
        """Take `difference` more whatever the level, or give back if it is negative.

        May lead into debt, never above the capacity.
        """
        level = self.refill(now) - difference
        self.level = level if level < self.capacity else self.capacity

    def resize(self, limit_per_minute: int) -> None:
        """Change the limit; what was taken stays taken."""
        taken = self.capacity - self.level
        self.capacity = float(limit_per_minute)
        self.refill_per_second = limit_per_minute / 60.0
        self.level = self.capacity - taken
