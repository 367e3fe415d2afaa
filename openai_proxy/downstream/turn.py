"""One turn of a WebSocket: a model call, as an exchange of its own.

It passes the same stages as a request over HTTP; then it is sent over its
connection. The stages read its answer as an event stream. The client gets the
upstream's bytes directly, not those of the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from ..exchange.bodies import BODY_DONE, UnannouncedBody
from ..exchange.buffered_bytes import Lease
from ..exchange.errors import InternalError, ProxyError
from ..exchange.messages import BodyFilter, Forward, ProxyRequest, ProxyResponse
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange
from ..exchange.upstream_errors import UpstreamError
from ..logs import logger
from ..wire.websocket_events import ERROR, ServerEvent, is_sound
from .turn_body import TurnBody

log = logger(__name__)

_LOST = Failure(ConnectionLost())
_JSON = [(b"Content-Type", b"application/json")]
_EVENTS = [(b"Content-Type", b"text/event-stream")]


class TurnOwner(Protocol):
    """What a turn asks of the conversation that it is a part of."""

    clock: Callable[[], float]
    upstream: str | None
    """The name of the connection's upstream."""

    def send(self, turn: Turn) -> None:
        """Send the message of the turn, which the stages have admitted, to the upstream."""

    def refusing(self, turn: Turn, error: ProxyError) -> None:
        """Note that the turn is refused: its message is dropped, and its exchange ends with this error."""

    def decided(self, turn: Turn) -> None:
        """Note that the turn was admitted, refused or given up: messages that wait for it may go on."""

    def delivered(self, turn: Turn) -> None:
        """Note that the stages have let the turn's answer pass."""

    def end_exchange(self, exchange: Exchange, outcome: Outcome) -> None:
        """End the turn's exchange; idempotent."""

    def ended(self, turn: Turn) -> None:
        """Note that the turn has ended."""

    def cancel(self) -> None:
        """Stop the whole connection for the operator."""


class Turn:
    """One turn.

    States: asked (the stages decide), sent (its message was sent to the
    upstream), answering (an event has come), ended. `begun_above`: the server
    has begun it by itself, so no message is sent.
    """

    is_decided = False
    """Whether it was admitted, refused or given up."""
    is_sent = False
    is_over = False
    """Its last event has come; a stage may still wait for something."""
    is_ended = False

    def __init__(
        self,
        owner: TurnOwner,
        request: ProxyRequest,
        raw: bytes = b"",
        *,
        lease: Lease | None = None,
        stream_id: str | None = None,
        sent_stream_id: bytes | None = None,
        event_id: str | None = None,
        begun_above: bool = False,
    ) -> None:
        self._owner = owner
        self.request = request
        self.exchange = request.exchange
        self.raw = raw
        self.lease = lease
        """The lease of its message."""
        self.stream_id = stream_id
        self.sent_stream_id = sent_stream_id
        """The same as JSON, as the client sent it."""
        self.event_id = event_id
        self.begun_above = begun_above
        self.response_id: str | None = None
        self._early: list[tuple[ServerEvent, bytes]] = []
        """Events of a turn that the server began, which came before the stages had admitted or refused it."""
        self._running: Deferred[Any] | None = None
        self._first: Deferred[ProxyResponse] | None = None
        self._sent_at = 0.0
        self._body: TurnBody | None = None
        self._filters: tuple[BodyFilter, ...] = ()
        self._outcome = Outcome.COMPLETE
        self._is_delivered = False
        request.turn = self

    @property
    def upstream(self) -> str | None:
        """The name of the upstream to which the connection leads."""
        return self._owner.upstream

    @property
    def is_answered(self) -> bool:
        """Whether an event of it has come."""
        return self._body is not None

    @property
    def holds_client(self) -> bool:
        """Whether the answer has begun, and the stages have not let it pass yet."""
        return self._body is not None and not self._is_delivered and not self.is_ended

    # ---- the way in

    def run(self, forward: Forward) -> None:
        """Run the stages, which may take long."""
        self._running = Deferred.fromCoroutine(self._ask(forward))
        self._running.addCallbacks(self._deliver, self._fail)
        self._running.addErrback(self._defect)

    async def _ask(self, forward: Forward) -> ProxyResponse:
        return await forward(self.request)

    async def send(self) -> ProxyResponse:
        """Send the message to the upstream and wait for the first event: the innermost `forward` of the stages."""
        exchange, owner = self.exchange, self._owner
        exchange.attempts += 1
        exchange.upstream = owner.upstream
        self._sent_at = owner.clock()
        first: Deferred[ProxyResponse] = Deferred()
        self._first = first
        self.is_sent = True
        owner.send(self)
        self._decide()
        early, self._early = self._early, []
        for event, text in early:
            self.take(event, text)
        if self.is_over:
            self.end()
        return await first

    def _decide(self) -> None:
        """Note that the message is sent or dropped: messages that wait for it may go on."""
        if not self.is_decided:
            self.is_decided = True
            self.raw = b""
            if self.lease is not None:
                self.lease.free()
            self._owner.decided(self)

    # ---- what the server says

    def take(self, event: ServerEvent, text: bytes) -> None:
        """Take an event of this turn."""
        if not self.is_sent:
            self._early.append((event, text))
            return
        if self._body is None:
            self._answer(event, text)
            if event.kind == ERROR and event.status is not None:
                return
        assert self._body is not None
        if not is_sound(text):
            self._body.feed(_as_event(text))

    def _answer(self, event: ServerEvent, text: bytes) -> None:
        """Answer the stages with the first event; an error with a status becomes a response with that status."""
        body = self._body = TurnBody()
        exchange = self.exchange
        exchange.upstream_s += self._owner.clock() - self._sent_at
        first, self._first = self._first, None
        if first is None:
            return
        if event.kind == ERROR and event.status is not None:
            first.callback(ProxyResponse(event.status, b"", _JSON, UnannouncedBody(text)))
        else:
            first.callback(ProxyResponse(200, b"OK", _EVENTS, body))

    def end(self) -> None:
        """End the answer: its last event has been taken."""
        self.is_over = True
        if self._body is not None:
            self._body.end(BODY_DONE)

    def lose(self, outcome: Outcome) -> None:
        """End the turn because the connection is lost; if its message was sent, what it used is estimated."""
        if self.is_ended:
            return
        self._outcome = outcome
        if not self.is_sent:
            running, self._running = self._running, None
            if running is not None:
                running.cancel()
            self._end(outcome)
            return
        if self._body is None:
            self._body = TurnBody()
            first, self._first = self._first, None
            if first is not None:
                first.callback(ProxyResponse(200, b"OK", _EVENTS, self._body))
        self._body.end(_LOST)
        if not self.is_ended and not self._is_delivered:  # a stage still waits for something
            running, self._running = self._running, None
            if running is not None:
                running.cancel()
            self._end(outcome)

    # ---- the way back, through the filters that the stages have put there

    def _deliver(self, response: ProxyResponse) -> None:
        if self.is_ended:
            response.body.discard()
            return
        exchange = self.exchange
        exchange.status = response.status
        exchange.reason = response.reason
        exchange.response_headers = response.headers
        exchange.first_byte_at = self._owner.clock()
        if exchange.capture is not None:
            response = response.filtered(exchange.capture.response_filter(response.headers))
        self._filters = response.filters
        self._is_delivered = True
        response.body.deliverBody(self)  # type: ignore[arg-type]  # quacks as IProtocol
        self._owner.delivered(self)

    def makeConnection(self, transport: Any) -> None:
        """Do nothing: the body of a turn is never paused."""

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if not exchange.response_bytes:
            exchange.response_first_body_at = self._owner.clock()
        exchange.response_bytes += len(data)
        for body_filter in self._filters:
            data = body_filter.feed(data)

    def connectionLost(self, reason: Failure) -> None:
        if reason is BODY_DONE:
            tail = b""
            for body_filter in self._filters:
                tail = (body_filter.feed(tail) if tail else b"") + body_filter.finish()
        elif self._outcome is Outcome.UPSTREAM_TRUNCATED:
            self.exchange.upstream_error_kinds.append((self.exchange.upstream or "none", "truncated"))
            self.exchange.upstream_failure = "The upstream broke off its answer."
        self._end(self._outcome)

    def _end(self, outcome: Outcome) -> None:
        if not self.is_ended:
            self.is_ended = True
            self._filters = ()
            self._owner.end_exchange(self.exchange, outcome)
            self._owner.ended(self)
            self._decide()

    # ---- refused, or stopped

    def cancel(self, error: ProxyError) -> None:
        """Stop the turn for the operator; once sent, it can be stopped only together with its connection."""
        if self.is_sent:
            self._owner.cancel()
        elif not self.is_ended:
            running, self._running = self._running, None
            self.refuse(error)
            if running is not None:
                running.cancel()

    def refuse(self, error: ProxyError) -> None:
        """Drop the message: the exchange ends with this error."""
        exchange = self.exchange
        if isinstance(error, UpstreamError):
            exchange.upstream_failure = error.log_text
        if self.is_sent:  # the client can no longer receive an error for it
            self._end(error.outcome)
            return
        exchange.status, exchange.error_code = error.status, error.code
        exchange.first_byte_at = self._owner.clock()
        exchange.response_headers = [*_JSON, *error.headers]
        if exchange.capture is not None:
            exchange.capture.response.feed(error.body())
        self._owner.refusing(self, error)
        self._end(error.outcome)

    def _fail(self, failure: Failure) -> None:
        if self.is_ended or failure.check(CancelledError):
            self._end(self._outcome)
        elif isinstance(failure.value, ProxyError):
            self.refuse(failure.value)
        else:
            self._defect(failure)

    def _defect(self, failure: Failure) -> None:
        log.failure("defect in a turn of a WebSocket ({id})", failure, id=self.exchange.id)
        self.refuse(InternalError())


def _as_event(text: bytes) -> bytes:
    """Return a message as an event of a stream."""
    if b"\n" in text or b"\r" in text:
        text = b"\ndata: ".join(text.splitlines())
    return b"data: " + text + b"\n\n"
