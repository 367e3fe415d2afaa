"""One connection to the upstream.

One request at a time. Anything odd (surplus bytes, an early answer, a parse
error, `Connection: close`) ends the connection with that request: it is
never given to a second one. The agent owns it between requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import httptools
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..exchange.errors import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from ..net.client_tls import explain, is_tls_failure
from ..net.direct_deferred import DirectDeferred
from ..net.turns import SHORT_S
from ..wire.headers import HOP_BY_HOP, end_to_end
from .answer_timer import NEVER, AnswerTimer, UpstreamTimeouts
from .body import KnownBody, Taking, Upload
from .idle_pool import Key
from .response import DONE, SwitchedResponse, UpstreamResponse, WholeResponse
from .response_reader import HEAD_BYTES, ResponseReader, too_large

AT_ONCE_BYTES = 4096
"""The kernel takes a request up to this size at once: nobody asks how much of it the upstream has."""
LARGE_READ_BYTES = 4096
"""No smaller piece of a body takes long to decode and filter."""


class ConnectionOwner(Protocol):
    """What a connection tells the agent."""

    def adopt(self, transport: Any) -> None:
        """Connected: the owner may serve the transport's socket."""

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """Connected; with TLS: the peer is verified."""

    def work_clock(self) -> float:
        """Return the seconds that this thread has worked."""

    def rest(self, connection: UpstreamConnection, worked_s: float) -> None:
        """Call `go_on` of a connection whose last read took long, once others have had their turn."""

    def connection_free(self, connection: UpstreamConnection) -> None:
        """Clean and without a request: may be pooled."""

    def connection_stale(self, connection: UpstreamConnection) -> None:
        """A kept connection was dead when it was used: so may be others that were idle as long."""

    def connection_aborted(self, connection: UpstreamConnection) -> None:
        """Being cut, which takes a turn of the reactor: no request may get it any more."""

    def connection_closed(self, connection: UpstreamConnection, reason: Failure) -> None:
        """Lost, whatever it did."""


@implementer(IHandshakeListener)
class UpstreamConnection(TwistedProtocol):
    """States: connecting, idle, busy (`_waiting` or `_response` set), tunnel, closed.

    `idle_since` is the agent's, which closes what has been idle for long.
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
        self.ready = False
        self.closed = False
        self._aborted = False
        self.requests = 0
        self.payer = ""
        """Who pays for the latest request, by `credential_id`; empty where nobody said."""
        self.is_last = False
        """The request in hand is the last one of this connection."""
        self.timer = AnswerTimer(timeouts)
        self.idle_since = 0.0
        self._owner = owner
        self._clock = clock
        self._reader = ResponseReader()
        self._write: Any = None
        self._waiting: Deferred[UpstreamResponse] | None = None
        self._response: UpstreamResponse | None = None
        self._upload: Upload | None = None
        self._taking: Taking | None = None
        """Set for a request that may not be sent whole yet, or was not when it was looked at last."""
        self._tunnel = False
        self._paused = False
        self._rests = False

    @property
    def busy(self) -> bool:
        return self._waiting is not None or self._response is not None

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
        self.ready = True
        self._write = self.transport.write
        if isinstance(self.transport, tcp.Connection) and not self.key[0].tls:
            self.transport.protocol = self  # past the endpoint's wrapper, which passes everything on
        self._owner.connection_ready(self)

    def abort(self) -> None:
        """Cut the connection now; nothing more is sent or read."""
        if not self.closed and not self._aborted and self.transport is not None:
            self._aborted = True
            self._owner.connection_aborted(self)
            self._stop_upload()
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = DONE) -> None:
        self.closed = True
        self.timer.deadline = NEVER
        self._stop_upload()
        waiting, self._waiting = self._waiting, None
        response, self._response = self._response, None
        self._owner.connection_closed(self, reason)
        self._write = self._reader.parser = None  # they hold us, and each other: no cycles for the collector
        if waiting is not None:
            waiting.errback(Failure(self._reader.error or self._lost_before_head(reason)))
        elif response is not None:
            response.body_ended(self._end_of_body(reason))

    def _lost_before_head(self, reason: Failure) -> UpstreamError:
        host = self.key[0].host
        if self._reader.head_bytes:
            return UpstreamProtocolError(
                f"The upstream {host} closed the connection inside its answer.", kind="truncated"
            )
        if self.requests > 1:
            self._owner.connection_stale(self)
            message = f"The upstream {host} closed a kept connection as the request was sent."
            return UpstreamUnreachable(message, kind="reset", sent="stale")
        if is_tls_failure(
            reason
        ):  # an alert of the server, which judges a client in TLS 1.3 after our handshake
            failure = explain(reason, host)
            message = f"This proxy could not establish TLS with its upstream {host}: {failure.reason}."
            return UpstreamTLSError(message, kind="tls", sent="no", may_heal=failure.may_heal)
        how = "closed" if reason.check(ConnectionDone) else "reset"
        return UpstreamUnreachable(
            f"The upstream {host} {how} the connection before it answered.", kind="reset"
        )

    def _end_of_body(self, reason: Failure) -> Failure:
        """A body that ends with the connection is whole only at an orderly end."""
        reader = self._reader
        if reader.error is not None:
            return Failure(reader.error)
        if self._tunnel or (reader.head_done and not reader.complete and reader.until_close):
            return DONE if reason.check(ConnectionDone) else reason
        return reason

    # ---- one request

    def send(
        self, head: bytes, body: Any, is_head: bool, upgrade: bool, started: float, now: float
    ) -> Deferred[UpstreamResponse]:
        """Send a rendered head and a body (bytes, an IBodyProducer or None).

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
        self._taking = None
        self.timer.begin(started, not upgrade)
        waiting: DirectDeferred[UpstreamResponse] = DirectDeferred(self._cancelled)
        self._waiting = waiting
        if type(body) is KnownBody:
            body = body.data
        if body is None or type(body) is bytes:
            data = head + body if body else head
            self._write(data)
            if len(data) <= AT_ONCE_BYTES:
                self.timer.expect_head(now)
            else:
                self._taking = Taking(self.transport, now)
                self.timer.expect_end()  # the sweep looks when all of it is sent
        else:
            self._write(head)
            self._taking = Taking(self.transport, now)
            self._start_upload(body)
        return waiting

    def _cancelled(self, _: Any) -> None:
        self._waiting = None
        self.abort()

    def _start_upload(self, body: Any) -> None:
        self.timer.expect_end()
        self._upload = Upload(body, self.transport)
        self._upload.start(self._upload_done, self._upload_failed)

    def _upload_done(self) -> None:
        self._upload = None

    def _upload_failed(self, failure: Failure) -> None:
        """The client's side of the upload broke: so does this request."""
        waiting, self._waiting = self._waiting, None
        self.abort()
        if waiting is not None:
            waiting.errback(failure)

    def _stop_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.stop(connected=not self.closed)

    # ---- bytes from the upstream

    def dataReceived(self, data: bytes) -> None:
        self.timer.was_read = True
        if self._tunnel:
            if self._response is not None:
                self._response.body_received(data)
            return
        if self._waiting is None and self._response is None:
            self.abort()  # nobody asked: whatever this is must not become somebody's answer
            return
        reader = self._reader
        if not reader.head_done:
            if not reader.head_bytes and data[0] in b"\r\n":
                data = data.lstrip(b"\r\n")  # behind the answer before: no part of a head (RFC 9112 §2.2)
                if not data:
                    return
            reader.head_bytes += len(data)
        try:
            (reader.parser or reader.make_parser()).feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if not reader.complete and reader.error is None:
                reader.error = UpstreamProtocolError(kind="protocol")
            reader.surplus = True
        response = self._response
        if response is not None and not reader.complete and reader.error is None:
            # One more piece of a stream: all that `_dispatch` would do, a call less.
            parts = reader.parts
            if parts:
                reader.parts = []
                piece = parts[0] if len(parts) == 1 else b"".join(parts)
                if len(piece) < LARGE_READ_BYTES:
                    response.body_received(piece)
                else:
                    self._pass_large(response, piece)
                return
            reader.note_bodiless_read(len(data))
            if reader.error is None:
                return
        if not reader.head_done and reader.head_bytes > HEAD_BYTES:
            reader.error = reader.error or too_large()
        self._dispatch()

    def _pass_large(self, response: UpstreamResponse, piece: bytes) -> None:
        """Pass on a piece that may take long to decode and filter; if it did, read on when others had their turn."""
        clock = self._owner.work_clock
        began = clock()
        response.body_received(piece)
        worked_s = clock() - began
        if worked_s > SHORT_S and self._response is response and not (self.closed or self._aborted):
            self._rests = True
            if not self._paused:
                self.transport.pauseProducing()
            self._owner.rest(self, worked_s)

    def go_on(self) -> None:
        """Read on after a rest."""
        self._rests = False
        if not self._paused and not self.closed:
            self.timer.expect_body(self._clock())  # the time we held it back does not count
            self.transport.resumeProducing()

    def _dispatch(self) -> None:
        """Pass on what this read brought: an error, the head, body bytes, the end."""
        reader = self._reader
        error = reader.error
        if error is not None and (self._response is not None or not reader.head_done):
            self._fail(error)
            return
        response = self._response
        if response is None:
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
            response = UpstreamResponse(self, reader.status, reader.reason, reader.pairs, length)
        parts = reader.parts
        if reader.complete:
            self._end_response(response)
        elif self._waiting is not None:
            self._response = response
            waiting, self._waiting = self._waiting, None
            self.timer.expect_body(self._clock())
            if parts:
                reader.parts = []
                response.body_received(parts[0] if len(parts) == 1 else b"".join(parts))
            waiting.callback(response)
            if error is not None:
                self._fail(error)  # inside the body that came in the same read
            elif not response.taken and self._response is response:
                self.pause_reading()
        elif parts:
            reader.parts = []
            response.body_received(parts[0] if len(parts) == 1 else b"".join(parts))

    def _end_response(self, response: UpstreamResponse) -> None:
        """The message is whole: free the connection first, then tell."""
        reader = self._reader
        parts, reader.parts = reader.parts, []
        waiting, self._waiting = self._waiting, None
        self._response = None
        if parts:
            response.body_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        self._release()
        response.body_ended(DONE)
        if waiting is not None:
            waiting.callback(response)

    def _end_whole(self, length: int) -> None:
        """The message is whole, and nobody has seen its head yet: nearly every answer that is no stream."""
        reader = self._reader
        body = reader.parts[0] if len(reader.parts) == 1 else b"".join(reader.parts)
        if len(body) != length:
            self._fail(UpstreamProtocolError(kind="protocol"))
            return
        response = WholeResponse(reader.status, reader.reason, end_to_end(reader.pairs), body)
        waiting, self._waiting = self._waiting, None
        self._release()
        if waiting is not None:
            waiting.callback(response)

    def _release(self) -> None:
        """Give the connection back after an answer; close one that cannot bring another.

        One with unsent bytes of the request is closed, for the next request
        would wait behind them; so is a stranger's: nothing is kept for a key
        that the upstream does not know.
        """
        self.timer.deadline = NEVER
        reader = self._reader
        reusable = reader.end() and self._upload is None and not self._aborted
        if self.is_last or reader.status == 401:
            reusable = False
        if reusable and not (self._taking is not None and self._taking.look(self._clock())):
            reader.reset()  # an idle connection holds no head
            self._owner.connection_free(self)
        else:
            self.abort()

    def _fail(self, error: UpstreamError) -> None:
        reader = self._reader
        reader.error = error
        response = self._response
        if response is not None and reader.parts:
            # What came before the fault still goes to the client.
            parts, reader.parts = reader.parts, []
            response.body_received(b"".join(parts))
        self.timer.deadline = NEVER
        waiting, self._waiting = self._waiting, None
        response, self._response = self._response, None
        self.abort()
        if waiting is not None:
            waiting.errback(Failure(error))
        elif response is not None:
            response.body_ended(Failure(error))

    # ---- a 101: the connection is a tunnel now

    def _switch(self, rest: bytes) -> None:
        reader = self._reader
        if reader.error is not None or not reader.upgrade or self._waiting is None:
            self._fail(reader.error or UpstreamProtocolError(kind="protocol"))
            return
        pairs = [
            p
            for p in reader.pairs
            if p[0].lower() not in HOP_BY_HOP or p[0].lower() in (b"connection", b"upgrade")
        ]
        response = SwitchedResponse(self, 101, reader.reason, pairs, None)
        self._tunnel = True
        self._response = response
        self.timer.deadline = NEVER
        waiting, self._waiting = self._waiting, None
        if rest:
            response.body_received(rest)
        waiting.callback(response)

    def tunnel_write(self, data: bytes) -> None:
        if not self.closed:
            self._write(data)

    def tunnel_register_producer(self, producer: Any, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)

    def tunnel_unregister_producer(self) -> None:
        self.transport.unregisterProducer()

    def tunnel_close(self) -> None:
        """Send what is written, then close; the sweeper aborts what is never taken."""
        self._response = None
        self.timer.expect_close(self._clock())
        self.transport.loseConnection()

    # ---- flow control and time

    def pause_reading(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            if not self._rests:
                self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            if not self._tunnel and self._response is not None:
                self.timer.expect_body(self._clock())  # the time we held it back does not count
            if not self._rests:
                self.transport.resumeProducing()

    def sweep(self, now: float) -> None:
        """Called often while busy: notes what was read, and ends what is late."""
        timer, taking, response = self.timer, self._taking, self._response
        if taking is not None and self._waiting is not None:
            untaken = taking.look(now)
            if untaken and timer.is_stuck(now - taking.taken_at):
                self._late("The upstream stopped taking the request's body.", "timeout_upload")
            elif not untaken and self._upload is None:
                self._taking = None
                timer.expect_head(now)
        timer.note_reads(now, in_body=response is not None and not self._tunnel)
        if now < timer.deadline:
            return
        if timer.is_over(now):
            self._late("The request took longer than this proxy allows.", "timeout_total")
        elif self._waiting is not None:
            self._late("The upstream did not answer in time.", "timeout_first_byte")
        elif response is None:
            self.abort()  # a tunnel that never took its last bytes
        elif timer.is_silent(now, held=self._paused or self._rests):
            self._late("The upstream fell silent.", "timeout_idle")

    def _late(self, message: str, kind: str) -> None:
        self._fail(UpstreamTimeout(message, kind=kind))
