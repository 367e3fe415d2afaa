"""The keys that upstreams have told to wait. Pure: times are arguments."""

from __future__ import annotations

QUOTA_OUT_S = 60.0
"""A key without quota is tried again with one request a minute."""
LONGEST_COOLING_S = 600.0
SHORTEST_GUESS_S, LONGEST_GUESS_S = 1.0, 5.0
"""How long a key rests after a 429 without a wait: doubled while the 429s go on."""

Entry = tuple[str, bytes]
"""An upstream's name and a key."""


class CooledKeys:
    """The time from which each limited (upstream, key) may be used again.

    Keys are looked up as bytes and shown nowhere; entries that expired long ago
    are dropped when others come. Owned by UpstreamHealth; times are monotonic
    seconds.
    """

    def __init__(self) -> None:
        self._until: dict[Entry, float] = {}
        self._guess_s: dict[Entry, float] = {}
        self._without_quota: set[Entry] = set()

    def rested(self, entry: Entry, now: float) -> bool:
        """Return whether the upstream accepts requests with this key, as far as it has said."""
        return not self._until or self._until.get(entry, 0.0) <= now

    def until(self, entry: Entry) -> float:
        """Return when it accepts requests with this key again, as far as it has said."""
        return self._until.get(entry, 0.0)

    def begin(self, entry: Entry, now: float) -> None:
        """Note that a request is sent: for a key without quota it is the trial."""
        if self._without_quota and entry in self._without_quota:
            self._until[entry] = now + QUOTA_OUT_S

    def limit(self, entry: Entry, spent: bool, asked_s: float | None, now: float) -> float | None:
        """Note a 429: whether the quota is `spent`, else the wait it asks for, None if it does not say.

        Returns the end of the key's rest, None if that is not later than before.
        """
        if spent:
            self._without_quota.add(entry)
            seconds = QUOTA_OUT_S
        elif asked_s is not None:
            seconds = min(asked_s, LONGEST_COOLING_S)
        else:
            seconds = self._guess(entry, now)
        until = now + seconds
        if not seconds or until <= self._until.get(entry, 0.0):
            return None
        self._forget(now - LONGEST_COOLING_S)
        self._until[entry] = until
        return until

    def apply(self, entry: Entry, spent: bool, until: float | None) -> None:
        """Apply what another process has noted: the end of the key's rest, None if it has a quota again."""
        if until is None:
            self.answer(entry)
            return
        if spent:
            self._without_quota.add(entry)
        self._until[entry] = max(self._until.get(entry, 0.0), until)

    def answer(self, entry: Entry) -> bool:
        """Note an answer that is no 429; return whether that ends the rest of a key without quota."""
        if self._without_quota and entry in self._without_quota:
            self._without_quota.remove(entry)
            self._until.pop(entry, None)
            return True
        return False

    def count(self, upstream: str, now: float) -> int:
        """Return the number of keys that `upstream` does not accept now."""
        return sum(name == upstream and until > now for (name, _), until in self._until.items())

    def _guess(self, entry: Entry, now: float) -> float:
        until = self._until.get(entry, 0.0)
        if until > now:  # a 429 for another of the requests that were on their way together
            return 0.0
        lately = now - until < 2.0 * LONGEST_GUESS_S
        guess_s = min(LONGEST_GUESS_S, 2.0 * self._guess_s.get(entry, 0.0)) if lately else 0.0
        guess_s = self._guess_s[entry] = max(SHORTEST_GUESS_S, guess_s)
        return guess_s

    def _forget(self, before: float) -> None:
        for entry in [entry for entry, until in self._until.items() if until <= before]:
            del self._until[entry]
            self._guess_s.pop(entry, None)
            self._without_quota.discard(entry)
