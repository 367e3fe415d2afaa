"""Record a live answer as a line of a cassette while it passes, if it was not recorded before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..exchange.messages import ProxyRequest, ProxyResponse
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange
from ..logs import logger
from ..observe.exchange_log.capture import Capture
from ..observe.exchange_log.line import exchange_line

log = logger(__name__)


class Recorder:
    """Watches answers of the live upstream, and records those that are complete."""

    def __init__(self, limit_bytes: int, secrets: Sequence[str], clock: Callable[[], float]) -> None:
        self._limit_bytes = limit_bytes
        self._secrets = tuple(secrets)
        self._clock = clock

    def __call__(
        self, request: ProxyRequest, response: ProxyResponse, keep: Callable[[bytes], None]
    ) -> ProxyResponse:
        """Return the response with a filter that makes a line from it and passes that to `keep`."""
        if response.status == 101:
            return response
        exchange = request.exchange
        made = Exchange(exchange.started, exchange.timestamp, request.method.decode("ascii"), exchange.path)
        made.target, made.endpoint, made.model = request.target, exchange.endpoint, request.model
        made.upstream = exchange.upstream
        made.request_headers, made.response_headers = request.headers, response.headers
        made.request_body = request.body if isinstance(request.body, bytes) else None
        made.status, made.reason = response.status, response.reason
        made.streaming = exchange.streaming
        made.first_byte_at = self._clock()
        made.capture = Capture(self._limit_bytes, self._clock)
        return response.filtered(_Recording(made, made.capture, self._end, keep))

    def _end(self, exchange: Exchange, keep: Callable[[bytes], None]) -> None:
        exchange.end(Outcome.COMPLETE, self._clock())
        try:
            keep(exchange_line(exchange, self._limit_bytes, raw=True, secrets=self._secrets))
        except OSError as error:
            log.error("a live answer could not be recorded: {reason}", reason=error.strerror)


class _Recording:
    """A body filter that only watches."""

    transparent = True

    def __init__(
        self,
        exchange: Exchange,
        capture: Capture,
        end: Callable[[Exchange, Callable[[bytes], None]], None],
        keep: Callable[[bytes], None],
    ) -> None:
        self._exchange = exchange
        self._capture = capture
        self._end = end
        self._keep = keep

    def feed(self, data: bytes) -> bytes:
        """Return `data` unchanged."""
        return self._capture.response.feed(data)

    def finish(self) -> bytes:
        self._end(self._exchange, self._keep)
        return b""
