"""A response on its way to the client, and how an exchange ends.

Takes an undelivered body, writes head and bytes to the client's socket with
back-pressure, and ends the exchange once: before the client can see the end
of the response. Knows the upstream only as a ResponseBody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ..exchange.errors import ProxyError
from ..exchange.messages import ProxyResponse, ResponseBody
from ..exchange.outcome import Outcome
from ..exchange.upstream_errors import UpstreamError, UpstreamTimeout
from ..logs import logger
from ..wire.headers import announced_length, without
from ..wire.render import connection_line, header_lines, response_head
from .comments import LAST_EVENT, Comments
from .contract import Downstream

log = logger(__name__)

BODILESS = frozenset((204, 304))


def whole_answer(response: ProxyResponse, body: bytes, http11: bool, keep_alive: bool) -> bytes:
    """Render a response whose body is known and passes as it is: what a Relay would write for it."""
    announced = announced_length(response.headers)
    if announced is not None and announced != len(body):
        raise ValueError(f"a response of {len(body)} bytes announces {announced}")
    lines = header_lines(response.headers) + connection_line(http11, keep_alive)
    return response_head(response.status, response.reason, lines) + body


BURST_BYTES = 256 * 1024
"""The most of one body that passes before others have their turn."""
_LAST_BYTES = 64
"""What is looked at of what came before a shorter read: the last event of a stream may come in pieces."""


@implementer(IPushProducer)
class Relay:
    """One response to one client.

    `hold_end`: an observer must have its record before the client sees the
    end, so the last bytes of a counted body wait for the upstream's end
    (they come in the same read). `later` calls a function in the next turn
    of the reactor: after each BURST_BYTES others have their turn, for what
    a read of a compressed body holds may be a thousand times as long.
    """

    __slots__ = (
        "_body",
        "_burst_bytes",
        "_chunked",
        "_clock",
        "_comments",
        "_downstream",
        "_ended",
        "_exchange",
        "_filters",
        "_head",
        "_head_sent",
        "_held",
        "_hold_end",
        "_is_paused",
        "_last",
        "_later",
        "_producer",
        "_remaining",
        "_response",
        "_rests",
        "_write",
    )

    def __init__(
        self,
        downstream: Downstream,
        response: ProxyResponse,
        write: Callable[[bytes], None],
        clock: Callable[[], float],
        hold_end: bool = False,
        later: Callable[[Callable[[], None]], object] | None = None,
        head_sent: bool = False,
    ) -> None:
        self._downstream = downstream
        self._exchange = downstream.exchange
        self._response: ProxyResponse | None = response
        self._write = write
        self._filters = response.filters
        self._clock = clock
        self._hold_end = hold_end
        self._later = later
        self._burst_bytes = 0
        self._rests = self._is_paused = False
        self._head = b""
        self._head_sent = head_sent
        self._comments: Comments | None = None
        self._chunked = False
        self._ended = False
        self._remaining: int | None = None
        self._held = b""
        self._last = b""
        self._body: ResponseBody | None = response.body
        self._producer: Any = None

    def start(self) -> None:
        """Write the head and take delivery of the body."""
        response, self._response = self._response, None
        assert response is not None
        self._head = self._render_head(response)
        if self._head_sent:
            self._head = b""
        if self._comments is not None and not self._chunked:
            self._no_comments()
        response.body.deliverBody(self)  # type: ignore[arg-type]  # quacks as IProtocol, without its cost
        if self._head and not self._ended:
            head, self._head = self._head, b""
            self._write(head)

    def _render_head(self, response: ProxyResponse) -> bytes:
        downstream = self._downstream
        headers = response.headers
        length = response.body.length
        framing = b""
        if downstream.is_head or response.status in BODILESS:
            self._filters = ()
        elif (
            length is not None
            and not self._head_sent
            and all(f.transparent for f in self._filters)
            and announced_length(headers) == length
        ):
            self._remaining = length
        else:
            headers = without(headers, b"content-length")
            if downstream.http11:
                self._chunked = True
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                downstream.set_last()
        keep_alive = downstream.keep_alive
        if not keep_alive:
            downstream.set_last()
        lines = header_lines(headers) + framing + connection_line(downstream.http11, keep_alive)
        return response_head(response.status, response.reason, lines)

    def keep_alive(self, every_s: float, call_later: Callable[[float, Callable[[], None]], Any]) -> None:
        """Write a comment after each silence of `every_s` seconds in a stream of events. Called before `start`.

        The body's first bytes may come with its delivery: a comment that does
        not know of them could be written into an event.
        """
        self._comments = Comments(
            every_s, self._clock, call_later, self._write, lambda: not (self._is_paused or self._head)
        )

    # ---- the body, as IProtocol

    def makeConnection(self, transport: Any) -> None:
        self._producer = transport

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on at once; the head goes with the first of them."""
        if self._ended:
            return
        if not self._exchange.response_bytes:
            self._exchange.response_first_body_at = self._clock()
        self._last = data if len(data) >= _LAST_BYTES else self._last[-_LAST_BYTES:] + data
        self._burst_bytes += len(data)
        if self._burst_bytes >= BURST_BYTES and self._later is not None:
            self._rest(self._later)
        for body_filter in self._filters:
            data = body_filter.feed(data)
        if not data:
            return
        self._exchange.response_bytes += len(data)
        if self._comments is not None:
            self._comments.passed(data)
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining < 0:
                self._break_length()
                return
            if self._remaining == 0 and self._hold_end:
                self._held = data
                return
        if self._head:
            data = self._head + data
            self._head = b""
        self._write(data)

    def connectionLost(self, reason: Failure) -> None:
        """The body is over: whole if the reason is ResponseDone, else cut."""
        if self._ended:
            return
        if isinstance(reason.value, ResponseDone):
            self._finish()
        else:
            error, upstream = reason.value, self._exchange.upstream
            if isinstance(error, ProxyError) and not isinstance(
                error, UpstreamError
            ):  # we ended it ourselves
                self._exchange.error_code = error.code
                self._break(error.outcome)
                return
            late = isinstance(error, UpstreamTimeout)
            if upstream is not None:  # else it is another exchange's call, and counted there
                kind = error.kind if isinstance(error, UpstreamError) else "truncated"
                self._exchange.upstream_error_kinds.append((upstream, kind))
                self._exchange.upstream_failure = (
                    error.log_text
                    if isinstance(error, UpstreamError)
                    else "The upstream broke off its answer."
                )
            self._break(Outcome.TIMEOUT if late else Outcome.UPSTREAM_TRUNCATED)

    def _break_length(self) -> None:
        """Break off: there are more bytes, or fewer, than the head announced, and what follows would be misread."""
        body = self._body
        log.error("a response had another length than its head said ({id})", id=self._exchange.id)
        self._break(Outcome.UPSTREAM_TRUNCATED)
        if body is not None:
            body.discard()

    def _finish(self) -> None:
        tail = self._finish_filters() if self._filters else b""
        if self._remaining is not None and self._remaining != len(tail):
            self._break_length()
            return
        self._over()
        last = self._head + self._held
        if tail:
            self._exchange.response_bytes += len(tail)
            last += b"%x\r\n%b\r\n" % (len(tail), tail) if self._chunked else tail
        if self._chunked:
            last += b"0\r\n\r\n"
        self._downstream.end_exchange(Outcome.COMPLETE)
        if last:
            self._write(last)
        self._downstream.response_complete()

    def _over(self) -> None:
        """Nothing passes any more: let go of the body, which holds on to this, so that both are freed at once."""
        self._ended = True
        self._body = self._producer = None
        self._no_comments()

    def _no_comments(self) -> None:
        if self._comments is not None:
            self._comments.stop()
            self._comments = None

    def _finish_filters(self) -> bytes:
        """Run every filter's rest through the filters after it."""
        tail = b""
        for body_filter in self._filters:
            tail = (body_filter.feed(tail) if tail else b"") + body_filter.finish()
        return tail

    def _break(self, outcome: Outcome) -> None:
        self._over()
        if self._head or self._held:
            self._write(self._head + self._held)
        self._downstream.end_exchange(outcome)
        self._downstream.response_broken()

    # ---- flow control and the client's end of it

    def _rest(self, later: Callable[[Callable[[], None]], object]) -> None:
        """Pause the upstream until others have had their turn."""
        self._burst_bytes = 0
        if not self._rests and self._producer is not None:
            self._rests = True
            self._producer.pauseProducing()
            later(self._go_on)

    def _go_on(self) -> None:
        self._rests = False
        if not self._is_paused:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        self._is_paused = True
        if not self._ended and self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        if not self._rests and not self._ended and self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        self.client_gone()

    def client_gone(self) -> None:
        """Stop the upstream at once, because nobody listens any more.

        SDKs leave at `data: [DONE]`, and agents at `response.completed`, a
        moment before the body ends: that is an exchange they had whole.
        """
        self._stop(Outcome.COMPLETE if self.had_all else Outcome.CLIENT_GONE)

    def cancel(self) -> None:
        """Stop for the operator: the upstream at once, then the client by a reset."""
        if not self._ended:
            self._stop(Outcome.CANCELLED)
            self._downstream.response_broken()

    def _stop(self, outcome: Outcome) -> None:
        if not self._ended:
            body = self._body
            self._over()
            if body is not None:
                body.discard()
            self._downstream.end_exchange(outcome)

    @property
    def had_all(self) -> bool:
        """Whether the client has the last event of a stream, as far as it came in the last read."""
        last = self._last
        if last[-16:].rstrip().endswith(b"[DONE]"):
            return True
        return last.endswith((b"\n", b"\r")) and LAST_EVENT.search(last) is not None

    def go_on_alone(self, limit_bytes: int, stop: Callable[[], None]) -> None:
        """The client has left: read on all the same, up to `limit_bytes`; then `stop` is called."""
        left = limit_bytes

        def count(data: bytes) -> None:
            nonlocal left
            left -= len(data)
            if left < 0:
                stop()

        self._write = count
        self._no_comments()
        self.resumeProducing()
