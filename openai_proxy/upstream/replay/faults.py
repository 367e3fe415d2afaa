"""What goes wrong on purpose while recorded answers are replayed. Pure."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from attrs import field, frozen

from ...wire.fault_kinds import Fault
from ..made_body import Cut


@frozen(eq=False)
class FaultRule:
    """Which requests meet a fault: those whose endpoint and model match the globs, and of these a random share (`rate`, 0 to 1)."""

    fault: Fault
    match: str = "*"
    model: str = "*"
    rate: float = 1.0
    seed: int = 0
    _random: random.Random = field(init=False)

    @_random.default
    def _seeded(self) -> random.Random:
        return random.Random(self.seed)

    def strikes(self, endpoint: str, model: str) -> bool:
        """Say whether this request meets it. The same requests in the same order do so in every run."""
        if not fnmatchcase(endpoint, self.match) or not fnmatchcase(model, self.model):
            return False
        return self._random.random() < self.rate


def find_fault(rules: Iterable[FaultRule], endpoint: str, model: str) -> Fault | None:
    """Return the first fault that strikes. Every rule draws, so that they do not depend on each other."""
    struck = [rule.fault for rule in rules if rule.strikes(endpoint, model)]
    return struck[0] if struck else None


Steps = Iterator[tuple[float, bytes]]


def disconnected(steps: Steps, events: int) -> Steps:
    """Break off after that number of events; what is no stream has one, at its end."""
    for delay_s, data in steps:
        ends = [found.end() for found in re.finditer(rb"\n\r?\n", data)] or [len(data)]
        if len(ends) > events or (len(ends) == events and ends[-1] == len(data)):
            kept = data[: ends[events - 1]] if events else b""
            if kept:
                yield delay_s, kept
            raise Cut
        events -= len(ends)
        yield delay_s, data
    raise Cut


def stalled(steps: Steps, seconds: float) -> Steps:
    """Be silent for that number of seconds between the head and the first part."""
    for delay_s, data in steps:
        yield delay_s + seconds, data
        seconds = 0.0
