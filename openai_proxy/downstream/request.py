"""One request of a client, from its head to the end of its answer.

A twisted.web Request on its way through the resource tree, whatever answers
it: a page by `write` and `finish`, the API by `run`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from ..exchange.attribute_names import share_names
from ..exchange.bodies import WholeBody
from ..exchange.errors import ClientGone, InternalError, MethodNotAllowed, ProxyError
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse, ResponseBody, discard_all
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange, HeaderPairs
from ..exchange.upstream_errors import UpstreamError
from ..logs import logger
from ..net.direct_deferred import DirectDeferred
from ..net.sockets import authorities, cut
from ..net.twisted_request import WireRequest
from ..wire.body_headers import EVENT_STREAM, media_type_and_coding
from ..wire.headers import RequestHead
from ..wire.kept_lines import kept_lines
from ..wire.render import connection_line, header_lines, response_head
from ..wire.targets import API_METHODS, PAGE_METHODS, ApiPath, origin_form
from ..wire.web_origins import readable
from .body import IncomingBody
from .browsers import judge
from .contract import Connection, IncomingRequest
from .early_head import EarlyHead, error_chunk
from .late_error import as_late_error
from .relay import Relay, whole_answer
from .tunnel import Tunnel

log = logger(__name__)

CUT_AFTER_S = 0.5
"""How long the client of a cancelled exchange has to take what was written to it."""

_NO_LINES: HeaderPairs = []
"""Replaces lines that nobody reads any more. Never mutated, as no lines are."""
_HEADS = {kept: RequestHead(_NO_LINES, None, None, keep_alive=kept) for kept in (False, True)}
_NO_BODY = WholeBody(b"")
"""What is left of requests whose answer has begun and that are whole."""
_COMPLETE = Outcome.COMPLETE  # looking it up in its class takes as long as a call


def _nowhere(data: bytes) -> None:
    """Stands for the client of a call that goes on without it."""


def _is_plain_stream(response: ProxyResponse) -> bool:
    """Whether an answer is a stream of events that anybody can read."""
    kind, coding = media_type_and_coding(response.headers)
    return response.status == 200 and kind == EVENT_STREAM and not coding


class DownstreamRequest(WireRequest):
    """One request and its answer.

    States: unanswered, running (`running` is what the stages wait for), relayed
    (`relay` or a tunnel writes), answered. Leaves through exactly one of
    `response_complete`, `response_broken`, `refuse`, `connectionLost`; one
    that a page answers leaves as any Request does, through `finish`.
    """

    # Defaults stand in the class: an attribute that most requests never set costs them nothing.
    started_writing = False
    continued = False
    running: Deferred[Any] | None = None
    api_path: ApiPath
    """What the root of the tree found its target to be, if it is the API's."""
    admitted_by: Any = None
    """The API resource that counts it among its requests in flight, until the exchange ends."""
    readable: HeaderPairs | None = None
    """Lines that let the page of a listed web origin read the answer; None if nobody looked."""
    undelivered: list[ResponseBody] | None = None
    """What the stages received and have not given back yet; discarded if the exchange ends meanwhile."""
    sitepath: list[bytes]
    _stages: Any = None
    _relay: Relay | None = None
    _tunnel: Tunnel | None = None
    _cancelled: ProxyError | None = None
    """The error that the client gets if the operator stopped it."""
    _last = False
    _gone = False
    _alone_bytes = 0
    _early_head: EarlyHead | None = None
    """What begins a stream before the upstream answers, or has begun it."""

    def __init__(self, channel: Connection, incoming: IncomingRequest, exchange: Exchange) -> None:
        self.channel = channel
        self.site = channel.site
        self.method = incoming.method
        self.uri = incoming.target
        self.http11 = incoming.http11
        self.pairs = incoming.pairs
        self.incoming = incoming
        self.exchange = exchange
        self.is_head = incoming.method == b"HEAD"

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on this connection."""
        return (
            not self._gone
            and self.incoming.head.keep_alive
            and not self._last
            and self.incoming.body.complete  # else it lingers, and closes
            and not self.site.draining
            and self.channel.refusal is None
        )

    def set_last(self) -> None:
        self._last = True

    # ---- the way in

    def process(self) -> None:
        """Let the resource tree answer; errors of ours become its answer."""
        try:
            target = self.uri
            if target[:1] != b"/":
                self.uri = self._origin_form(target)
            self.render(self.site.getResourceFor(self))
        except ProxyError as error:
            self.refuse(error)
        except Exception:
            log.failure("defect while taking a request ({id})", id=self.exchange.id)
            self.refuse(InternalError())

    def _origin_form(self, target: bytes) -> bytes:
        """Return path and query of a target; raises ProxyError if it names another host, or none of our resources."""
        if self.method == b"CONNECT":
            raise MethodNotAllowed(API_METHODS)
        return origin_form(target, authorities(self.transport, 443 if self.isSecure() else 80))

    def check_page(self, page: Resource) -> None:
        """Before a page of our own answers: raise the ProxyError that refuses the request.

        `page` is the first of its path. Some have rules of their own: which
        methods there are on or below it (`below`), and which web origins may
        ask (`check_origin`).
        """
        check_origin = getattr(page, "check_origin", None)
        if check_origin is not None:
            check_origin(self)
        elif self.site.web_origins.looks:
            judge(self, is_page=True)
        methods = getattr(page, "below", PAGE_METHODS)
        if self.method not in methods:
            raise MethodNotAllowed(methods)
        for name, value in self.readable or ():
            self.responseHeaders.setRawHeaders(name, [value])
        if not self.keep_alive:
            self.set_last()
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def run(self, forward: Forward, asked: ProxyRequest) -> None:
        """Run the stages and answer with what they return or raise.

        Driven by hand: `Deferred.fromCoroutine` makes two Deferreds, a
        context and a cancellation record for what is one step to the
        upstream and one step back.
        """
        self._advance(start=partial(forward, asked))
        limits = self.site.limits
        if limits.keepalive_before_head and limits.keepalive_s is not None and self.running is not None:
            self._early_head = EarlyHead(self, limits.keepalive_s, self.site.call_later)

    def _advance(
        self, result: Any = None, start: Callable[[], Awaitable[ProxyResponse]] | None = None
    ) -> None:
        """Begin with `start`, or go on, until the stages wait again, or end.

        As the callback of what they waited for. They take a result from the
        Deferred itself; a failure has to be thrown in, for a Deferred that
        runs its callbacks does not raise yet.
        """
        try:
            if start is not None:
                self._stages = start()
            if isinstance(result, Failure):
                waiting = result.throwExceptionIntoGenerator(self._stages)
            else:
                waiting = self._stages.send(None)
        except ProxyError as error:
            self.running = None
            self.refuse(self._cancelled or error)
        except StopIteration as stop:
            self.running = None
            try:
                self._respond(stop.value)
            except Exception:
                stop.value.body.discard()
                self._defect(Failure())
        except Exception:
            self._fail(Failure())
        else:
            self.running = waiting
            if type(waiting) is DirectDeferred:
                waiting.waiter = self._advance
            else:
                waiting.addBoth(self._advance)

    def _respond(self, response: ProxyResponse) -> None:
        if self._gone:
            self._respond_to_nobody(response)
            return
        self.undelivered = None
        if self.readable:
            response = response.evolve(headers=readable(response.headers, self.readable))
        exchange = self.exchange
        head_sent = self._early_head is not None and self._end_early_head()
        if head_sent and not _is_plain_stream(response):
            exchange.note_error(str(response.status))
            response = as_late_error(response)
        exchange.status = response.status
        exchange.reason = response.reason
        exchange.response_headers = response.headers
        exchange.first_byte_at = exchange.first_byte_at or self.channel.clock()
        self.started_writing = True
        if response.status == 101:
            self._tunnel = Tunnel(self, self.channel, response)
            self._tunnel.start()
            return
        if not self.is_head and not head_sent:
            whole = response.body.whole
            if whole is not None and (
                not response.filters or all(each.transparent for each in response.filters)
            ):
                self._answer_whole(response, whole)
                return
        if exchange.capture is not None:
            watcher = exchange.capture.response_filter(response.headers)
            response = response.filtered(watcher)
        relay = self._relay = Relay(
            self,
            response,
            self.channel.write,
            self.channel.clock,
            self.site.hold_end,
            self.site.later,
            head_sent,
        )
        self.channel.registerProducer(relay, True)
        every_s = self.site.limits.keepalive_s
        if every_s is not None and _is_plain_stream(response):
            relay.keep_alive(every_s, self.site.call_later)
        relay.start()
        self._forget_beginning(response)

    def _forget_beginning(self, response: ProxyResponse) -> None:
        """Let go of what only the beginning of a stream needed, because the rest may take long.

        Nothing of it is asked for again but the lines, by observers, and by
        some of them the body.
        """
        exchange, incoming, channel = self.exchange, self.incoming, self.channel
        if exchange.outcome is not None or channel is None:
            return  # it is over
        self._stages = None
        del self.path, self.prepath, self.postpath, self.sitepath
        exchange.request_headers = kept_lines(incoming.pairs)
        exchange.response_headers = kept_lines(response.headers)
        incoming.pairs = self.pairs = _NO_LINES
        body = incoming.body
        if body.complete:
            incoming.head, incoming.body = _HEADS[incoming.head.keep_alive], _NO_BODY
        elif isinstance(body, IncomingBody):
            incoming.head.forward = _NO_LINES
            body.keep_nothing()
        if exchange.capture is None:
            exchange.request_body = None
        channel.reader.rest()

    def _end_early_head(self) -> bool:
        """Let the early head write nothing more; return whether it has written one."""
        early = self._early_head
        if early is None:
            return False
        early.end()
        return early.is_sent

    def _respond_to_nobody(self, response: ProxyResponse) -> None:
        """Read the answer of a call that goes on without its client; otherwise discard it."""
        exchange = self.exchange
        if not exchange.is_alone or response.status == 101:
            response.body.discard()
            return
        self.undelivered = None
        exchange.status = response.status
        exchange.reason = response.reason
        exchange.response_headers = response.headers
        if exchange.capture is not None:
            response = response.filtered(exchange.capture.response_filter(response.headers))
        site = self.site
        relay = self._relay = Relay(self, response, _nowhere, site.clock, False, site.next_turn)
        relay.go_on_alone(self._alone_bytes, self._stop_alone)
        relay.start()

    def _answer_whole(self, response: ProxyResponse, body: bytes) -> None:
        """Answer in one write, without a Relay: the whole body is there and goes on as it is."""
        for watcher in response.filters:
            body = (watcher.feed(body) if body else b"") + watcher.finish()
        exchange = self.exchange
        if exchange.capture is not None:
            exchange.capture.response.feed(body)
        exchange.response_bytes = len(body)
        keep_alive = self.keep_alive
        data = whole_answer(response, body, self.http11, keep_alive)
        self.end_exchange(_COMPLETE)
        channel, self.channel = self.channel, None
        channel.write(data)
        channel.request_done(keep_alive)

    def _fail(self, failure: Failure) -> None:
        self.running = None
        error = self._cancelled or failure.value
        if isinstance(error, ProxyError):
            self.refuse(error)
        elif isinstance(error, CancelledError | ClientGone):
            self.end_exchange(Outcome.CLIENT_GONE)
            if not self._gone:
                self.response_broken()
        else:
            self._defect(failure)

    def _defect(self, failure: Failure) -> None:
        log.failure("defect while handling a request ({id})", failure, id=self.exchange.id)
        self.refuse(InternalError())

    # ---- the ways out

    def cancel(self, error: ProxyError) -> None:
        """Stop the exchange for the operator: the upstream at once; the client receives `error`, or its begun response breaks off."""
        if self.exchange.outcome is not None:
            return
        relay, tunnel, running = self._relay, self._tunnel, self.running
        if relay is not None or tunnel is not None:
            channel = self.channel
            (relay or tunnel).cancel()  # type: ignore[union-attr]  # one of them is there
            if channel is None:
                return  # its client has left before
            transport = channel.transport
            # a client that does not read what was written is not waited for
            self.site.call_later(CUT_AFTER_S, lambda: cut(transport))
            return
        self._cancelled, self.running = error, None
        if running is not None:
            running.cancel()  # the stages raise, and `_fail` refuses, unless they have something to wait for
        if self.exchange.outcome is None:
            self.refuse(error)
        self._gone = True

    def refuse(self, error: ProxyError) -> None:
        """Answer with an error of our own; break off if a head went out already."""
        exchange = self.exchange
        if isinstance(error, UpstreamError):
            exchange.upstream_failure = error.log_text
        if self._gone:
            self.end_exchange(error.outcome if exchange.is_alone else Outcome.CLIENT_GONE)
            return
        if self.started_writing:
            if self._relay is None and self._end_early_head():
                exchange.error_code = error.code
                self.end_exchange(error.outcome)
                if self.channel is not None:
                    self.channel.write(error_chunk(error.body()))
            self.end_exchange(error.outcome)
            self.response_broken()
            return
        self.started_writing = True
        exchange.status = error.status
        exchange.error_code = error.code
        body = error.body()
        kind, length = (b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))
        headers = [
            (b"x-request-id", exchange.id.encode("ascii")),
            *error.headers,
            *self._readable_error(),
        ]
        lines = header_lines([kind, length, *headers]) + connection_line(self.http11, self.keep_alive)
        answer = response_head(error.status, error.reason, lines)
        if not self.is_head:
            answer += body
            exchange.response_bytes += len(body)
            if exchange.capture is not None:
                exchange.capture.response.feed(body)
        exchange.response_headers = [kind, *headers]
        exchange.first_byte_at = self.channel.clock()
        self.end_exchange(error.outcome)
        self.channel.write(answer)
        self.response_complete()

    def _readable_error(self) -> HeaderPairs:
        """Return the lines that let a page read an error: without them it sees "Failed to fetch"."""
        whole = self.incoming.method != b"-"
        return self.site.web_origins.error_lines(self.incoming.pairs, whole)  # type: ignore[no-any-return]

    def end_exchange(self, outcome: Outcome) -> None:
        """End the record, once, and hand it to the observers."""
        if self._early_head is not None:
            self._early_head.end()
        admitted_by, self.admitted_by = self.admitted_by, None
        if admitted_by is not None:
            admitted_by.left(self)
        if self.undelivered:
            discard_all(self.undelivered)
        self.site.end_exchange(self.exchange, outcome)

    def response_complete(self) -> None:
        channel, self._relay = self.channel, None
        if channel is not None:
            keep_alive = self.keep_alive
            self.channel = None
            channel.request_done(keep_alive)

    def response_broken(self) -> None:
        channel, self._relay = self.channel, None
        if channel is not None:
            self.incoming.body.stopProducing()
            channel.abort_when_flushed()

    def connectionLost(self, reason: Failure) -> None:
        """Stop whatever works for the client, which has left, unless the call goes on without it."""
        self._gone = True
        if self._early_head is not None:
            self._early_head.end()
        self.incoming.body.fail(ClientGone())
        if not self._goes_on_alone():
            self._stop_all()
        super().connectionLost(reason)

    def _goes_on_alone(self) -> bool:
        """Let the upstream call go on without its client, if that is wanted and it still runs."""
        exchange, relay = self.exchange, self._relay
        finish = exchange.finish_alone
        if finish is None or exchange.outcome is not None:
            return False
        if self.running is None if relay is None else relay.had_all:
            return False
        bytes_left = finish(self._stop_alone)
        if bytes_left is None:
            return False
        exchange.is_alone = True
        self._alone_bytes = bytes_left
        if relay is not None:
            relay.go_on_alone(self._alone_bytes, self._stop_alone)
        return True

    def _stop_alone(self) -> None:
        """Stop a call that has gone on long enough without its client."""
        self.exchange.is_alone = False
        self._stop_all()

    def _stop_all(self) -> None:
        relay, self._relay = self._relay, None
        running, self.running = self.running, None
        if relay is not None:
            relay.client_gone()
        elif running is not None:
            running.cancel()
        if relay is not None or self._stages is not None:
            self.end_exchange(Outcome.CLIENT_GONE)


share_names(
    DownstreamRequest,
    """channel site method uri http11 pairs incoming exchange is_head path prepath postpath sitepath api_path
    admitted_by undelivered readable running started_writing _stages _relay _last _gone""",
)
