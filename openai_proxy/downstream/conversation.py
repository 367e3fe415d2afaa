"""A WebSocket whose turns are read: each turn is an exchange of its own, which the stages admit or refuse.

It stands between the two ends of a tunnel. A client's message is held until it
is whole, and is then passed on as it came. The upstream's bytes are read while
they pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exchange.buffered_bytes import TOO_MUCH_BUFFERED, Lease
from ..exchange.errors import InvalidJSON, Overloaded, ProxyError
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange, HeaderPairs, Inspection
from ..wire.websocket_events import (
    BEGUN,
    ERROR,
    NOTHING_ASKED,
    SESSIONS,
    ServerEvent,
    may_matter,
    maybe_server_event,
    parameters,
    read_client_event,
    refusal,
    stream_id_of,
)
from ..wire.websocket_messages import (
    GOING_AWAY,
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    SERVICE_RESTART,
    TRY_AGAIN_LATER,
    UNSUPPORTED_DATA,
    BrokenFrames,
    Whole,
    close_frame,
    text_frame,
)
from .contract import TunnelEnds, TurnRules
from .from_client import FromClient
from .lanes import Judged, Lanes, Message
from .open_turns import OpenTurns
from .question import Question
from .towards_client import TowardsClient
from .turn import Turn
from .turn_requests import TurnRequests, why_none_may_begin

MOST_REFUSALS = 100
"""The most turns that are refused in a row; a client that goes on after that is disconnected."""
QUEUED_BYTES = 1024 * 1024
"""If more bytes than this wait for turns to be admitted or refused, reading from the client pauses."""


class Conversation:
    """The turns of one WebSocket.

    `handshake` is the exchange that opened it, `headers` are those that its
    client sent, and `site` has the clock, the reactor and the rules, and ends
    exchanges. States: open, closing (a close frame waits until it may be written), closed.
    """

    def __init__(self, ends: TunnelEnds, handshake: Exchange, headers: HeaderPairs, site: Any) -> None:
        inspection = handshake.inspection or Inspection()
        self._ends = ends
        self._site = site
        self.clock: Callable[[], float] = site.clock
        self.upstream = handshake.upstream
        rules: TurnRules = site.turns
        self._up = FromClient(ends, rules, site.next_turn, self._take, self._break_off)
        self._down = TowardsClient(ends, rules)
        self._is_strict = inspection.is_strict
        self._model = handshake.model
        self._endpoint = "responses" if inspection.name.partition("/")[0] == "responses" else "realtime"
        self._lanes = Lanes(self._begin, self._pass)
        self._open: OpenTurns[Turn] = OpenTurns(errors_name_events=self._endpoint == "realtime")
        self._requests = TurnRequests(handshake, headers, self._endpoint, inspection.name, site)
        self._refusals = 0
        self._closing: tuple[int, str, Outcome] | None = None
        self._closed = False
        self._client_has_closed = False
        """Whether the client has sent a close frame."""
        self._is_reading = False
        """Bytes of the upstream are being read that have not been written to the client yet."""
        self._is_going_away = False
        self._timer: Any = None
        if rules.session_s is not None:
            self._timer = site.reactor.callLater(rules.session_s, self.go_away)

    # ---- from the client

    def from_client(self, data: bytes) -> None:
        if not self._closed:
            self._up.feed(data)

    def _break_off(self, error: BrokenFrames) -> None:
        self._break(error.code, str(error))

    def _take(self, whole: Whole) -> None:
        if whole.is_control:
            self._client_has_closed = self._client_has_closed or whole.is_close
            self._ends.to_upstream(whole.raw)
            return
        lease = self._up.take_lease()
        if not whole.is_text and self._is_strict:
            lease.free()
            self._break(UNSUPPORTED_DATA, "binary messages cannot be read for this API key")
            return
        event = lane = None
        matters = whole.is_text and may_matter(whole.data)
        if matters or (whole.is_text and self._lanes):
            try:
                event = read_client_event(whole.data)
                lane = stream_id_of(event)
            except InvalidJSON as error:
                if matters and self._is_strict:
                    lease.free()
                    self._make_turn(b"").refuse(error)
                    return
        if event is not None and not event.begins_turn and not (event.updates_session and self._is_strict):
            event = None
        self._lanes.put(lane, Message(whole.raw, event, lease))
        if self._lanes.held_bytes > QUEUED_BYTES:
            self._ends.pause_client("queue")

    def _pass(self, raw: bytes, lease: Lease) -> None:
        """Send a message that begins no turn to the upstream."""
        if self._closed:
            lease.free()
        else:
            self._ends.to_upstream(raw, lease)

    def _begin(self, message: Message) -> Judged:
        """Let the stages admit or refuse a turn, or the model that a session is to have."""
        event, raw, lease = message.event, message.raw, message.lease
        params = parameters(event, self._model)
        lease.free()  # the stages take a lease for what they read
        if not lease.take(len(raw)):
            turn = self._make_turn(params, sent_stream_id=event.stream_id, event_id=event.event_id)
            turn.refuse(Overloaded(TOO_MUCH_BUFFERED))
            return turn
        if not event.begins_turn:
            return self._ask_for_model(params, message)
        turn = self._make_turn(
            params,
            raw,
            lease=lease,
            stream_id=stream_id_of(event),
            sent_stream_id=event.stream_id,
            event_id=event.event_id,
        )
        error = why_none_may_begin(self._site, session_is_over=self._is_going_away)
        if error is not None:
            turn.refuse(error)
        else:
            turn.run(self._site.turns.forward)
        return turn

    def _ask_for_model(self, params: bytes, message: Message) -> Judged:
        """Let a `session.update` pass if its client may use the models that it names."""

        def answered(question: Question, error: ProxyError | None) -> None:
            if error is None:
                self._pass(message.raw, message.lease)
            else:
                message.lease.free()
                sent = message.event
                turn = self._make_turn(params, sent_stream_id=sent.stream_id, event_id=sent.event_id)
                turn.exchange.turn = None  # a `session.update` begins no turn
                turn.refuse(error)
            self._lanes.go_on(question)

        question = Question(self._requests.make_question(params), self.clock, answered)
        question.run(self._site.turns.models)
        return question

    def _make_turn(self, params: bytes, raw: bytes = b"", **names: Any) -> Turn:
        request = self._requests.make_turn(params)
        turn = Turn(self, request, raw, **names)
        self._site.root.api.running[turn.exchange] = turn
        return turn

    # ---- what turns report (TurnOwner)

    def send(self, turn: Turn) -> None:
        """Send the message of an admitted turn to the upstream."""
        self._refusals = 0
        self._model = turn.exchange.model or self._model
        if not turn.begun_above:
            self._open.add(turn)
            lease, turn.lease = turn.lease, None
            self._ends.to_upstream(turn.raw, lease)

    def refusing(self, turn: Turn, error: ProxyError) -> None:
        """Send the error to the client; close the connection if the server has begun the turn itself."""
        if self._closed:
            return
        if turn.begun_above:
            self._close_soon(POLICY_VIOLATION, error.code or "refused", Outcome.LIMIT)
            return
        headers = {"x-request-id": turn.exchange.id}
        headers |= {name.decode("ascii").lower(): value.decode("ascii") for name, value in error.headers}
        event = refusal(error.body(), error.status, headers, turn.sent_stream_id, turn.event_id)
        self._down.inject(text_frame(event))
        self._refusals += 1
        if self._refusals > MOST_REFUSALS:
            self._break(POLICY_VIOLATION, f"{MOST_REFUSALS} turns in a row were refused", Outcome.LIMIT)

    def decided(self, turn: Turn) -> None:
        """Let the messages go on that waited until the turn was admitted or refused."""
        self._lanes.go_on(turn)
        if self._lanes.held_bytes <= QUEUED_BYTES:
            self._ends.resume_client("queue")
        self._close_if_idle()

    def delivered(self, turn: Turn) -> None:
        """Write the held bytes if the stages have let every answer pass."""
        if self._down.holds_any and not self._holds_client:
            self._down.release()
            self._close_if_idle()
            self._close_between_frames()
            self._ends.resume_upstream("stages")

    def end_exchange(self, exchange: Exchange, outcome: Outcome) -> None:
        """End the exchange of a turn."""
        self._site.root.api.running.pop(exchange, None)
        self._site.end_exchange(exchange, outcome)

    def ended(self, turn: Turn) -> None:
        """Note that a turn has ended."""
        self._open.remove(turn)
        if turn.begun_above and turn.is_sent and not self._closed:
            self._ask_for_quota()
        self._close_if_idle()

    # ---- from the upstream

    def from_upstream(self, data: bytes) -> None:
        if self._closed:
            return
        self._is_reading = True
        try:
            ends = self._down.events.read(data)
            for _, text in ends:
                event = None if text is None else maybe_server_event(text)
                if event is not None and text is not None:
                    self._hear(event, text)
        finally:
            self._is_reading = False
        broken = self._down.events.broken
        if broken is not None:
            self._end_broken(data, broken)
        elif self._holds_client:
            self._down.hold(data)
            self._ends.pause_upstream("stages")
        else:
            self._down.write(data, [end for end, _ in ends])
            self._close_if_idle()
            self._close_between_frames()

    def _end_broken(self, data: bytes, error: BrokenFrames) -> None:
        """Pass on what came whole, and close, because the upstream has broken the WebSocket protocol."""
        self._down.write_last(data)
        self._lose_turns(Outcome.UPSTREAM_TRUNCATED)
        self._break(
            INTERNAL_ERROR, f"the upstream broke the WebSocket protocol: {error}", Outcome.UPSTREAM_ERROR
        )

    def _hear(self, event: ServerEvent, text: bytes) -> None:
        """Pass an event of the server to the turn that it belongs to."""
        if event.kind in SESSIONS and event.model is not None:
            self._model = event.model
        turn = self._open.find(event)
        if turn is None and event.kind == BEGUN:
            turn = self._begun_above(event)
        if turn is not None:
            turn.take(event, text)
            if event.ends_turn or event.kind == ERROR:
                turn.end()

    @property
    def _holds_client(self) -> bool:
        return any(turn.holds_client for turn in self._open)

    def _begun_above(self, event: ServerEvent) -> Turn | None:
        """Count a turn that the server began by itself; it can be refused only if the budget is spent."""
        params = parameters(NOTHING_ASKED, self._model)
        turn = self._make_turn(params, stream_id=event.stream_id, begun_above=True)
        turn.response_id = event.response_id
        self._open.add(turn)
        turn.run(self._site.turns.begun_above)
        return None if turn.is_ended else turn

    def _ask_for_quota(self) -> None:
        """Close the connection if turns that the server began by itself have spent the budget."""

        def answered(_: Question, error: ProxyError | None) -> None:
            if error is not None:
                self._close_soon(POLICY_VIOLATION, error.code or "refused", Outcome.LIMIT)

        params = parameters(NOTHING_ASKED, self._model)
        Question(self._requests.make_question(params), self.clock, answered).run(self._site.turns.quota)

    # ---- the end

    def go_away(self) -> None:
        """Begin no more turns, and close once none is open, because the daemon stops or the session is too old."""
        self._is_going_away = True
        self._close_if_idle()

    def cancel(self) -> None:
        """Close the connection for the operator, as soon as the upstream's current frame is whole."""
        self._closing = None
        self._close_soon(POLICY_VIOLATION, "cancelled by the operator of openai-proxy", Outcome.CANCELLED)

    def _close_if_idle(self) -> None:
        going = self._is_going_away or self._site.draining
        if going and not self._open and not self._lanes and self._closing is None and not self._closed:
            self._close_soon(SERVICE_RESTART, "openai-proxy is going away: connect again", Outcome.COMPLETE)

    def _close_soon(self, code: int, reason: str, outcome: Outcome) -> None:
        """Close once all that came from the upstream is written to the client; begin no more turns."""
        if self._closing is None:
            self._is_going_away = True
            self._closing = code, reason, outcome
            if not self._is_reading:
                self._close_between_frames()

    def _close_between_frames(self) -> None:
        closing = None if self._closed else self._closing
        if closing is not None and self._down.may_close:
            self._close(*closing)

    def _break(self, code: int, reason: str, outcome: Outcome = Outcome.REJECTED) -> None:
        """Close at once, unless the connection is closed already."""
        if not self._closed:
            if code == TRY_AGAIN_LATER:
                outcome = Outcome.LIMIT
            self._close(code, reason, outcome)

    def _close(self, code: int, reason: str, outcome: Outcome) -> None:
        self._closed = True
        can_tell = self._down.may_close
        if can_tell:
            self._down.close(code, reason)
        if not self._client_has_closed:
            self._ends.to_upstream(close_frame(GOING_AWAY, "", masked=True))
        self._lose_turns(outcome if outcome is Outcome.CANCELLED else Outcome.CLIENT_GONE)
        self._let_go()
        self._ends.finish(outcome, broken=not can_tell)

    def _lose_turns(self, outcome: Outcome) -> None:
        turns = [*self._lanes.judged, *self._open]
        self._lanes.clear()  # otherwise messages that wait for a turn would be sent
        for turn in turns:
            turn.lose(outcome)

    def lost(self, outcome: Outcome) -> None:
        """End the conversation because a connection is lost; after a client's close frame, the outcome is CLIENT_GONE."""
        if self._client_has_closed:
            outcome = Outcome.CLIENT_GONE
        if not self._closed:
            self._closed = True
            self._down.write_held()
            self._lose_turns(outcome)
            self._let_go()

    def _let_go(self) -> None:
        """Free everything that is held."""
        self._up.stop()
        self._down.let_go()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
