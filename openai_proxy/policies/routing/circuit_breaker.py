"""Decide when something that fails too often may be tried again. Pure."""

from __future__ import annotations

from attrs import define, field

from .share_window import ShareWindow

OPEN_S = 1.0
LONGEST_OPEN_S = 8.0
NEVER = float("inf")


@define(slots=True, eq=False)
class CircuitBreaker:
    """Judges by the share of failures among the latest outcomes.

    It opens with `least` failures within the window of `ShareWindow` if they
    are at least `share` of all outcomes in it.

    States: closed (all requests pass), open (none passes until `open_until`),
    half-open (one trial passes; the others wait for its end, or for as long
    again). A failed trial doubles the time, up to 8 s. Any success of a request
    begun after the opening closes the circuit. Requests that were on their way
    when it opened change nothing. No request is refused because of an open
    circuit: routing asks such an upstream if there is no other.

    Owned by UpstreamHealth; times are monotonic seconds.
    """

    least: int = 5
    share: float = 0.5
    reason: str = field(default="", init=False)
    """The failure that opened it; empty while closed."""
    open_until: float = field(default=0.0, init=False)
    window: ShareWindow = field(factory=ShareWindow, init=False)
    _opened_at: float = field(default=NEVER, init=False)
    _open_s: float = field(default=OPEN_S, init=False)
    _trial_at: float = field(default=NEVER, init=False)
    """When the trial began; NEVER if none is running."""

    @property
    def closed(self) -> bool:
        """Whether requests pass freely."""
        return not self.reason

    def allows(self, now: float) -> bool:
        """Return whether a request may pass; changes nothing."""
        return not self.reason or now >= self.open_until

    def begin(self, now: float) -> None:
        """Note that a request passes: if the circuit is half-open, it is the trial."""
        if self.reason and now >= self.open_until:
            self._trial_at = now
            self.open_until = now + self._open_s

    def succeed(self, now: float, began: float) -> bool:
        """Note a success of a request begun at `began`; return whether that closes the circuit."""
        if not self.reason:
            self.window.note(False, now)
            return False
        if began < self._opened_at:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Reset to a new, closed circuit."""
        self.reason = ""
        self.open_until = 0.0
        self._open_s = OPEN_S
        self._opened_at = self._trial_at = NEVER
        self.window.clear()

    def fail(self, now: float, began: float, reason: str, may_open: bool = True) -> bool:
        """Note a failure of a request begun at `began`; return whether that opens the circuit.

        `reason` is one word or a few for the log. Without `may_open` it is only
        counted.
        """
        if self.reason:
            if began >= self._trial_at:
                self._trial_at = NEVER
                self._open_s = min(LONGEST_OPEN_S, self._open_s * 2.0)
                self.open_until = now + self._open_s
            return False
        self.window.note(True, now)
        failed, total = self.window.counts(now)
        if not may_open or failed < self.least or failed < self.share * total:
            return False
        self.open(now, reason)
        return True

    def open(self, now: float, reason: str) -> None:
        """Open the circuit, whatever the counts are."""
        self.reason = reason
        self._opened_at = now
        self.open_until = now + self._open_s

    def may_try_now(self, now: float) -> None:
        """Allow a trial at once: something other than a request suggests that it is worth it."""
        if self.reason:
            self.open_until = min(self.open_until, now)
