"""Record the error that a stream begins with, behind a 200, as what it is.

The bytes pass as they came. Outside the reading of usage, so that what is
read has no content coding left that somebody else takes off.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ..core.body_headers import is_event_stream, media_type_and_coding
from ..core.exchange import Exchange
from ..core.first_events import FirstEvents
from ..messages import Forward, ProxyRequest, ProxyResponse


class NoteErrors:
    """Look at the first events of each stream that was asked for.

    An error before anything was said makes the exchange's outcome
    `upstream_error`, with the error's code, and nothing is charged for it.
    """

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        return self._watch(request, forward) if request.exchange.streaming else forward(request)

    async def _watch(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        response = await forward(request)
        exchange = request.exchange
        if not 200 <= response.status < 300 or exchange.cached:
            return response
        media_type, coding = media_type_and_coding(response.headers)
        if not is_event_stream(media_type, True):
            return response
        return response.filtered(WatchFirstEvents(exchange, FirstEvents(coding)))


class WatchFirstEvents:
    """A body filter that lets everything pass, and tells the exchange of an error."""

    transparent = True

    def __init__(self, exchange: Exchange, events: FirstEvents) -> None:
        self._exchange: Exchange | None = exchange
        self._events = events

    def feed(self, data: bytes) -> bytes:
        if self._exchange is not None:
            self._events.feed(data)
            if self._events.decided:
                self._tell(self._exchange)
        return data

    def finish(self) -> bytes:
        if self._exchange is not None:
            self._events.finish()
            self._tell(self._exchange)
        return b""

    def _tell(self, exchange: Exchange) -> None:
        self._exchange = None
        if self._events.error is not None:
            exchange.note_error(self._events.error)
