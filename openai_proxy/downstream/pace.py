"""How slow a client may be: with a body, with an answer, with what nobody wants. Pure.

Times are monotonic seconds; nothing here reads a clock or touches a socket.
"""

from __future__ import annotations

from collections import deque

BODY_GRACE_S = 5.0
"""How long a body may be slow before its pace counts."""
BODY_WINDOW_S = 10.0
"""A body's pace is that of so much time."""
BUFFERED_TOTAL_S = 600.0
"""The longest time for a body that is kept in memory until it is whole."""
STALL_CHECK_S = 1.0
LINGER_IDLE_S = 5.0
LINGER_TOTAL_S = 30.0
LINGER_BYTES = 256 * 1024 * 1024


class BodyRate:
    """Whether a body comes too slowly: in the last BODY_WINDOW_S of the time in which it could have come.

    A body that is kept in memory may also take BUFFERED_TOTAL_S of that time
    at most. Holds one sample a look.
    """

    __slots__ = ("_checked", "_floor", "_samples", "_time_s")

    def __init__(self, bytes_per_s: float, now: float) -> None:
        self._floor = bytes_per_s
        self._time_s = 0.0
        self._checked = now
        self._samples: deque[tuple[float, int]] = deque(((0.0, 0),))
        """Time that counts, and what had come by then; the first is as old as the window or older."""

    def let_go(self, now: float) -> None:
        """Note that the body was held back until now, which does not count as the client's time."""
        self._checked = now

    def is_too_slow(self, received_bytes: int, held: bool, now: float, kept: bool = False) -> bool:
        """Judge what has come so far; `held` while it does not come because of us, `kept` while it is kept in memory."""
        if not held:
            self._time_s += now - self._checked
        self._checked = now
        time_s, samples = self._time_s, self._samples
        while len(samples) > 1 and samples[1][0] <= time_s - BODY_WINDOW_S:
            samples.popleft()
        since_s, before_bytes = samples[0]
        if time_s > samples[-1][0]:
            samples.append((time_s, received_bytes))
        if kept and time_s > BUFFERED_TOTAL_S:
            return True
        return time_s > BODY_GRACE_S and received_bytes - before_bytes < self._floor * (time_s - since_s)


class WriteStall:
    """Whether a client takes nothing of what is written for it, for `limit_s`.

    `untaken` is what `sockets.untaken_bytes` says: written, and not acknowledged.
    """

    __slots__ = ("_limit_s", "_since", "_untaken")

    def __init__(self, limit_s: float, untaken: int, now: float) -> None:
        self._limit_s = limit_s
        self._untaken = untaken
        self._since = now

    def next_check(self, now: float) -> float:
        """Return when to look again."""
        return now + min(STALL_CHECK_S, self._limit_s / 2)

    def is_over(self, untaken: int, now: float) -> bool:
        """Whether nothing has moved for too long."""
        if untaken != self._untaken:
            self._untaken = untaken
            self._since = now
        return now - self._since >= self._limit_s


class Linger:
    """Decides how long the rest of a refused upload is still read, and dropped."""

    __slots__ = ("_bytes", "_until")

    def __init__(self, now: float) -> None:
        self._bytes = 0
        self._until = now + LINGER_TOTAL_S

    def is_enough(self, size_bytes: int) -> bool:
        """Note a read; True if no more of it is worth dropping."""
        self._bytes += size_bytes
        return self._bytes > LINGER_BYTES

    def until(self, now: float) -> float:
        """Return until when to go on without another byte."""
        return min(now + LINGER_IDLE_S, self._until)
