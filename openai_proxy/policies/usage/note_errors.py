"""Record the errors that streams report after a 200 as what they are.

The bytes pass as they came. Outside the reading of usage, so that what is
read has no content coding left that somebody else takes off.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.record import Exchange
from ...wire.body_headers import is_event_stream, media_type_and_coding
from ...wire.first_events import FirstEvents
from .later_errors import LaterErrors


class NoteErrors:
    """Look at the events of each stream that was asked for.

    An error makes the exchange's outcome `upstream_error`, with the error's
    code. Before anything was said nothing is charged for it; after that,
    what was used is.
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
        later = LaterErrors(coding, exchange.endpoint)
        exchange.find_errors = later.catch_up
        return response.filtered(WatchErrors(exchange, FirstEvents(coding), later))


class WatchErrors:
    """A body filter that lets everything pass, and notes the first error on the exchange."""

    transparent = True

    def __init__(self, exchange: Exchange, first: FirstEvents, later: LaterErrors) -> None:
        self._exchange: Exchange | None = exchange
        """Set until it is known whether the stream begins with an error."""
        self._first: FirstEvents | None = first
        self._later = later

    def feed(self, data: bytes) -> bytes:
        first = self._first
        if first is not None:
            first.feed(data)
            if not (first.decided and first.error is not None):
                self._later.feed(data)
            self._look_first(first)
        return data

    def finish(self) -> bytes:
        first = self._first
        if first is not None:
            first.finish()
            self._look_first(first)
        self._later.finish()
        return b""

    def _look_first(self, first: FirstEvents) -> None:
        exchange = self._exchange
        if exchange is None or not first.decided:
            return
        self._exchange = self._first = None
        if first.error is not None:
            exchange.note_error(first.error)
        else:  # what comes now is only searched for a later one
            self._later.report_to(exchange.note_later_error)
            self.feed = self._later.feed  # type: ignore[method-assign]  # a call less for each event
