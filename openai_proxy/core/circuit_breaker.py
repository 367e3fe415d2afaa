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
    that were on their way when it opened change nothing by failing too,
    but for one thing: where a connection can not be made the upstream is
    `unreachable`, and stays open until a probe gets through. Whoever is
    told so must probe.

    Owned by the routing stage; times are monotonic seconds.
    """

    failures: int = field(default=0, init=False)
    open_until: float = field(default=0.0, init=False)
    unreachable: bool = field(default=False, init=False)
    """It takes no connections, as the last attempt or probe found; False while closed."""
    _open_s: float = field(default=OPEN_S, init=False)
    _trying: bool = field(default=False, init=False)

    @property
    def closed(self) -> bool:
        """Whether requests go as if nothing had failed."""
        return self.failures < FAILURES

    def allows(self, now: float) -> bool:
        """Tell whether a request may go; changes nothing."""
        return self.failures < FAILURES or (now >= self.open_until and not self.unreachable)

    def allows_for_want_of_another(self, now: float) -> bool:
        """Tell whether a request may go that has nowhere else to go: unreachable does not count."""
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
        self.unreachable = False
        self._open_s = OPEN_S
        self._trying = False

    def fail(self, now: float, *, unreachable: bool = False) -> None:
        """Note a failure; the third in a row opens the circuit, and so does that of a trial."""
        self.failures += 1
        if self.failures < FAILURES:
            return
        if self._trying:
            self._trying = False
            self._open_s = min(LONGEST_OPEN_S, self._open_s * 2.0)
            self.open_until = now + self._open_s
        elif self.failures == FAILURES:
            self.open_until = now + self._open_s
        self.unreachable = self.unreachable or unreachable

    def probed(self, reached: bool, now: float) -> None:
        """Note whether a connection could be made without a request; says nothing while closed.

        One that can again takes a trial at once; how a trial is judged, and
        for how long its failure counts, stays as it was: who only listens
        is not well yet.
        """
        if self.failures < FAILURES:
            return
        if reached and self.unreachable:
            self.open_until = min(self.open_until, now)
        self.unreachable = not reached
