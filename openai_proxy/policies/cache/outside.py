"""Those outside a process, or of another configuration, who share the answer of a call: see `single_flight`."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from ...exchange.messages import ProxyResponse
from ...exchange.record import Exchange
from .recording import Recording


@frozen(eq=False)
class _Outsider:
    """Somebody who waits for a head; `result` fires with None if there is none to share."""

    over: Callable[[bool], object]
    """Called when the body has been read whole (True), or given up."""
    result: Deferred[ProxyResponse | None]


class Outside:
    """They wait for the head and read the body, but never call and never pay.

    So the exchange that pays goes on when its client leaves while they need
    the answer and nobody else does (`Exchange.finish_alone`), up to
    `limit_bytes`; it is stopped when the last of them leaves.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: list[_Outsider] = []
        self._reading = 0
        self._stop: Callable[[], None] | None = None

    @property
    def waits(self) -> bool:
        """Whether somebody waits for the head."""
        return bool(self._waiting)

    # ---- their way

    def wait(
        self, over: Callable[[bool], object], left: Callable[[], None]
    ) -> Deferred[ProxyResponse | None]:
        """Return what fires with the answer; it may be cancelled, and `left` is called then."""

        def leave(result: Deferred[ProxyResponse | None]) -> None:
            self._waiting = [outsider for outsider in self._waiting if outsider.result is not result]
            left()
            self._maybe_stop()

        outsider = _Outsider(over, Deferred(leave))
        self._waiting.append(outsider)
        return outsider.result

    def turn_away(self) -> None:
        """Let those who wait call for themselves."""
        waiting, self._waiting = self._waiting, []
        for outsider in waiting:
            outsider.result.callback(None)

    def begin(self, response: ProxyResponse, recording: Recording) -> Callable[[], None]:
        """Let those who wait read from the start of a recording; return what hands them their answers."""
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
            if not had_all:  # else the upstream has ended, and so does whoever reads alone
                self._maybe_stop()

        body = recording.read()
        body.on_over = left
        self._reading += 1
        return response.evolve(body=body)

    # ---- the one who pays for what they get

    def lend(self, payer: Exchange | None, is_needed_here: Callable[[], bool]) -> None:
        """Let `payer` go on without its client, unless it does that anyway or somebody here needs the answer then."""
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
        """There is nobody to be stopped any more."""
        self._stop = payer.finish_alone = None

    def _maybe_stop(self) -> None:
        if not (self._waiting or self._reading):
            stop, self._stop = self._stop, None
            if stop is not None:
                stop()
