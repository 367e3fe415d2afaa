"""The wait before a further attempt. Pure: jitter is an argument."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

BASE_S = 0.5
CAP_S = 8.0

_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")


def backoff_s(attempt: int, jitter: float) -> float:
    """Return the seconds after `attempt` (the first is 1) failed: full jitter.

    `jitter` is uniform in [0, 1). At most 0.5 s after the first attempt,
    doubled each time, never above 8 s.
    """
    return jitter * min(CAP_S, BASE_S * 2.0 ** (attempt - 1))


def reconnect_s(attempt: int, jitter: float) -> float:
    """Return the seconds before a connection is attempted again: `backoff_s` in the upper half of its range.

    So the attempts cover more than a second, in which a server may restart.
    """
    return backoff_s(attempt, 0.5 + jitter / 2.0)


def maybe_retry_after_s(headers: list[tuple[bytes, bytes]], wall_time: float) -> float | None:
    """Return the wait that a response asks for, in seconds; None if it asks for none.

    `retry-after-ms` first, then `retry-after` in seconds (also fractional) or
    as an HTTP date, compared with `wall_time` (seconds since the epoch). A
    value that cannot be parsed counts as none.
    """
    asked: float | None = None
    for name, value in headers:
        lower = name.lower()
        if lower == b"retry-after-ms" and _NUMBER.fullmatch(value.strip()):
            return float(value) / 1000.0
        if lower == b"retry-after" and asked is None:
            asked = _maybe_seconds(value.strip(), wall_time)
    return asked


def _maybe_seconds(value: bytes, wall_time: float) -> float | None:
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
        return max(0.0, moment.timestamp() - wall_time)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
