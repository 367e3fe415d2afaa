"""One connection to the upstream.

One request at a time. Anything odd (surplus bytes, an early answer, a parse
error, `Connection: close`) ends the connection with that request: it is
never given to a second one. The agent owns it between requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from ..exchange.bodies import BODY_DONE, WholeBody
from ..exchange.upstream_errors import UpstreamError, UpstreamProtocolError, UpstreamTimeout
from ..net.direct_deferred import DirectDeferred
from ..net.turns import SHORT_S
from .answer_timer import UpstreamTimeouts
from .contract import ConnectionOwner, Key
from .flow import ReadFlow
from .losses import end_of_body, lost_before_head
from .response import UpstreamBody, UpstreamResponse
from .response_reader import HEAD_BYTES, ResponseReader, too_large
from .sending import Sending
from .states import ConnectionState, Event, State
from .tunnel import SwitchedBody, switched_lines

LARGE_READ_BYTES = 4096
"""No smaller piece of a body takes long to decode and filter."""


_READING = frozenset((State.SENDING, State.WAITING, State.ANSWERING))
"""States in which the upstream's bytes are an answer."""


@implementer(IHandshakeListener)
class UpstreamConnection(TwistedProtocol):
    """Sends requests and reads their answers; `states` has the table of what may follow what.

    `_waiting` is set while a request has no head, `_body` while a body comes
    that was not whole with its head. `idle_since` is the pool's.
    """

    transport: Any  # TCP or TLS

    def __init__(
        self,
        owner: ConnectionOwner,
        key: Key,
        timeouts: UpstreamTimeouts,
        clock: Callable[[], float],
    ) -> None:
        self.key = key
        self.requests = 0
        self.payer = ""
        """Who pays for the latest request, by `credential_id`; empty if nobody said."""
        self.is_last = False
        """The request in hand is the last one of this connection."""
        self.was_warm = False
        """It waited for its first request, and may have died meanwhile."""
        self.state = ConnectionState(timeouts)
        self.idle_since = 0.0
        self._owner = owner
        self._clock = clock
        self._reader = ResponseReader()
        self._sending = Sending()
        self._waiting: Deferred[UpstreamResponse] | None = None
        self._body: UpstreamBody | None = None
        self._flow = ReadFlow(self.state, clock)

    # ---- the connection

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._owner.adopt(self.transport)
        if not self.key[0].tls:
            self._become_ready()

    def handshakeCompleted(self) -> None:
        """TLS: the peer's certificate has been verified."""
        self._become_ready()

    def _become_ready(self) -> None:
        self.state.on(Event.READY, self._clock())
        self._sending.write = self.transport.write
        if isinstance(self.transport, tcp.Connection) and not self.key[0].tls:
            self.transport.protocol = self  # past the endpoint's wrapper, which passes everything on
        self._owner.connection_ready(self)

    def abort(self) -> None:
        """Cut the connection now; nothing more is sent or read."""
        if not self.state.is_ended and self.transport is not None:
            self.state.on(Event.ABORTED, self._clock())
            self._owner.connection_aborted(self)
            self._sending.stop(is_connected=True)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = BODY_DONE) -> None:
        was = self.state.at
        self.state.on(Event.LOST, self._clock())
        self._sending.stop(is_connected=False)
        waiting, self._waiting = self._waiting, None
        body, self._body = self._body, None
        self._owner.connection_closed(self, reason)
        reader = self._reader
        # They hold us, and each other: no cycles for the collector.
        self._sending.write = reader.parser = None
        if waiting is not None:
            error = lost_before_head(reader, self.key[0].host, self.requests > 1 or self.was_warm, reason)
            if error.sent == "stale":
                self._owner.connection_stale(self)
            waiting.errback(Failure(error))
        elif body is not None:
            body.end(end_of_body(reader, was in (State.TUNNEL, State.FLUSHING), reason))

    # ---- one request

    def send(
        self,
        head: bytes,
        body: IBodyProducer | None,
        is_head: bool,
        upgrade: bool,
        started: float,
        now: float,
    ) -> Deferred[UpstreamResponse]:
        """Send a rendered head and a body; a WholeBody goes out in one write with the head.

        The request as a whole began at `started`: it may have waited for
        this connection. The Deferred fires with the response's head, or
        fails with an UpstreamError, or with what the body producer failed
        with. Cancelling it aborts the connection.
        """
        self.requests += 1
        reader = self._reader
        if reader.head_bytes:
            reader.reset()
        reader.is_head = is_head
        reader.upgrade = upgrade
        state = self.state
        state.timer.begin(started, not upgrade)
        waiting: DirectDeferred[UpstreamResponse] = DirectDeferred(self._cancelled)
        self._waiting = waiting
        sending = self._sending
        data, leaves_at_once = sending.begin(head, body, self.transport, now)
        if leaves_at_once:
            state.on(Event.SENT, now)
            sending.write(data)
        else:
            state.on(Event.SENDS, now)  # the sweep looks when all of it is sent
            sending.write(data)
            sending.start_upload(self._upload_failed)
        return waiting

    def _cancelled(self, _: Any) -> None:
        self._waiting = None
        self.abort()

    def _upload_failed(self, failure: Failure) -> None:
        """Fail this request, because the client's side of its upload broke."""
        waiting, self._waiting = self._waiting, None
        self.abort()
        if waiting is not None:
            waiting.errback(failure)

    # ---- bytes from the upstream

    def dataReceived(self, data: bytes) -> None:
        state = self.state
        state.timer.was_read = True
        if state.at not in _READING:
            if state.at is State.TUNNEL and self._body is not None:
                self._body.feed(data)
            elif state.at is not State.FLUSHING:
                self.abort()  # nobody asked: whatever this is must not become somebody's answer
            return
        reader = self._reader
        if not reader.head_done:
            if not reader.head_bytes and data[0] in b"\r\n":
                data = data.lstrip(b"\r\n")  # after the previous answer: no part of a head (RFC 9112 §2.2)
                if not data:
                    return
            reader.head_bytes += len(data)
        try:
            (reader.parser or reader.make_parser()).feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not reader.complete and reader.error is None:
                reader.error = UpstreamProtocolError.because(str(error))
            reader.surplus = True
        body = self._body
        if body is not None and not reader.complete and reader.error is None:
            # One more piece of a stream: all that `_dispatch` would do, a call less.
            piece = reader.take_body()
            if piece:
                if len(piece) < LARGE_READ_BYTES:
                    body.feed(piece)
                else:
                    self._pass_large(body, piece)
                return
            reader.note_bodiless_read(len(data))
            if reader.error is None:
                return
        if not reader.head_done and reader.head_bytes > HEAD_BYTES:
            reader.error = reader.error or too_large()
        self._dispatch()

    def _pass_large(self, body: UpstreamBody, piece: bytes) -> None:
        """Pass on a piece that may take long to decode and filter; if it did, read on when others had their turn."""
        clock = self._owner.work_clock
        began = clock()
        body.feed(piece)
        worked_s = clock() - began
        if worked_s > SHORT_S and self._body is body and not self.state.is_ended:
            self._flow.rest(self.transport)
            self._owner.rest(self, worked_s)

    def go_on(self) -> None:
        """Continue reading after a rest."""
        self._flow.end_rest(self.transport)

    def _dispatch(self) -> None:
        """Pass on what this read brought: an error, the head, body bytes, the end."""
        reader = self._reader
        error = reader.error
        if error is not None and (self._body is not None or not reader.head_done):
            self._fail(error)
            return
        body = self._body
        if body is None:
            if not reader.head_done:
                return
            try:
                length = reader.judge_head()
            except UpstreamError as malformed:
                self._fail(malformed)
                return
            if reader.complete and length is not None and not reader.bodiless:
                self._end_whole(length)
                return
            body = UpstreamBody(self, length)
        if reader.complete:
            self._end_body(body)
        elif self._waiting is not None:
            self._body = body
            waiting, self._waiting = self._waiting, None
            self.state.on(Event.HEAD, self._clock())
            if piece := reader.take_body():
                body.feed(piece)
            response = UpstreamResponse(reader.status, reader.reason, reader.passing, body)
            reader.forget_head()
            waiting.callback(response)
            if error is not None:
                self._fail(error)  # inside the body that came in the same read
            elif not body.taken and self._body is body:
                self.pause_reading()
        elif piece := reader.take_body():
            body.feed(piece)

    def _end_body(self, body: UpstreamBody) -> None:
        """The message is whole: free the connection first, then report it."""
        reader = self._reader
        waiting, self._waiting = self._waiting, None
        self._body = None
        if piece := reader.take_body():
            body.feed(piece)
        self._flow.end_body(self.transport)
        response = UpstreamResponse(reader.status, reader.reason, reader.passing, body)
        self._release()
        body.end(BODY_DONE)
        if waiting is not None:
            waiting.callback(response)

    def _end_whole(self, length: int) -> None:
        """The message is whole, and nobody has seen its head yet: nearly every answer that is no stream."""
        reader = self._reader
        body = reader.take_body()
        if len(body) != length:
            self._fail(UpstreamProtocolError(kind="protocol"))
            return
        response = UpstreamResponse(reader.status, reader.reason, reader.passing, WholeBody(body))
        waiting, self._waiting = self._waiting, None
        self._release()
        if waiting is not None:
            waiting.callback(response)

    def _release(self) -> None:
        """Give the connection back after an answer; close one that cannot bring another.

        One with unsent bytes of the request is closed, for the next request
        would wait for them; so is a stranger's: nothing is kept for a key
        that the upstream does not know.
        """
        reader = self._reader
        reusable = reader.end() and not self.is_last and reader.status != 401 and not self.state.is_ended
        now = self._clock()
        if reusable and self._sending.untaken_for_s(now) is None:
            reader.reset()  # an idle connection holds no head
            self.state.on(Event.FREED, now)
            self._owner.connection_free(self)
        else:
            self.abort()

    def _fail(self, error: UpstreamError) -> None:
        reader = self._reader
        reader.error = error
        if self._body is not None and (piece := reader.take_body()):
            self._body.feed(piece)  # what came before the fault still goes to the client
        waiting, self._waiting = self._waiting, None
        body, self._body = self._body, None
        self.abort()
        if waiting is not None:
            waiting.errback(Failure(error))
        elif body is not None:
            body.end(Failure(error))

    # ---- a 101: the connection is a tunnel now

    def _switch(self, rest: bytes) -> None:
        reader = self._reader
        if reader.error is not None or not reader.upgrade or self._waiting is None:
            self._fail(reader.error or UpstreamProtocolError(kind="protocol"))
            return
        body = SwitchedBody(self)
        self.state.on(Event.SWITCHED, self._clock())
        self._body = body
        waiting, self._waiting = self._waiting, None
        if rest:
            body.feed(rest)
        waiting.callback(UpstreamResponse(101, reader.reason, switched_lines(reader.pairs), body))

    def close_tunnel(self) -> None:
        """Send what is written, then close; the sweeper aborts what is never taken."""
        self._body = None
        self.state.on(Event.FINISHED, self._clock())
        self.transport.loseConnection()

    # ---- flow control and time

    def pause_reading(self) -> None:
        self._flow.pause(self.transport)

    def resume_reading(self) -> None:
        self._flow.resume(self.transport)

    def sweep(self, now: float) -> None:
        """Called often while busy: notes what was taken and read, and ends what is late."""
        state = self.state
        if state.at is State.SENDING:
            untaken_for_s = self._sending.untaken_for_s(now)
            if untaken_for_s is None:
                state.on(Event.TAKEN, now)
            elif state.timer.is_stuck(untaken_for_s):
                self._late("The upstream stopped taking the request's body.", "timeout_upload")
                return
        state.timer.note_reads(now, in_body=state.at is State.ANSWERING)
        overdue = state.overdue(now, is_held=self._flow.is_held)
        if overdue is not None:
            self._late(*overdue)

    def _late(self, message: str, kind: str) -> None:
        self._fail(UpstreamTimeout(message, kind=kind))
