"""Decide when an ended worker is replaced. Pure."""

from __future__ import annotations

from attrs import define

SETTLED_S = 10.0
"""A worker that served this long has shown that it works: its end counts as a single accident."""
CAP_S = 30.0


@define
class Restarts:
    """Counts the consecutive ends of one worker soon after its start."""

    early: int = 0

    def delay_s(self, served_s: float) -> float:
        """Count an end after `served_s` seconds of service (0 if it never served); return the wait.

        There is no wait after the first: 0, 0.5, 1, 2 … 30 s.
        """
        self.early = 0 if served_s >= SETTLED_S else self.early + 1
        if self.early <= 1:
            return 0.0
        return min(CAP_S, 0.5 * 2.0 ** min(self.early - 2, 10))
