"""A question to the stages about a WebSocket that is no turn, such as whether a model may be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..exchange.errors import InternalError, ProxyError
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse
from ..exchange.outcome import Outcome
from ..logs import logger

log = logger(__name__)


class Question:
    """A question to the stages; `answered` is called with the error with which they refuse, or with None.

    No observer sees its exchange, which ends with the answer.
    """

    is_decided = False

    def __init__(
        self,
        request: ProxyRequest,
        clock: Callable[[], float],
        answered: Callable[[Question, ProxyError | None], None],
    ) -> None:
        self.request = request
        self._clock = clock
        self._answered = answered
        self._running: Deferred[Any] | None = None

    def run(self, forward: Forward) -> None:
        """Ask the stages. Call once."""

        async def ask() -> ProxyResponse:
            return await forward(self.request)

        self._running = Deferred.fromCoroutine(ask()).addBoth(self._answer)

    def _answer(self, result: ProxyResponse | Failure) -> None:
        self.request.exchange.end(Outcome.COMPLETE, self._clock())
        self.is_decided = True
        error: ProxyError | None = None
        if isinstance(result, Failure):
            if result.check(CancelledError):
                return
            error = result.value if isinstance(result.value, ProxyError) else InternalError()
            if not isinstance(result.value, ProxyError):
                log.failure("defect in a question about a WebSocket", result)
        self._answered(self, error)

    def lose(self, outcome: Outcome) -> None:
        """Cancel the question: the connection is lost, and nobody waits for the answer."""
        if self._running is not None and not self.is_decided:
            self._running.cancel()
