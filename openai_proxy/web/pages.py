"""Pages of this proxy itself: service information and health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..core.errors import UnknownURL

Asker = Callable[[], "Deferred[tuple[bool, dict[str, Any]]]"]
"""Fires with (healthy, details)."""


def _write(request: Any, status: int, document: dict[str, Any]) -> None:
    body = orjson.dumps(document) + b"\n"
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


class Page(Resource):
    """A page without pages below it, but for the empty name behind a slash."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        if path == b"" and not request.postpath:
            return self
        raise UnknownURL


Rendered = tuple[str, bytes]
"""Content type and body."""


class MetricsPage(Page):
    """What a scraper reads: `render(accept)` gives the page, now or when others were asked."""

    def __init__(self, render: Callable[[bytes], Rendered | Deferred[Rendered]]) -> None:
        super().__init__()
        self._render = render

    def render_GET(self, request: Any) -> bytes | int:
        rendered = self._render(request.getHeader(b"accept") or b"")
        if not isinstance(rendered, Deferred):
            return self._head(request, rendered)
        left: list[Failure] = []
        request.notifyFinish().addErrback(left.append)

        def answer(page: Rendered) -> None:
            if not left:
                request.write(self._head(request, page))
                request.finish()

        rendered.addCallback(answer)
        return NOT_DONE_YET

    def _head(self, request: Any, page: Rendered) -> bytes:
        content_type, body = page
        request.setHeader(b"Content-Type", content_type.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body


class JSONPage(Page):
    """A page whose document is known at once."""

    def __init__(self, document: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        super().__init__()
        self._document = document

    def render_GET(self, request: Any) -> int:
        status, document = self._document()
        _write(request, status, document)
        return NOT_DONE_YET


class HealthPage(Page):
    """A page that has to ask first; 200 or 503."""

    def __init__(self, ask: Asker) -> None:
        super().__init__()
        self._ask = ask

    def render_GET(self, request: Any) -> int:
        left: list[Failure] = []
        request.notifyFinish().addErrback(left.append)

        def answer(result: tuple[bool, dict[str, Any]]) -> None:
            if not left:
                _write(request, 200 if result[0] else 503, result[1])

        self._ask().addCallback(answer)
        return NOT_DONE_YET
