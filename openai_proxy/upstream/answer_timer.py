"""How long an upstream's answer may take: to begin, to go on, to end. Pure.

Times are monotonic seconds; nothing here reads a clock or touches a socket.
"""

from __future__ import annotations

from attrs import frozen

NEVER = float("inf")
_LAST_BYTES_S = 5.0
"""How long a tunnel that is closed may take to send what is written."""


@frozen
class UpstreamTimeouts:
    """Seconds; None is never. See the settings `timeout_s`."""

    connect: float = 10.0
    first_byte: float | None = 600.0
    idle: float | None = 600.0
    total: float | None = None


class AnswerTimer:
    """When the upstream must have done the next thing that is waited for: `deadline`, which a sweep compares with the time.

    Reads are not stamped one by one: each sets `was_read`, and the sweep
    stamps them.
    """

    __slots__ = ("_last_read", "_timeouts", "_total_deadline", "deadline", "was_read")

    def __init__(self, timeouts: UpstreamTimeouts) -> None:
        self._timeouts = timeouts
        self._total_deadline = NEVER
        self._last_read = 0.0
        self.deadline = NEVER
        self.was_read = False

    def begin(self, started: float, bounded: bool) -> None:
        """Note that a request begins; without `bounded` the whole of it may take for ever, as a tunnel may."""
        total = self._timeouts.total
        self._total_deadline = NEVER if total is None or not bounded else started + total

    def expect_head(self, sent_at: float) -> None:
        """Note that the request is sent: from now on the first byte of the answer is waited for."""
        first_byte = self._timeouts.first_byte
        deadline = NEVER if first_byte is None else sent_at + first_byte
        total = self._total_deadline
        self.deadline = deadline if deadline < total else total

    def expect_body(self, now: float) -> None:
        """Note that the answer has begun, or is read again: the next byte of it is waited for."""
        self._last_read = now
        self.was_read = False
        self._expect_read(now)

    def _expect_read(self, now: float) -> None:
        idle = self._timeouts.idle
        self.deadline = self._total_deadline if idle is None else min(now + idle, self._total_deadline)

    def expect_end(self, now: float) -> None:
        """Note that a body is being sent: only the limit for the whole exchange applies meanwhile."""
        self.deadline = self._total_deadline

    def stop(self, now: float) -> None:
        """Note that nothing is waited for."""
        self.deadline = NEVER

    def expect_close(self, now: float) -> None:
        """Note that a tunnel is closed: the upstream may still take what was written, for a while."""
        self.deadline = now + _LAST_BYTES_S

    def note_reads(self, now: float, in_body: bool) -> None:
        """Set the time of the last read if anything was read since the last sweep."""
        if self.was_read:
            self.was_read = False
            self._last_read = now
            if in_body:
                self._expect_read(now)

    def is_over(self, now: float) -> bool:
        """Whether the request has taken longer than any may."""
        return now >= self._total_deadline

    def is_silent(self, now: float, held: bool) -> bool:
        """Whether nothing of a body came for too long; time in which it was `held` back does not count."""
        idle = self._timeouts.idle
        if idle is None or held:
            self._expect_read(now)
            return False
        return now - self._last_read >= idle

    def is_stuck(self, untaken_for_s: float) -> bool:
        """Whether the upstream takes nothing of a request's body for as long as it may be silent."""
        idle = self._timeouts.idle
        return idle is not None and untaken_for_s >= idle
