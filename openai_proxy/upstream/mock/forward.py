"""The mock upstream's Forward: reads a request, lets time pass, gives a response with its body.

Owned by the exchanger; what it keeps in `memory` outlives reloads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from ...exchange.bodies import WholeBody
from ...exchange.buffered_bytes import TOO_MUCH_BUFFERED, BufferedBytes, Lease
from ...exchange.errors import InvalidJSON, Overloaded, RequestTooLarge
from ...exchange.messages import ProxyRequest, ProxyResponse, RequestBody, ResponseBody
from ...exchange.upstream_errors import UpstreamTimeout
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded
from ...wire.mock_url import MockParameters
from ...wire.request_json import read_request
from ..answer_timer import NEVER, UpstreamTimeouts
from ..made_body import Cut, MadeBody, Steps
from .answers import Question, answer, takes_body
from .memory import LARGEST_FILE_BYTES, MIB, MockMemory
from .reply import Estimate, Pieces, Refusal, Reply

LARGEST_BODY_BYTES = LARGEST_FILE_BYTES + MIB
"""Of a form; JSON has the proxy's own limit."""
_LONGEST_JSON = 64 * MIB
_BROKEN_AFTER = 6
"""Events that the special models send before they stall or cut."""


class MockForward:
    """Answer requests as `answers` says, in the time that `parameters` gives.

    `timers` is the reactor. A request in it is cancelled as any other; a body
    that is discarded leaves no timer.
    """

    def __init__(
        self,
        name: str,
        parameters: MockParameters,
        timeouts: UpstreamTimeouts,
        memory: MockMemory,
        buffered: BufferedBytes,
        estimate: Estimate,
        timers: Any,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._parameters = parameters
        self._timeouts = timeouts
        self._memory = memory
        self._buffered = buffered
        self._estimate = estimate
        self._timers = timers
        self._clock = clock
        # the same requests in the same order fail in every run
        self._draw = random.Random(0).random

    async def __call__(self, request: ProxyRequest) -> ProxyResponse:
        exchange = request.exchange
        exchange.upstream = self._name
        exchange.attempts += 1
        started = self._clock()
        try:
            return await self._answer(request, started)
        except UpstreamTimeout as error:
            exchange.upstream_error_kinds.append((self._name, error.kind))
            raise
        finally:
            exchange.upstream_s += self._clock() - started

    async def _answer(self, request: ProxyRequest, started: float) -> ProxyResponse:
        question = await self._question(request)
        model = question.path_model or (question.document or {}).get("model")
        reply = self._failure(model) or answer(question)
        head_s = self._parameters.latency_s
        if reply.pieces is None:
            head_s += self._seconds(reply.tokens)
            if model == "mock-stall" and reply.status == 200:
                head_s = NEVER
        await self._wait(head_s)
        total_s = self._timeouts.total
        left_s = None if total_s is None else max(0.0, started + total_s - self._clock())
        return self._response(request, reply, model, left_s)

    def _failure(self, model: object) -> Reply | None:
        """Return the answer of what fails on purpose, None if nothing does."""
        if model == "mock-429":
            return Refusal(
                "Rate limit reached for mock-429: this model of the mock upstream always says so.",
                status=429,
                reason=b"Too Many Requests",
                kind="requests",
                code="rate_limit_exceeded",
                headers=((b"retry-after", b"1"),),
            ).reply()
        if model == "mock-500" or (
            self._parameters.error_rate and self._draw() < self._parameters.error_rate
        ):
            return Refusal(
                "The mock upstream fails on purpose (mock-500, or error_rate).",
                status=500,
                reason=b"Internal Server Error",
                kind="server_error",
            ).reply()
        return None

    # ---- the request

    async def _question(self, request: ProxyRequest) -> Question:
        method = request.method.decode("ascii", "replace")
        body = b""
        if not request.upgrade and takes_body(method, request.endpoint):
            body = await self._body(request)
        return Question(
            # a handshake is a GET, and no WebSocket is opened here
            "WEBSOCKET" if request.upgrade else method,
            request.endpoint,
            request.target,
            body,
            None if request.endpoint == "files" else _document(body),
            request.path_model,
            tuple(value for name, value in request.headers if name.lower() == b"content-type"),
            self._memory,
            self._estimate,
        )

    async def _body(self, request: ProxyRequest) -> bytes:
        if request.text is not None:
            return request.text
        body: object = request.body
        if isinstance(body, WholeBody):
            body = body.data
            if len(body) > LARGEST_BODY_BYTES:
                raise _too_large()
        elif body is not None and not isinstance(body, bytes):
            lease = Lease(self._buffered)
            request.exchange.on_end(lease.free)
            try:
                body = await cast(RequestBody, body).read(LARGEST_BODY_BYTES, lease.take)
            except RequestTooLarge:
                raise _too_large() from None
        data = body or b""
        if body is not request.body and request.exchange.capture is not None:
            request.exchange.capture.request.feed(data)
        _, coding = media_type_and_coding(request.headers)
        if not coding:
            return data
        decoded = maybe_decoded(data, coding, _LONGEST_JSON)
        if decoded is None or not decoded[1]:
            return b""
        lease = Lease(self._buffered)
        if not lease.take(len(decoded[0])):
            raise Overloaded(TOO_MUCH_BUFFERED)
        request.exchange.on_end(lease.free)
        return decoded[0]

    # ---- time

    def _seconds(self, tokens: int) -> float:
        speed = self._parameters.tokens_per_s
        return tokens / speed if speed and tokens else 0.0

    async def _wait(self, delay_s: float) -> None:
        """Wait for the head, as long as one may be waited for."""
        first_byte, total = self._timeouts.first_byte, self._timeouts.total
        patience_s = min(NEVER if limit is None else limit for limit in (first_byte, total))
        if delay_s <= 0:
            return
        if min(delay_s, patience_s) == NEVER:
            await Deferred()  # only the client can end this
        await deferLater(self._timers, min(delay_s, patience_s), lambda: None)
        if delay_s > patience_s:
            if patience_s == total:
                raise UpstreamTimeout("The request took longer than this proxy allows.", kind="timeout_total")
            raise UpstreamTimeout(kind="timeout_first_byte")

    # ---- the response

    def _response(
        self, request: ProxyRequest, reply: Reply, model: object, total_s: float | None
    ) -> ProxyResponse:
        headers = [
            (b"Content-Type", reply.content_type),
            (b"x-request-id", b"req_" + request.exchange.id.removeprefix("proxy-").encode("ascii")),
            *reply.headers,
        ]
        body: ResponseBody
        steps: Steps | None = None
        length: int | None = None
        if reply.pieces is not None:
            steps = self._timed(reply.pieces, model)
        else:
            length = len(reply.data)
            headers.append((b"Content-Length", b"%d" % length))
            if model == "mock-cut" and reply.status == 200:
                steps = _cut_in_half(reply.data)
        if request.method == b"HEAD":
            body = WholeBody(b"")
        elif steps is None:
            body = WholeBody(reply.data)
        else:
            body = MadeBody(steps, self._timers, length, self._timeouts.idle, total_s)
        request.undelivered.append(body)
        return ProxyResponse(reply.status, reply.reason, headers, body)

    def _timed(self, pieces: Pieces, model: object) -> Steps:
        if model in ("mock-stall", "mock-cut"):
            for tokens, data in islice(pieces, _BROKEN_AFTER):
                yield self._seconds(tokens), data
            if model == "mock-cut":
                raise Cut
            yield NEVER, b""
        for tokens, data in pieces:
            yield self._seconds(tokens), data


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"The mock upstream takes uploads of at most {LARGEST_BODY_BYTES} bytes.")


def _cut_in_half(data: bytes) -> Iterator[tuple[float, bytes]]:
    yield 0.0, data[: len(data) // 2]
    raise Cut


def _document(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, None if it is none."""
    if not body:
        return None
    try:
        return read_request(body).document
    except InvalidJSON:
        return None
