"""The proxy's own pages: service information, health, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import orjson
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..exchange.errors import InternalError, MethodNotAllowed, ProxyError, UnknownURL
from ..logs import logger
from ..wire.targets import PAGE_METHODS

log = logger(__name__)

Asker = Callable[[], "Deferred[tuple[bool, dict[str, Any]]]"]
"""Fires with (healthy, details)."""
Rendered: TypeAlias = tuple[str, bytes]
"""Content type and body."""

Check: TypeAlias = Callable[[Any], None]
"""Takes a request and raises the ProxyError that refuses it."""
Allows: TypeAlias = Callable[[Any], bool]
"""Takes a request; returns whether it may see the details."""

_Result = TypeVar("_Result")


def write_page(request: Any, status: int, page: Rendered) -> int:
    """Answer with a page that must not be cached."""
    content_type, body = page
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", content_type.encode("ascii"))
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
    return NOT_DONE_YET


def write_later(request: Any, asked: Deferred[_Result], write: Callable[[_Result], object]) -> int:
    """Let `write` answer with the result of `asked`, unless the client has left by then.

    A failure is answered as if it had been raised at once.
    """
    left: list[Failure] = []
    request.notifyFinish().addErrback(left.append)

    def succeeded(result: _Result) -> None:
        if not left:
            write(result)

    def failed(failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, ProxyError):
            log.failure("defect in a page", failure)
            error = InternalError()
        if not left:
            request.refuse(error)

    asked.addCallback(succeeded).addErrback(failed)
    return NOT_DONE_YET


def _json(document: dict[str, Any]) -> Rendered:
    return "application/json", orjson.dumps(document) + b"\n"


def _all(request: Any) -> None:
    """Refuse nothing."""


def _everybody(request: Any) -> bool:
    return True


class Page(Resource):
    """A page without pages below it, except for the empty name after a slash."""

    methods: tuple[bytes, ...] = PAGE_METHODS
    """The methods that it accepts."""

    def render(self, request: Any) -> Any:
        if request.method not in self.methods:
            raise MethodNotAllowed(self.methods)
        return super().render(request)

    def getChild(self, path: bytes, request: Any) -> Resource:
        if path == b"" and not request.postpath:
            return self
        raise UnknownURL

    def render_OPTIONS(self, request: Any) -> bytes:
        """Answer a balancer's check: HAProxy's `option httpchk` uses OPTIONS."""
        request.setHeader(b"Allow", b", ".join(self.methods))
        return b""


class MetricsPage(Page):
    """The metrics: `render(accept)` returns the page, or a Deferred if other processes are asked."""

    def __init__(self, render: Callable[[bytes], Rendered | Deferred[Rendered]], check: Check = _all) -> None:
        super().__init__()
        self._render = render
        self._check = check

    def render_GET(self, request: Any) -> int:
        self._check(request)
        rendered = self._render(request.getHeader(b"accept") or b"")
        if not isinstance(rendered, Deferred):
            return write_page(request, 200, rendered)
        return write_later(request, rendered, lambda page: write_page(request, 200, page))


class JSONPage(Page):
    """A page whose document is available at once.

    `public` are the members for clients that may not see the `details`.
    """

    def __init__(
        self,
        document: Callable[[], tuple[int, dict[str, Any]]],
        details: Allows = _everybody,
        public: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._document = document
        self._details = details
        self._public = public

    def render_GET(self, request: Any) -> int:
        status, document = self._document()
        if not self._details(request):
            document = {name: document[name] for name in self._public}
        return write_page(request, status, _json(document))


class HealthPage(Page):
    """A page that is determined first; 200 or 503. The status is public, the rest for clients that may see `details`."""

    def __init__(self, ask: Asker, details: Allows = _everybody) -> None:
        super().__init__()
        self._ask = ask
        self._details = details

    def render_GET(self, request: Any) -> int:
        detailed = self._details(request)

        def write(result: tuple[bool, dict[str, Any]]) -> None:
            healthy, document = result
            if not detailed:
                document = {"status": document["status"]}
            write_page(request, 200 if healthy else 503, _json(document))

        return write_later(request, self._ask(), write)
