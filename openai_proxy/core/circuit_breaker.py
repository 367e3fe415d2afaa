"""Whether something that failed is asked again yet. Pure."""

from __future__ import annotations

from attrs import define, field

FAILURES = 3
"""So many in a row open the circuit."""
OPEN_S = 1.0
LONGEST_OPEN_S = 8.0


@define(slots=True, eq=False)
class CircuitBreaker:
    """Judges one upstream by how its last requests went.

    States: closed (all go), open (none goes until `open_until`), half-open
    (one trial goes; the others wait for its end, or for as long again).
    A failed trial doubles the time, up to 8 s; a success closes. Owned by
    the routing stage; times are monotonic seconds.
    """

    failures: int = field(default=0, init=False)
    open_until: float = field(default=0.0, init=False)
    _open_s: float = field(default=OPEN_S, init=False)

    def allows(self, now: float) -> bool:
        """Tell whether a request may go; changes nothing."""
        return self.failures < FAILURES or now >= self.open_until

    def begin(self, now: float) -> None:
        """Note that a request goes: where the circuit is half-open it is the trial."""
        if self.failures >= FAILURES:
            self.open_until = now + self._open_s

    def succeed(self) -> None:
        """Note an answer that speaks for the upstream's health."""
        self.failures = 0
        self.open_until = 0.0
        self._open_s = OPEN_S

    def fail(self, now: float) -> None:
        """Note a failure; the third in a row, and each after it, opens the circuit."""
        self.failures += 1
        if self.failures > FAILURES:
            self._open_s = min(LONGEST_OPEN_S, self._open_s * 2.0)
        if self.failures >= FAILURES:
            self.open_until = now + self._open_s
