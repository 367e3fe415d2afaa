"""Read the usage of each response; have streams report it that do not by themselves.

Inside the removal of thoughts (it reads what the model wrote) and outside
the cache (hits report their usage too).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...exchange.bounded_memo import BoundedMemo
from ...exchange.messages import BodyFilter, Forward, Kind, ProxyRequest, ProxyResponse
from ...exchange.record import Exchange
from ...exchange.usage import Usage
from ...wire.body_headers import EVENT_STREAM, JSON, ask_identity, is_event_stream, media_type_and_coding
from ...wire.by_beginning import ByBeginning
from ...wire.codings import maybe_decoded
from ...wire.documents import maybe_object
from ...wire.first_events import error_of_document, error_of_failed_response
from ...wire.json_edits import append_members, rendered_members, replace_nested
from ..bodies.changed_json import with_json
from ..bodies.decoded_body import decoded
from ..bodies.peeked_body import peek
from .answer_labels import AnswerLabels, note_document
from .document_errors import ERROR_BYTES, WatchDocumentError
from .estimate import SMALL_BYTES, estimated_input_tokens, estimated_prompt_tokens
from .filters import HideUsage, ReadUsageWhole, WatchUsage
from .meter import UsageMeter
from .objects import usage_of_document

_ESTIMATED = frozenset(("chat/completions", "completions", "responses", "embeddings", "realtime"))
_OF_RESPONSES = frozenset(("responses", "realtime"))
"""Whose events have the usage, and each text once more, inside a response."""
_REPORTING = _ESTIMATED | {
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "decisions",
    "edits",
    "images/generations",
    "images/edits",
    "responses/compact",
    "threads/runs",
    "threads/{id}/runs",
    "threads/{id}/runs/{id}/submit_tool_outputs",
}
"""Where answers, or the streams of them, say what they cost (OpenAI's OpenAPI description)."""
_INJECTABLE = frozenset(("chat/completions", "completions"))
_ASKED = rendered_members({"stream_options": b'{"include_usage":true}'})

_READ = (EVENT_STREAM, JSON)
_PLAIN_JSON = ((JSON, b""), (b"", b""))
"""Some servers send no type with their JSON, or an empty one."""
_REFUSALS = frozenset((400, 422))
_PEEK_BYTES = 64 * 1024
_WHOLE_BYTES = 32 * 1024
_KEPT_MODELS = 1000
"""The most model names that are remembered: clients choose them."""
FORGET_AFTER_S = 600.0
"""After so long an upstream that refused `stream_options` is tried again."""


class _Reading:
    """What is known of one response's usage; completes the exchange's record when it ends."""

    __slots__ = ("exchange", "input_tokens", "is_told", "meter", "text")

    def __init__(self, request: ProxyRequest) -> None:
        self.exchange = request.exchange
        self.meter: UsageMeter | ReadUsageWhole | None = None
        self.is_told = False
        self.input_tokens: int | None = None
        """Of the prompt, where they were estimated before."""
        self.text: bytes | None = None
        """The JSON object that they are estimated by, if need be; of a compressed body only the size is known."""
        if request.document is not None:
            text = request.json
            if request.prompt_estimate is not None and len(text) >= SMALL_BYTES:
                self.input_tokens = request.prompt_estimate
            else:
                self.text = text

    def found(self, usage: Usage) -> None:
        before = self.exchange.usage
        if (
            before is None or before.estimated or usage.total_tokens or usage.kinds
        ):  # else zeros after the usage
            self.exchange.usage = usage
        self.is_told = True
        self.text = None  # not needed any more

    def settle(self, exchange: Exchange) -> None:
        """Estimate if nothing was reported. Called when the exchange ends, however it ends."""
        meter, self.meter = self.meter, None
        if exchange.usage is None and meter is not None:
            meter.flush()  # a body that broke off may have said it before
            is_estimated = exchange.endpoint in _ESTIMATED and not exchange.goes_on
            if exchange.usage is None and not self.is_told and is_estimated:
                exchange.usage = Usage(self._input_tokens(), meter.estimated_output_tokens, estimated=True)
        self.text = None

    def _input_tokens(self) -> int:
        if self.input_tokens is not None:
            return self.input_tokens
        document = maybe_object(self.text) if self.text is not None else None
        if document is None:
            return estimated_prompt_tokens(self.exchange.request_bytes)
        return estimated_input_tokens(document)


class ReadUsage:
    """Set `exchange.usage` from what the upstream reports, else an estimate.

    With `inject`, `stream_options.include_usage` is added to streamed
    requests whose client did not ask, and the extra chunk is hidden. An
    upstream that refuses it is asked again without, at once, and spared
    for ten minutes. `clock` gives monotonic seconds.

    What must be read here or outside (`read_outside` says it for a request) is
    asked for without compression; if it comes compressed all the same, it
    is decoded here.

    `lacks_price` says of an exchange whether there is no price for the model
    that was asked for: then the model that the answer names is noted.
    """

    def __init__(
        self,
        inject: bool,
        clock: Callable[[], float],
        read_outside: Callable[[ProxyRequest], bool] | None = None,
        lacks_price: Callable[[Exchange], bool] | None = None,
    ) -> None:
        self._inject = inject
        self._lacks_price = lacks_price
        self._clock = clock
        self._read_outside = read_outside
        self._refused_until: dict[str, float] = {}
        self._last_upstream: BoundedMemo[str, str] = BoundedMemo(_KEPT_MODELS)
        """By model, as routing goes by it: which upstream is going to be asked."""

    def concerns(self, kind: Kind) -> bool:
        return kind.method == b"POST" and not kind.upgrade and kind.endpoint in _REPORTING

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange = request.exchange
        if request.method != b"POST" or request.upgrade or exchange.endpoint not in _REPORTING:
            return await forward(request)
        asking = self._ask(request) if self._inject else request
        response = await forward(asking)
        media = media_type_and_coding(response.headers)
        wants_model = self._lacks_price is not None and self._lacks_price(exchange)
        if asking is request:
            if exchange.usage is not None:  # a hit of the cache brought it
                if self._read_outside is None:
                    return response
                return self._plain(request, response, media, hide=False)
            if _read_at_once(response, media, exchange, wants_model):
                return response
            code = _maybe_error(response, media)
            if code is not None:
                exchange.note_error(code)
                return response
        if asking is not request and response.status in _REFUSALS:
            response, refused = await _judge(response)
            if refused:
                response.body.discard()
                asking = request
                response = await forward(request)
                media = media_type_and_coding(response.headers)
                wants_model = self._lacks_price is not None and self._lacks_price(exchange)
                if response.status not in _REFUSALS:  # else it was something of the client's own
                    self._remember(request)
        if not 200 <= response.status < 300:
            return response
        plain = self._plain(request, response, media, asking is not request)
        if plain is not response:
            response, media = plain, (media[0], b"")
        reading = _Reading(request)
        body_filter = _choose(reading, response, media, asking is not request, wants_model)
        if reading.meter is not None:
            exchange.complete_usage = reading.settle
            if type(reading.meter) is UsageMeter and exchange.endpoint in _ESTIMATED:
                exchange.output_events = reading.meter.output_events
        if _may_be_error(response, media, exchange):
            response = response.filtered(WatchDocumentError(exchange))
        return response if body_filter is None else response.filtered(body_filter)

    def _plain(
        self, request: ProxyRequest, response: ProxyResponse, media: tuple[bytes, bytes], hide: bool
    ) -> ProxyResponse:
        """Return the response decoded if it must be read and is compressed, else the very same one.

        `media` are its type and coding.
        """
        outside = self._read_outside
        if not (hide or outside is not None) or not 200 <= response.status < 300:
            return response
        media_type, coding = media
        if not coding or media_type not in _READ:
            return response
        if (hide and is_event_stream(media_type)) or (outside is not None and outside(request)):
            return decoded(response)
        return response

    def _ask(self, request: ProxyRequest) -> ProxyRequest:
        """Return the request with usage asked for, or the very same one."""
        document = request.document
        if request.exchange.endpoint not in _INJECTABLE or document is None:
            return request
        if document.get("stream") is not True or self._is_spared(request):
            return request
        options = document.get("stream_options")
        text = request.json
        if options is None and "stream_options" not in document and not request.odd_names:  # nearly always
            text = append_members(text, _ASKED)
            options = {}
        else:
            options = {} if options is None else options
            # Only `true` asks: a server may take 0 or "no" for either.
            if not isinstance(options, dict) or _asks(options):
                return request
            text = replace_nested(
                text, "stream_options", {"include_usage": b"true"}, document, request.odd_names
            )
        asked = {**document, "stream_options": {**options, "include_usage": True}}
        return with_json(request, text, asked, ask_identity(request.headers))

    def _is_spared(self, request: ProxyRequest) -> bool:
        if not self._refused_until:
            return False
        upstream = self._last_upstream.get(_model(request), "")
        return self._clock() < self._refused_until.get(upstream, 0.0)

    def _remember(self, request: ProxyRequest) -> None:
        upstream = request.exchange.upstream or ""
        model = _model(request)
        self._last_upstream.remember(model, upstream, len(model))
        self._refused_until[upstream] = self._clock() + FORGET_AFTER_S


def _asks(options: dict[str, Any]) -> bool:
    """Whether the client wants the usage: under no spelling of its name anything but true."""
    values = [value for name, value in options.items() if name.casefold() == "include_usage"]
    return bool(values) and all(value is True for value in values)


def _model(request: ProxyRequest) -> str:
    return str(request.model)


async def _judge(response: ProxyResponse) -> tuple[ProxyResponse, bool]:
    """Return the response, still deliverable, and whether it refuses `stream_options`."""
    response, beginning = await peek(response, _PEEK_BYTES)
    _, coding = media_type_and_coding(response.headers)
    if coding:
        look = maybe_decoded(beginning, coding, _PEEK_BYTES)
        beginning = look[0] if look is not None else b""
    return response, b"stream_options" in beginning or b"include_usage" in beginning


def _read_at_once(
    response: ProxyResponse, media: tuple[bytes, bytes], exchange: Exchange, wants_model: bool
) -> bool:
    """Read the usage of a short JSON document that has arrived whole, as most have; False for anything else."""
    arrived = response.body.whole
    if (
        arrived is None
        or response.filters
        or media not in _PLAIN_JSON
        or len(arrived) > _WHOLE_BYTES
        or not 200 <= response.status < 300
    ):
        return False
    usage = usage_of_document(arrived)
    if usage is None or not (usage.input_tokens or usage.output_tokens or usage.kinds):
        return False  # one that counts nothing may stand beside an error
    exchange.usage = usage
    note_document(arrived, wants_model, exchange.note_labels)
    if exchange.endpoint == "responses" and (code := error_of_failed_response(arrived)) is not None:
        exchange.note_later_error(code)
    return True


def _maybe_error(response: ProxyResponse, media: tuple[bytes, bytes]) -> str | None:
    """Return the code of an error that has come as a short JSON answer behind a 2xx, None for anything else."""
    arrived = response.body.whole
    if arrived is None or len(arrived) > ERROR_BYTES or not 200 <= response.status < 300:
        return None
    media_type, coding = media
    return error_of_document(arrived, coding) if media_type == JSON else None


def _may_be_error(response: ProxyResponse, media: tuple[bytes, bytes], exchange: Exchange) -> bool:
    """Whether what is still to come may be a short document that tells an error behind a 2xx."""
    length = response.body.length
    return media == (JSON, b"") and not exchange.cached and (length is None or length <= ERROR_BYTES)


def _may_be_json(media_type: bytes) -> bool:
    """Whether what has this type is JSON, at an endpoint that answers nothing else."""
    return media_type.endswith(b"json") or media_type in (b"text/plain", b"application/octet-stream")


def _choose(
    reading: _Reading, response: ProxyResponse, media: tuple[bytes, bytes], hide: bool, wants_model: bool
) -> BodyFilter | None:
    """Return the filter that reads this response, None if it can have no usage."""
    media_type, coding = media
    is_stream = is_event_stream(media_type, reading.exchange.streaming)
    endpoint = reading.exchange.endpoint
    if not (is_stream or media_type in (JSON, b"") or (endpoint in _ESTIMATED and _may_be_json(media_type))):
        return None
    note = reading.exchange.note_labels
    length = response.body.length
    if not is_stream and not coding and not hide and length is not None and length <= _WHOLE_BYTES:
        reading.meter = ReadUsageWhole(reading.found, length, wants_model, note)
        return reading.meter
    labels = AnswerLabels(is_stream, wants_model, note)
    meter = UsageMeter(reading.found, coding, is_stream and endpoint in _OF_RESPONSES, labels)
    reading.meter = meter
    if not hide or coding:
        return WatchUsage(meter)
    if is_stream:
        return HideUsage(meter)
    # What was asked for as a stream may be one all the same: some servers label it so.
    return ByBeginning(lambda: HideUsage(meter), lambda: WatchUsage(meter))
