"""The Forward of recorded answers: finds what was recorded for a request, and gives it as it came.

Owned by the exchanger: at a reload a new one begins anew with all lists of
answers of one request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, cast

import orjson
from attrs import field, frozen
from twisted.internet.task import deferLater

from ...exchange.bodies import WholeBody
from ...exchange.buffered_bytes import TOO_MUCH_BUFFERED, BufferedBytes, Lease
from ...exchange.errors import InvalidJSON, Overloaded, RequestTooLarge
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse, RequestBody, ResponseBody
from ...exchange.record import HeaderPairs
from ...exchange.upstream_errors import UpstreamTimeout
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded
from ...wire.fault_kinds import Fault
from ...wire.request_json import read_request
from ..answer_timer import NEVER, UpstreamTimeouts
from ..made_body import MadeBody, Steps
from .cassette import Cassette, LinePosition
from .faults import FaultRule, disconnected, find_fault, stalled
from .match import Asked, asked_for_bytes, asked_for_json, first_difference
from .recorded import Recorded, answer_of_line

LARGEST_BODY_BYTES = 64 * 1024 * 1024
"""Of a form or another upload; JSON has the proxy's own limit."""
_WRONG = "The recorded answer to this request cannot be read any more: its file has changed since the start."


Record: TypeAlias = Callable[[ProxyRequest, ProxyResponse, Callable[[bytes], None]], ProxyResponse]
"""Given a request, its response and what takes the line; returns the response, watched."""


@frozen
class ReplayRules:
    """How recorded answers are given."""

    ignore: frozenset[str] = frozenset()
    repeat: Literal["last", "cycle", "error"] = "last"
    pace: float = 0.0
    """A factor on the recorded times: 0 for at once, 1 as they were."""
    faults: Sequence[FaultRule] = field(factory=tuple)


class ReplayForward:
    """Answer requests from a cassette.

    `redact` changes decoded JSON as what was recorded was changed, `scrub` a
    target. `live` gets what was not recorded; None refuses it. `record` makes a
    line of its answer, which is then given for the same request.
    """

    def __init__(
        self,
        name: str,
        cassette: Cassette,
        rules: ReplayRules,
        timeouts: UpstreamTimeouts,
        buffered: BufferedBytes,
        redact: Callable[[Any], Any],
        scrub: Callable[[str], str],
        timers: Any,
        clock: Callable[[], float],
        live: Forward | None = None,
        record: Record | None = None,
    ) -> None:
        self._name = name
        self._cassette = cassette
        self._rules = rules
        self._timeouts = timeouts
        self._buffered = buffered
        self._redact = redact
        self._scrub = scrub
        self._timers = timers
        self._clock = clock
        self._live = live
        self._record = record
        self._given: dict[bytes, int] = {}
        """How many answers each request has had that has been asked."""

    @property
    def recorded(self) -> int:
        """How many answers there are."""
        return len(self._cassette)

    async def __call__(self, request: ProxyRequest) -> ProxyResponse:
        exchange = request.exchange
        exchange.upstream = self._name
        started = self._clock()
        asked, request = await self._asked(request)
        fault = find_fault(self._rules.faults, request.endpoint, request.model or "")
        position = self._next_position(asked.key)
        if position is None and self._live is not None:
            response = await self._live(request)
            if self._record is None:
                return response
            return self._record(request, response, lambda line: self._cassette.append(asked.key, line))
        exchange.attempts += 1
        try:
            if fault is not None and fault.name == "status":
                return self._error(request, int(fault.value), "replay_fault", "A fault of [[replay.faults]].")
            if position is None:
                return self._miss(request, asked)
            try:
                answer = answer_of_line(self._cassette.load(position), _wants_usage(request))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return self._error(request, 502, "not_recorded", _WRONG)
            return await self._give(request, answer, fault, started)
        except UpstreamTimeout as error:
            exchange.upstream_error_kinds.append((self._name, error.kind))
            raise
        finally:
            exchange.upstream_s += self._clock() - started

    def _next_position(self, key: bytes) -> LinePosition | None:
        positions = self._cassette.find(key)
        if not positions:
            return None
        given = self._given.get(key, 0)
        self._given[key] = given + 1
        if given < len(positions):
            return positions[given]
        if self._rules.repeat == "error":
            return None
        return positions[given % len(positions)] if self._rules.repeat == "cycle" else positions[-1]

    # ---- what is asked

    async def _asked(self, request: ProxyRequest) -> tuple[Asked, ProxyRequest]:
        """Return what a request is matched by, and the request with its body at hand."""
        method = request.method.decode("ascii", "replace")
        target = self._scrub(request.target.decode("latin-1"))
        request = await self._whole(request)
        body = self._decoded(request)
        if body:
            try:
                document = read_request(body).document
            except InvalidJSON:
                pass
            else:
                return asked_for_json(method, target, self._redact(document), self._rules.ignore), request
        kinds = [value for name, value in request.headers if name.lower() == b"content-type"]
        return asked_for_bytes(method, target, body, kinds), request

    async def _whole(self, request: ProxyRequest) -> ProxyRequest:
        body: object = request.body
        if body is None or isinstance(body, bytes):
            return request
        if isinstance(body, WholeBody):
            body = body.data
        else:
            lease = self._lease(request)
            try:
                body = await cast(RequestBody, body).read(LARGEST_BODY_BYTES, lease.take)
            except RequestTooLarge:
                raise RequestTooLarge(
                    f"Recorded answers are found for bodies of at most {LARGEST_BODY_BYTES} bytes."
                ) from None
        if request.exchange.capture is not None:
            request.exchange.capture.request.feed(body)
        headers = [pair for pair in request.headers if pair[0].lower() != b"content-length"]
        return request.evolve(body=body, headers=[*headers, (b"Content-Length", b"%d" % len(body))])

    def _decoded(self, request: ProxyRequest) -> bytes:
        if request.text is not None:
            return request.text
        data = cast(bytes, request.body or b"")
        _, coding = media_type_and_coding(request.headers)
        decoded = maybe_decoded(data, coding, LARGEST_BODY_BYTES) if coding and data else None
        if decoded is None or not decoded[1]:
            return data
        if not self._lease(request).take(len(decoded[0])):
            raise Overloaded(TOO_MUCH_BUFFERED)
        return decoded[0]

    def _lease(self, request: ProxyRequest) -> Lease:
        lease = Lease(self._buffered)
        request.exchange.on_end(lease.free)
        return lease

    # ---- what is answered

    def _miss(self, request: ProxyRequest, asked: Asked) -> ProxyResponse:
        if self._cassette.find(asked.key):
            message = "The recorded answers to this request have all been given (replay.repeat is 'error')."
        else:
            message = "No answer is recorded for this request." + self._nearest(asked)
        return self._error(request, 404, "not_recorded", message)

    def _nearest(self, asked: Asked) -> str:
        """Say when the nearest request was recorded, and in which member it differs. No value is shown."""
        best: tuple[int, str, str] | None = None
        for position in self._cassette.of_route(asked.route):
            try:
                line = self._cassette.load(position)
                body = line["request"].get("body")
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            known = body
            if isinstance(body, dict):
                known = {name: value for name, value in body.items() if name not in self._rules.ignore}
            differing = _differing(known, asked.document)
            if best is None or differing < best[0]:
                best = differing, str(line.get("timestamp"))[:40], first_difference(known, asked.document)
        if best is None:
            return " Nothing is recorded for its method and path."
        where = f"differs in {best[2]}" if best[2] else "differs in its query or body"
        return f" The nearest one was recorded at {best[1]} and {where}."

    def _error(self, request: ProxyRequest, status: int, code: str, message: str) -> ProxyResponse:
        kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
        error = {"message": message, "type": kind, "param": None, "code": code}
        data = orjson.dumps({"error": error})
        headers: HeaderPairs = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(data)),
        ]
        headers.append((b"x-request-id", request.exchange.id.encode("ascii")))
        if code == "not_recorded":
            headers.append((b"x-should-retry", b"false"))
        body = WholeBody(b"" if request.method == b"HEAD" else data)
        request.undelivered.append(body)
        return ProxyResponse(status, _REASONS.get(status, b"Recorded"), headers, body)

    async def _give(
        self, request: ProxyRequest, answer: Recorded, fault: Fault | None, started: float
    ) -> ProxyResponse:
        pace = self._rules.pace
        if fault is not None and fault.name == "slow":
            pace = (pace or 1.0) * fault.value
        began_at = self._timers.seconds() + answer.head_s * pace
        await self._wait(answer.head_s * pace)
        steps: Steps = _paced(answer, pace)
        plain = pace == 0 and not answer.is_stream
        if fault is not None and fault.name in ("disconnect_after", "stall_s"):
            plain = False
            if fault.name == "disconnect_after":
                steps = disconnected(steps, int(fault.value))
            else:
                steps = stalled(steps, fault.value)
        body: ResponseBody
        if request.method == b"HEAD":
            body = WholeBody(b"")
        elif plain:
            body = WholeBody(b"".join(data for _, data in answer.chunks))
        else:
            total = self._timeouts.total
            left_s = None if total is None else max(0.0, started + total - self._clock())
            length = None if answer.is_stream else answer.size_bytes
            body = MadeBody(steps, self._timers, length, self._timeouts.idle, left_s, began_at)
        request.undelivered.append(body)
        return ProxyResponse(answer.status, answer.reason, answer.headers, body)

    async def _wait(self, delay_s: float) -> None:
        first_byte = self._timeouts.first_byte
        patience_s = NEVER if first_byte is None else first_byte
        if delay_s > 0:
            await deferLater(self._timers, min(delay_s, patience_s), lambda: None)
        if delay_s > patience_s:
            raise UpstreamTimeout(kind="timeout_first_byte")


_REASONS = {404: b"Not Found", 429: b"Too Many Requests", 500: b"Internal Server Error", 502: b"Bad Gateway"}


def _paced(answer: Recorded, pace: float) -> Iterator[tuple[float, bytes]]:
    before_s = answer.head_s
    for moment_s, data in answer.chunks:
        yield max(0.0, moment_s - before_s) * pace, data
        before_s = max(before_s, moment_s)


def _differing(recorded: Any, asked: Any) -> int:
    """Return in how many members two documents differ."""
    if not isinstance(recorded, dict) or not isinstance(asked, dict):
        return 1_000_000
    return sum(
        1
        for name in {*recorded, *asked}
        if name not in recorded or name not in asked or recorded[name] != asked[name]
    )


def _wants_usage(request: ProxyRequest) -> bool:
    options = (request.document or {}).get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
