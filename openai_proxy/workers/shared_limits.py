"""The embedded limits of several workers: kept by the supervisor only.

So a limit is enforced exactly, however the requests are distributed. It costs
one round trip between two processes for each request, and only if limits are
set.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..exchange.errors import ShuttingDown
from ..policies.limits.embedded import EmbeddedStore
from ..policies.limits.rules import Limits
from ..policies.limits.store import Admission
from .link import Link, LinkLost
from .messages import ADMIT, CANCEL, FINISH, SETTLE


class SupervisedStore:
    """A worker's `LimitStore`: the supervisor decides."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def admit(self, key: str, limits: Limits, model_tokens: float, slot: str) -> Admission:
        decided: Deferred[Admission] = Deferred()

        def decide(admission: Admission) -> None:
            if not decided.called:
                decided.callback(admission)
            elif admission.admitted:  # the client left meanwhile: nothing was used
                self.finish(admission, 0.0)

        def fail(failure: Failure) -> None:
            if not decided.called:
                decided.errback(failure)

        self._link.request(ADMIT, (key, limits, model_tokens, slot)).addCallbacks(decide, fail)
        try:
            return await decided
        except LinkLost:
            raise ShuttingDown() from None  # a worker without its supervisor drains

    def finish(self, admission: Admission, model_tokens: float) -> None:
        # at once: the client may see the end now, and ask another worker next
        self._link.send_now(FINISH, (admission, model_tokens))

    def cancel(self, admission: Admission) -> None:
        self._link.send_now(CANCEL, admission)

    def settle(self, admission: Admission, model_tokens: float) -> None:
        """Charge what was used beyond the reservation, or give back the rest."""
        self._link.send_now(SETTLE, (admission, model_tokens))


class LimitServer:
    """The supervisor's side for one worker: it asks the one store for that worker.

    It knows the admissions of the worker, so that the slots of a crashed worker
    are freed; the requests are then charged what they had reserved.
    """

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._held: dict[tuple[str, str], Admission] = {}

    def admit(self, question: tuple[str, Limits, float, str]) -> Deferred[Any]:
        key, limits, model_tokens, slot = question

        def hold(admission: Admission) -> Admission:
            if admission.admitted:
                self._held[key, slot] = admission
            return admission

        admitted = Deferred.fromCoroutine(self._store.admit(key, limits, model_tokens, slot))
        return admitted.addCallback(hold)

    def finish(self, message: tuple[Admission, float]) -> None:
        admission, model_tokens = message
        if self._held.pop((admission.key, admission.slot), None) is not None:
            self._store.finish(admission, model_tokens)

    def cancel(self, admission: Admission) -> None:
        if self._held.pop((admission.key, admission.slot), None) is not None:
            self._store.cancel(admission)

    def settle(self, message: tuple[Admission, float]) -> None:
        self._store.settle(*message)

    def close(self) -> None:
        """Release everything that an ended worker held."""
        held, self._held = self._held, {}
        for admission in held.values():
            self._store.finish(admission, admission.reserved)
