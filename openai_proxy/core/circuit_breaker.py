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
    A failed trial doubles the time, up to 8 s; a success closes. Requests
    that were on their way when it opened change nothing by failing too.
    Owned by the routing stage; times are monotonic seconds.
    """

    failures: int = field(default=0, init=False)
    open_until: float = field(default=0.0, init=False)
    _open_s: float = field(default=OPEN_S, init=False)
    _trying: bool = field(default=False, init=False)

    def allows(self, now: float) -> bool:
        """Tell whether a request may go; changes nothing."""
        return self.failures < FAILURES or now >= self.open_until

    def begin(self, now: float) -> None:
        """Note that a request goes: where the circuit is half-open it is the trial."""
        if self.failures >= FAILURES:
            self.open_until = now + self._open_s
            self._trying = True

    def succeed(self) -> None:
        """Note an answer that speaks for the upstream's health."""
        self.failures = 0
        self.open_until = 0.0
        self._open_s = OPEN_S
        self._trying = False

    def fail(self, now: float) -> None:
        """Note a failure; the third in a row opens the circuit, and so does that of a trial."""
        self.failures += 1
        if self._trying:
            self._trying = False
            self._open_s = min(LONGEST_OPEN_S, self._open_s * 2.0)
        elif self.failures != FAILURES:
            return
        self.open_until = now + self._open_s
