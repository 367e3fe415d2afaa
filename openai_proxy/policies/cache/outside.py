"""Readers from other processes or configurations that share the answer of a call: see `flight`."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from ...exchange.messages import ProxyResponse
from ...exchange.record import Exchange
from .recording import Recording


@frozen(eq=False)
class _Outsider:
    """A participant that waits for a head; `result` fires with None if there is none to share."""

    over: Callable[[bool], object]
    """Called when the body has been read whole (True), or given up."""
    result: Deferred[ProxyResponse | None]


class Outside:
    """They wait for the head and read the body, but never start a call and never pay.

    If the paying exchange's client leaves while only they need the answer, the
    exchange goes on (`Exchange.finish_alone`), up to `limit_bytes`. It is
    stopped when the last of them leaves.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: list[_Outsider] = []
        self._reading = 0
        self._stop: Callable[[], None] | None = None

    @property
    def waits(self) -> bool:
        """Whether one of them waits for the head."""
        return bool(self._waiting)

    # ---- their way

    def wait(
        self, over: Callable[[bool], object], left: Callable[[], None]
    ) -> Deferred[ProxyResponse | None]:
        """Return a Deferred that fires with the answer; if it is cancelled, `left` is called."""

        def leave(result: Deferred[ProxyResponse | None]) -> None:
            self._waiting = [outsider for outsider in self._waiting if outsider.result is not result]
            left()
            self._maybe_stop()

        outsider = _Outsider(over, Deferred(leave))
        self._waiting.append(outsider)
        return outsider.result

    def turn_away(self) -> None:
        """Tell those who wait to start calls of their own."""
        waiting, self._waiting = self._waiting, []
        for outsider in waiting:
            outsider.result.callback(None)

    def begin(self, response: ProxyResponse, recording: Recording) -> Callable[[], None]:
        """Let those who wait read a recording from its start; return a function that gives them their answers."""
        waiting, self._waiting = self._waiting, []
        answers = [self.read(response, recording, outsider.over) for outsider in waiting]

        def hand_over() -> None:
            for outsider, answer in zip(waiting, answers, strict=True):
                outsider.result.callback(answer)

        return hand_over

    def read(
        self, response: ProxyResponse, recording: Recording, over: Callable[[bool], object]
    ) -> ProxyResponse:
        """Return an answer for one more of them."""

        def left(had_all: bool) -> None:
            self._reading -= 1
            over(had_all)
            if not had_all:  # a reader that had all was the last: the upstream has ended as well
                self._maybe_stop()

        body = recording.read()
        body.on_over = left
        self._reading += 1
        return response.evolve(body=body)

    # ---- the one who pays for what they get

    def lend(self, payer: Exchange | None, is_needed_here: Callable[[], bool]) -> None:
        """Let `payer` go on without its client, unless it does so anyway or the answer is needed here then."""
        if payer is None or payer.outcome is not None or payer.finish_alone is not None:
            return
        if not (self._waiting or self._reading):
            return

        def finish(stop: Callable[[], None]) -> int | None:
            if is_needed_here() or not (self._waiting or self._reading):
                return None
            self._stop = stop
            return self._limit_bytes

        payer.finish_alone = finish

    def payer_ended(self, payer: Exchange) -> None:
        """Forget the payer: it has ended and cannot be stopped any more."""
        self._stop = payer.finish_alone = None

    def _maybe_stop(self) -> None:
        if not (self._waiting or self._reading):
            stop, self._stop = self._stop, None
            if stop is not None:
                stop()
