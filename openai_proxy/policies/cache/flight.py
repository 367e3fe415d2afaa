"""One upstream call that serves identical requests which come at the same time.

The call belongs to the flight, not to the client that came first: it continues
while any participant waits for it or reads from it, and is cancelled when none
is left. This module knows nothing of keys, stores and headers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from ...exchange.errors import BudgetSpent, InternalError
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse, ResponseBody, discard_all
from ...exchange.outcome import ABANDONED
from ...exchange.record import Exchange
from ...logs import logger
from .bodies import SharedBody
from .other_calls import OtherCallResponse
from .outside import Outside
from .participants import Participant, Role, SharedResult
from .recording import MemoryLease, Recording
from .rules import Verdict

Keep: TypeAlias = Callable[[ProxyRequest, ProxyResponse, list[bytes]], Awaitable[None]]
"""Stores a whole response, given the request that led to it, its head, and its chunks."""


class Flight:
    """One upstream call and the participants that share it.

    States: calling (no head yet; participants wait), sharing (a head is there;
    participants read one recording), closed (no participant can join any more;
    those that have a body still read it).

    A failed call (an exception, or a response that is FAILED) is the result of
    its leader only; the participant that has waited longest then makes the next
    call. If that fails too, the failure is the result of all, so that nobody
    waits for more than two calls.

    The leader's exchange pays for the call. If its client leaves while others
    wait or read, the first of these pays instead. Those outside (`read`) wait
    and read too, but never start a call and never pay: see `Outside`. An answer
    `OtherCallResponse` is paid and stored by its own process.
    """

    _log = logger(__name__)

    def __init__(
        self,
        limit_bytes: int,
        judge: Callable[[ProxyResponse], Verdict],
        keep: Keep,
        on_closed: Callable[[], None],
        lease: MemoryLease | None = None,
    ) -> None:
        self._lease = lease
        self._limit_bytes = limit_bytes
        self._judge = judge
        self._keep = keep
        self._on_closed = on_closed
        self._closed = False
        self._waiting: list[Participant] = []
        self._outside = Outside(limit_bytes)
        self._leader: Participant | None = None
        self._payer: Exchange | None = None
        self._exchanges: list[Exchange] = []
        self._call: Deferred[ProxyResponse] | None = None
        self._calls = 0
        self._response: ProxyResponse | None = None
        self._recording: Recording | None = None

    def join(self, request: ProxyRequest, forward: Forward) -> Deferred[SharedResult]:
        """Join the flight; the first participant's request is the one that is sent.

        The Deferred fires when a head is there, or fails with the failure of
        the participant's own call or with the one that is the result of all.
        Cancel it when the client leaves.
        """
        self._exchanges.append(request.exchange)
        request.exchange.on_end(self._pass_on)
        if self._recording is not None and self._response is not None:
            return succeed(self._reading_from(self._response, self._recording, Role.FOLLOWER))
        participant = Participant(request, forward, Deferred(self._leave))
        self._waiting.append(participant)
        if self._leader is None:
            self._launch()
        return participant.result

    def read(self, over: Callable[[bool], object]) -> Deferred[ProxyResponse | None]:
        """Join the flight from outside, and receive the answer as it comes.

        The Deferred fires with None if the answer must not be shared or the
        call failed: then the outsider makes a call of its own. `over` is called
        when the body has been read whole (True) or given up (False). Cancel the
        Deferred if the outsider waits no longer.
        """
        if self._recording is not None and self._response is not None:
            answer = self._outside.read(self._response, self._recording, over)
            self._lend()
            return succeed(answer)
        waiting = self._outside.wait(over, self._maybe_cancel)
        self._lend()
        return waiting

    def _lend(self) -> None:
        """Let the paying exchange go on for those outside, if no other exchange here needs the answer."""
        self._outside.lend(self._payer, lambda: len(self._exchanges) > 1)

    # ---- calling

    def _launch(self) -> None:
        participant = self._leader = self._waiting[0]
        self._payer = participant.request.exchange
        self._lend()
        self._calls += 1
        received: list[
            ResponseBody
        ] = []  # not the participant's own list: its client may leave before the others

        async def call() -> ProxyResponse:
            return await participant.forward(participant.request.evolve(undelivered=received))

        def nothing_came(failure: Failure) -> Failure:
            discard_all(received)
            return failure

        # Keep it first: the call may end at once.
        self._call = done = Deferred.fromCoroutine(call())
        done.addErrback(nothing_came)
        done.addCallbacks(self._arrived, self._failed)
        done.addErrback(nothing_came)
        done.addErrback(self._went_wrong)

    def _pass_on(self, ended: Exchange) -> None:
        """If the paying exchange has left, let the first of the others pay."""
        self._exchanges = [exchange for exchange in self._exchanges if exchange is not ended]
        if ended is self._payer:
            self._outside.payer_ended(ended)
        if ended is self._payer and ended.outcome in ABANDONED and self._exchanges:
            self._payer = self._exchanges[0]
            ended.leave_to(self._payer)
            self._lend()

    def _leave(self, result: Deferred[SharedResult]) -> None:
        """Remove a participant whose client left; cancel the call if it was the last one."""
        self._waiting = [participant for participant in self._waiting if participant.result is not result]
        self._maybe_cancel()

    def _maybe_cancel(self) -> None:
        if not self._waiting and not self._outside.waits and self._recording is None:
            self._close()
            call, self._call = self._call, None
            if call is not None:
                call.cancel()

    def _failed(self, failure: Failure) -> None:
        self._call = None
        self._outside.turn_away()
        if not self._waiting:
            self._close()
            if not failure.check(CancelledError):
                kind = type(failure.value).__name__
                self._log.debug("the call of a client that left failed: {kind}", kind=kind)
            return
        if failure.check(BudgetSpent):
            self._calls -= 1  # no call was made, and one key's spent budget says nothing about the others'
        if self._calls <= 1 and self._leader in self._waiting:
            leader = self._waiting.pop(0)
            self._launch_or_close()
            leader.resolve(failure)
        elif self._calls <= 1:
            self._launch()
        else:
            self._close()
            participants, self._waiting = self._waiting, []
            for participant in participants:
                participant.resolve(failure)

    def _went_wrong(self, failure: Failure) -> None:
        """Report a defect to every participant, so that none is left waiting."""
        self._log.failure("a shared call went wrong", failure)
        self._close()
        participants, self._waiting = self._waiting, []
        for participant in participants:
            participant.resolve(Failure(InternalError()))

    def _hand_to_leader_alone(self) -> bool:
        return self._calls == 1 and self._leader in self._waiting

    def _launch_or_close(self) -> None:
        if self._waiting:
            self._launch()
        else:
            self._close()

    # ---- a head is there

    def _arrived(self, response: ProxyResponse) -> None:
        self._call = None
        verdict = self._judge(response)
        if verdict is not Verdict.STORE:
            self._outside.turn_away()
        if not self._waiting and not self._outside.waits:
            self._close()
            response.body.discard()
            return
        if verdict is Verdict.PRIVATE:
            self._scatter(response)
        elif verdict is Verdict.FAILED and self._calls == 1:
            self._pass_failure_on(response)
        else:
            self._share(response, verdict)

    def _scatter(self, response: ProxyResponse) -> None:
        """Give the response to its leader; the others make calls of their own."""
        leader = self._leader
        self._close()
        self._payer = None  # each pays for its own call
        participants, self._waiting = self._waiting, []
        if leader not in participants:
            response.body.discard()
        for participant in participants:
            participant.resolve(
                SharedResult(Role.LEADER, response) if participant is leader else SharedResult(Role.ALONE)
            )

    def _pass_failure_on(self, response: ProxyResponse) -> None:
        if self._hand_to_leader_alone():
            leader = self._waiting.pop(0)
            self._launch_or_close()
            leader.resolve(SharedResult(Role.LEADER, response))
        else:
            response.body.discard()
            self._launch()

    def _share(self, response: ProxyResponse, verdict: Verdict) -> None:
        recording = Recording(response.body, self._limit_bytes, self._close, self._ended, self._lease)
        self._response = response
        self._recording = recording
        if isinstance(response, OtherCallResponse):
            self._payer = None
        participants, self._waiting = self._waiting, []
        results = [
            self._reading_from(response, recording, self._role(participant)) for participant in participants
        ]
        hand_over = self._outside.begin(response, recording)
        if verdict is not Verdict.STORE or not recording.kept:
            self._close()
        for participant, result in zip(participants, results, strict=True):
            participant.resolve(result)
        hand_over()

    def _role(self, participant: Participant) -> Role:
        return Role.LEADER if participant.request.exchange is self._payer else Role.FOLLOWER

    @staticmethod
    def _reading_from(response: ProxyResponse, recording: Recording, role: Role) -> SharedResult:
        body: SharedBody = recording.read()
        return SharedResult(role, response.evolve(body=body))

    # ---- the end

    def _ended(self, whole: bool) -> None:
        recording, response, leader = self._recording, self._response, self._leader
        if self._closed or not whole or recording is None or response is None or leader is None:
            self._close()
            return
        if isinstance(response, OtherCallResponse):
            self._close()
            return

        async def keep() -> None:
            await self._keep(leader.request, response, recording.chunks)

        # Close after that: a request that comes meanwhile still joins.
        stored = Deferred.fromCoroutine(keep())
        stored.addErrback(lambda failure: self._log.failure("a response could not be stored", failure))
        stored.addBoth(lambda _: self._close())

    def _close(self) -> None:
        """Accept no more participants, and drop all references: a cycle would keep the body for the collector."""
        if not self._closed:
            self._closed = True
            on_closed, self._on_closed = self._on_closed, _nothing
            recording = self._recording
            self._leader = self._response = self._recording = None
            if recording is not None:
                recording.close()
            self._outside.turn_away()
            on_closed()


def _nothing() -> None:
    """Replace a callback that was called."""
