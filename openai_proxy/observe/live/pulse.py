"""How the daemon does: rates of the last seconds, quantiles of the last minute, points of the last hour. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

from .figures import Figures, quantile

POINT_S = 10.0
"""How often there is a point."""
POINTS = 360
MINUTE_S = 60.0

Point = dict[str, Any]


class Pulse:
    """Gets the figures every POINT_S at least (`sample`); times in seconds.

    Holds those of a minute, at most one a second, and the points of an hour.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Figures]] = deque(maxlen=int(MINUTE_S) + 2)
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._point_at: tuple[float, Figures] | None = None

    def sample(self, now: float, wall: float, figures: Figures, in_flight: int) -> None:
        """Take the figures of this moment; `wall` is its time since the epoch."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - MINUTE_S:
            self._samples.popleft()
        self._samples.append((now, figures))
        if self._point_at is None:
            self._point_at = now, figures
        elif now - self._point_at[0] >= POINT_S - 0.5:
            began, before = self._point_at
            self._points.append(
                {"time": round(wall, 1), "in_flight": in_flight, **_between(before, figures, now - began)}
            )
            self._point_at = now, figures

    @property
    def points(self) -> list[Point]:
        return list(self._points)

    def stats(self) -> dict[str, Any]:
        """Return the rates between the last two samples, and what the last minute was like."""
        if len(self._samples) < 2:
            return _between(Figures(), Figures(), 1.0)
        (began, before), (now, last) = self._samples[-2], self._samples[-1]
        rates = _between(before, last, max(now - began, 0.001))
        minute = _between(self._samples[0][1], last, MINUTE_S)
        return {**minute, **{name: rates[name] for name in ("requests_per_s", "tokens_per_s")}}


def _between(before: Figures, now: Figures, seconds: float) -> dict[str, Any]:
    tokens = now.input_tokens + now.output_tokens - before.input_tokens - before.output_tokens
    errors = {kind: count - before.errors.get(kind, 0.0) for kind, count in now.errors.items()}
    return {
        "requests_per_s": round((now.requests - before.requests) / seconds, 3),
        "tokens_per_s": round(tokens / seconds, 3),
        "cost_usd": round(now.cost_usd - before.cost_usd, 9),
        "errors": {kind: int(count) for kind, count in sorted(errors.items()) if count > 0},
        "duration_p50_s": _rounded(quantile(0.5, now.duration, before.duration)),
        "duration_p99_s": _rounded(quantile(0.99, now.duration, before.duration)),
        "first_byte_p50_s": _rounded(quantile(0.5, now.first_byte, before.first_byte)),
        "first_byte_p99_s": _rounded(quantile(0.99, now.first_byte, before.first_byte)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
