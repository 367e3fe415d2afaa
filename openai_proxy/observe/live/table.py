"""The exchanges of one process: those that run, and a ring of those that have ended.

While nobody looks, an exchange costs an entry in the edge's own dict of what
runs and, once it has ended, one in a list. Everything else is worked out
when it is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Protocol

import orjson
from attrs import field, frozen

from ...exchange.errors import CancelledByOperator, ProxyError
from ...exchange.record import Exchange
from .rows import ENDED, RUNNING, Row, Wanted, as_started, details, row

Line = Callable[[Exchange], bytes]
"""Makes the exchange log's line of an exchange."""


class Stoppable(Protocol):
    """A request that runs, as the table knows it."""

    def cancel(self, error: ProxyError) -> None: ...


@frozen
class Changes:
    """What happened in one process since it was last asked."""

    started: list[Row] = field(factory=list)
    progress: list[Row] = field(factory=list)
    ended: list[Row] = field(factory=list)
    in_flight: int = 0

    def __bool__(self) -> bool:
        return bool(self.started or self.progress or self.ended)


class LiveTable:
    """What one process knows of its exchanges.

    `running` gives what the edge runs now, by exchange; `settle` makes the
    observers see what has ended by now.
    """

    def __init__(
        self,
        running: Callable[[], Mapping[Exchange, Stoppable]],
        settle: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self._running = running
        self._clock = clock
        self._settle = settle
        self._ended: deque[Exchange] = deque(maxlen=0)
        self._ended_count = 0
        self._captured: dict[str, bytes] = {}
        self._captured_bytes = self._capture_bytes = 0
        self._line: Line | None = None
        self._reported: dict[Exchange, tuple[Any, ...]] = {}
        self._told_count = 0

    # ---- what has ended

    def keep_at_most(self, history: int, capture_bytes: int = 0, line: Line | None = None) -> None:
        """Keep at most `history` of those that end, and `capture_bytes` of whole ones; `line` shows one that runs."""
        self._line = line
        self._ended = deque(self._ended, maxlen=history)
        self._capture_bytes = capture_bytes
        self._drop_captured()

    def keep(self, ended: list[Exchange]) -> None:
        """Keep those that have ended, in this order; all other observers have seen them."""
        self._ended_count += len(ended)
        kept = ended[-(self._ended.maxlen or len(ended)) :]
        for each in kept:
            each.let_go()
        self._ended.extend(kept)

    def capture(self, id: str, line: bytes) -> None:
        """Keep a whole exchange, as its line of the exchange log; the oldest ones make room."""
        if len(line) <= self._capture_bytes:
            self._captured[id] = line
            self._captured_bytes += len(line)
            self._drop_captured()

    def _drop_captured(self) -> None:
        while self._captured_bytes > self._capture_bytes:
            oldest = next(iter(self._captured))
            self._captured_bytes -= len(self._captured.pop(oldest))

    # ---- what somebody asks

    @property
    def in_flight(self) -> int:
        return len(self._running())

    def rows(self, wanted: Wanted) -> list[Row]:
        """Return the rows asked for: what runs, then what has ended, the latest first."""
        self._settle()
        found: list[Row] = []
        now = self._clock()
        sources: list[Any] = []
        if wanted.state != ENDED:
            sources.append(reversed(list(self._running())))
        if wanted.state != RUNNING:
            sources.append(reversed(self._ended))
        for source in sources:
            for exchange in source:
                if wanted.may_have(exchange) and wanted.has(made := row(exchange, now)):
                    found.append(made)
                    if len(found) == wanted.limit:
                        return found
        return found

    def one(self, id: str) -> Row | None:
        """Return all that is known of one exchange; None if it is not, or no longer, known."""
        self._settle()
        exchange = self._find(id, self._running()) or self._find(id, self._ended)
        if exchange is None:
            return None
        shown = details(exchange, self._clock())
        line = self._captured.get(id)
        if (
            line is None
            and self._line is not None
            and exchange.outcome is None
            and exchange.capture is not None
        ):
            line = self._line(exchange)
        if line is not None:
            whole = orjson.loads(line)
            shown |= {"request": whole["request"], "response": whole["response"]}
        return shown

    def cancel(self, id: str) -> bool:
        """Stop an exchange; return False if none with this id is running."""
        running = self._running()
        exchange = self._find(id, running)
        if exchange is None:
            return False
        running[exchange].cancel(CancelledByOperator())
        return True

    @staticmethod
    def _find(id: str, among: Any) -> Exchange | None:
        return next((each for each in among if each.known_id == id), None)

    # ---- what has changed

    def forget_reported(self) -> None:
        """Begin anew: what runs is what the next `changes` has started; nothing has ended before."""
        self._settle()
        self._reported = {}
        self._told_count = self._ended_count

    def changes(self, *, progress: bool) -> Changes:
        """Return what happened since the last call; without `progress` not how far the running ones are.

        Every one that was reported as running is reported as ended. Of those that both
        began and ended meanwhile, only as many as are kept are reported at all.
        """
        self._settle()
        now = self._clock()
        running, reported = self._running(), self._reported
        new_count = self._ended_count - self._told_count
        self._told_count = self._ended_count
        length = len(self._ended)
        just_ended = list(islice(self._ended, max(0, length - new_count), length))
        started = [row(each, now) for each in running if each not in reported]
        changed = []
        now_reported: dict[Exchange, tuple[Any, ...]] = {}
        for each in running:
            mark = (each.response_bytes, each.first_byte_at, each.attempts, each.upstream, each.is_queued)
            now_reported[each] = mark
            if progress and reported.get(each, mark) != mark:
                changed.append(row(each, now))
        ended = [row(each, now) for each in reported.keys() - running.keys() - set(just_ended)]
        for each in just_ended:
            made = row(each, now)
            if each not in reported:
                started.append(as_started(made))
            ended.append(made)
        self._reported = now_reported
        return Changes(started, changed, ended, len(running))
