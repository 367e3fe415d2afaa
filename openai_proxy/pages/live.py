"""`/admin/exchanges` and `/admin/live`: show running exchanges and those that have just ended, and cancel them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..exchange.errors import ProxyError, UnknownURL
from ..exchange.page_errors import InvalidValue
from ..observe.live.rows import ENDED, MOST_ROWS, RUNNING, Row, Wanted
from ..observe.live.view import Listing, LiveView
from .admin import Gate
from .pages import Page, Rendered, write_later, write_page

View = Callable[[], "LiveView | None"]
"""Returns the view; None if it is turned off."""


class NoSuchExchange(ProxyError):
    """It never ran, has already ended (when it was to be cancelled), or is not remembered any more."""

    status, reason = 404, b"Not Found"
    type, code = "invalid_request_error", "exchange_not_found"
    default_message = (
        "No running or recent exchange has this id; live.history is the number of ended exchanges that are"
        " kept."
    )


def _json(document: object) -> Rendered:
    return "application/json", orjson.dumps(document) + b"\n"


class LivePages(Page):
    """What the pages of the live view share: the gate and the view."""

    def __init__(self, gate: Gate, view: View) -> None:
        super().__init__()
        self._gate = gate
        self._view = view

    def _open(self, request: Any) -> LiveView:
        """Return the view, or raise the ProxyError that refuses the request."""
        view = self._view()
        if view is None:
            raise UnknownURL
        self._gate.check(request)
        return view


class ExchangesPage(LivePages):
    """`GET /admin/exchanges`; each exchange is below it by its id."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        if path == b"":
            return super().getChild(path, request)
        return ExchangePage(self._gate, self._view, path.decode("latin-1"))

    def render_GET(self, request: Any) -> int:
        view = self._open(request)
        wanted = wanted_of({name: values[-1] for name, values in request.args.items()})

        def write(listing: Listing) -> None:
            document = {"exchanges": listing.rows, "in_flight": listing.in_flight}
            write_page(request, 200, _json(document))

        return write_later(request, view.listing(wanted), write)


def wanted_of(arguments: dict[bytes, bytes]) -> Wanted:
    """Parse a query; raise InvalidValue for an impossible value. Unknown names are ignored.

    >>> wanted_of({b"state": b"running", b"limit": b"5"}).limit
    5
    """
    texts = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in arguments.items()}
    state = texts.get("state")
    if state not in (None, RUNNING, ENDED):
        raise InvalidValue("state must be running or ended.", param="state")
    limit = texts.get("limit", "200")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= MOST_ROWS):
        raise InvalidValue(f"limit must be a whole number from 1 to {MOST_ROWS}.", param="limit")
    return Wanted(state, texts.get("key"), texts.get("model"), texts.get("endpoint"), int(limit))


class ExchangePage(LivePages):
    """`GET` and `DELETE /admin/exchanges/{id}`."""

    methods: tuple[bytes, ...] = (b"GET", b"HEAD", b"OPTIONS", b"DELETE")

    def __init__(self, gate: Gate, view: View, id: str) -> None:
        super().__init__(gate, view)
        self._id = id

    def render_GET(self, request: Any) -> int:
        def write(found: Row | None) -> None:
            if found is None:
                raise NoSuchExchange
            write_page(request, 200, _json(found))

        return write_later(request, self._open(request).one(self._id), write)

    def render_DELETE(self, request: Any) -> int:
        def write(was_running: bool) -> None:
            if not was_running:
                raise NoSuchExchange
            write_page(request, 202, _json({"id": self._id, "state": "cancelling"}))

        return write_later(request, self._open(request).cancel(self._id), write)


class LivePage(LivePages):
    """`GET /admin/live`: server-sent events, until the reader leaves."""

    def render_GET(self, request: Any) -> int:
        view = self._open(request)
        feed = view.feed
        feed.check_room()
        request.setHeader(b"Content-Type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Accel-Buffering", b"no")
        if request.method == b"HEAD":
            request.finish()
            return NOT_DONE_YET
        left: Deferred[None] = request.notifyFinish()
        reader = feed.open(_Stream(request))
        request.registerProducer(reader, True)
        left.addBoth(lambda _: feed.close(reader))
        return NOT_DONE_YET


@frozen(eq=False)
class _Stream:
    """The answer to one reader."""

    request: Any

    def write(self, data: bytes) -> None:
        self.request.write(data)

    def finish(self) -> None:
        self.request.unregisterProducer()
        self.request.finish()
