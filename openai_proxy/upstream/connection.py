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
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from ..exchange.bodies import BODY_DONE, WholeBody
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
from .answer_timer import NEVER, AnswerTimer, UpstreamTimeouts
from .body import Taking, Upload
from .contract import ConnectionOwner, Key
from .response import UpstreamBody, UpstreamResponse
from .response_reader import HEAD_BYTES, ResponseReader, too_large
from .tunnel import SwitchedBody, switched_lines

AT_ONCE_BYTES = 4096
"""The kernel takes a request up to this size at once: nobody asks how much of it the upstream has."""
LARGE_READ_BYTES = 4096
"""No smaller piece of a body takes long to decode and filter."""


@implementer(IHandshakeListener)
class UpstreamConnection(TwistedProtocol):
    """States: connecting, idle, busy (`_waiting` or `_body` set), tunnel, closed.

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
        self._body: UpstreamBody | None = None
        self._upload: Upload | None = None
        self._taking: Taking | None = None
        """Set for a request that may not be sent whole yet, or was not when it was looked at last."""
        self._tunnel = False
        self._paused = False
        self._rests = False

    @property
    def busy(self) -> bool:
        return self._waiting is not None or self._body is not None

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

    def connectionLost(self, reason: Failure = BODY_DONE) -> None:
        self.closed = True
        self.timer.deadline = NEVER
        self._stop_upload()
        waiting, self._waiting = self._waiting, None
        body, self._body = self._body, None
        self._owner.connection_closed(self, reason)
        self._write = self._reader.parser = None  # they hold us, and each other: no cycles for the collector
        if waiting is not None:
            waiting.errback(Failure(self._reader.error or self._lost_before_head(reason)))
        elif body is not None:
            body.end(self._end_of_body(reason))

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
            return BODY_DONE if reason.check(ConnectionDone) else reason
        return reason

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
        self._taking = None
        self.timer.begin(started, not upgrade)
        waiting: DirectDeferred[UpstreamResponse] = DirectDeferred(self._cancelled)
        self._waiting = waiting
        if body is None or type(body) is WholeBody:
            data = head if body is None else head + body.data
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

    def _start_upload(self, body: IBodyProducer) -> None:
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
            if self._body is not None:
                self._body.feed(data)
            return
        if self._waiting is None and self._body is None:
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
        body = self._body
        if body is not None and not reader.complete and reader.error is None:
            # One more piece of a stream: all that `_dispatch` would do, a call less.
            parts = reader.parts
            if parts:
                reader.parts = []
                piece = parts[0] if len(parts) == 1 else b"".join(parts)
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
        if worked_s > SHORT_S and self._body is body and not (self.closed or self._aborted):
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
        parts = reader.parts
        if reader.complete:
            self._end_body(body)
        elif self._waiting is not None:
            self._body = body
            waiting, self._waiting = self._waiting, None
            self.timer.expect_body(self._clock())
            if parts:
                reader.parts = []
                body.feed(parts[0] if len(parts) == 1 else b"".join(parts))
            waiting.callback(UpstreamResponse(reader.status, reader.reason, reader.pairs, body))
            if error is not None:
                self._fail(error)  # inside the body that came in the same read
            elif not body.taken and self._body is body:
                self.pause_reading()
        elif parts:
            reader.parts = []
            body.feed(parts[0] if len(parts) == 1 else b"".join(parts))

    def _end_body(self, body: UpstreamBody) -> None:
        """The message is whole: free the connection first, then tell."""
        reader = self._reader
        parts, reader.parts = reader.parts, []
        waiting, self._waiting = self._waiting, None
        self._body = None
        if parts:
            body.feed(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        response = UpstreamResponse(
            reader.status, reader.reason, reader.pairs, body
        )  # a free reader is reset
        self._release()
        body.end(BODY_DONE)
        if waiting is not None:
            waiting.callback(response)

    def _end_whole(self, length: int) -> None:
        """The message is whole, and nobody has seen its head yet: nearly every answer that is no stream."""
        reader = self._reader
        body = reader.parts[0] if len(reader.parts) == 1 else b"".join(reader.parts)
        if len(body) != length:
            self._fail(UpstreamProtocolError(kind="protocol"))
            return
        response = UpstreamResponse(reader.status, reader.reason, reader.pairs, WholeBody(body))
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
        if self._body is not None and reader.parts:
            # What came before the fault still goes to the client.
            parts, reader.parts = reader.parts, []
            self._body.feed(b"".join(parts))
        self.timer.deadline = NEVER
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
        self._tunnel = True
        self._body = body
        self.timer.deadline = NEVER
        waiting, self._waiting = self._waiting, None
        if rest:
            body.feed(rest)
        waiting.callback(UpstreamResponse(101, reader.reason, switched_lines(reader.pairs), body))

    def close_tunnel(self) -> None:
        """Send what is written, then close; the sweeper aborts what is never taken."""
        self._body = None
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
            if not self._tunnel and self._body is not None:
                self.timer.expect_body(self._clock())  # the time we held it back does not count
            if not self._rests:
                self.transport.resumeProducing()

    def sweep(self, now: float) -> None:
        """Called often while busy: notes what was read, and ends what is late."""
        timer, taking, body = self.timer, self._taking, self._body
        if taking is not None and self._waiting is not None:
            untaken = taking.look(now)
            if untaken and timer.is_stuck(now - taking.taken_at):
                self._late("The upstream stopped taking the request's body.", "timeout_upload")
            elif not untaken and self._upload is None:
                self._taking = None
                timer.expect_head(now)
        timer.note_reads(now, in_body=body is not None and not self._tunnel)
        if now < timer.deadline:
            return
        if timer.is_over(now):
            self._late("The request took longer than this proxy allows.", "timeout_total")
        elif self._waiting is not None:
            self._late("The upstream did not answer in time.", "timeout_first_byte")
        elif body is None:
            self.abort()  # a tunnel that never took its last bytes
        elif timer.is_silent(now, held=self._paused or self._rests):
            self._late("The upstream fell silent.", "timeout_idle")

    def _late(self, message: str, kind: str) -> None:
        self._fail(UpstreamTimeout(message, kind=kind))
