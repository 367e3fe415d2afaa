"""`/admin/keys`: the operator's pages for client keys.

Reading has the same conditions as every page of the operator. A change needs
the admin token, or a Unix socket as `admin.port`, because a web page or a
program of another user on this machine may reach loopback as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from ..exchange.bodies import WholeBody
from ..exchange.errors import InvalidJSON, RequestTooLarge, UnknownURL
from ..exchange.page_errors import InvalidValue, UnsupportedMediaType
from .admin import Arguments, Gate
from .pages import Page, write_later, write_page

BODY_BYTES = 64 * 1024
_CHANGE_METHODS = (b"GET", b"HEAD", b"OPTIONS", b"POST")
_KEY_METHODS = (b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"DELETE")
_ROTATE_METHODS = (b"POST", b"OPTIONS")


async def read_json(request: Any) -> dict[str, Any]:
    """Return the JSON object of a request to a page; raises the ProxyError that refuses it."""
    content_type = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    if content_type != b"application/json" or request.getHeader(b"content-encoding") is not None:
        raise UnsupportedMediaType
    data = await _read_body(request.incoming.body)
    try:
        document = orjson.loads(data)
    except ValueError:
        raise InvalidJSON from None
    if not isinstance(document, dict):
        raise InvalidJSON
    return document


async def _read_body(body: Any) -> bytes:
    too_large = RequestTooLarge(f"The body of this request is larger than {BODY_BYTES} bytes.")
    if isinstance(body, WholeBody):
        if body.length > BODY_BYTES:
            raise too_large
        return body.data
    try:
        data: bytes = await body.read(BODY_BYTES)
    except RequestTooLarge:
        raise too_large from None
    return data


class KeyOperations(Protocol):
    """The operations of the pages; each returns a JSON document, and raises the ProxyError that refuses it.

    `by` says why the caller may change keys: `token` or `socket`.
    """

    async def listed(self, group: str | None) -> dict[str, Any]: ...

    async def one(self, name: str) -> dict[str, Any]: ...

    async def make(self, document: Mapping[str, Any], by: str) -> dict[str, Any]: ...

    async def change(self, name: str, document: Mapping[str, Any], by: str) -> dict[str, Any]: ...

    async def rotate(self, name: str, document: Mapping[str, Any], by: str) -> dict[str, Any]: ...

    async def revoke(self, name: str, by: str) -> None: ...


@frozen
class KeyPages:
    """The parts that the pages of the keys share."""

    gate: Gate
    keys: KeyOperations
    cut: Callable[[str], object]
    """Aborts the running exchanges of a key."""

    def root(self) -> Page:
        """Return the page `/admin/keys`."""
        return _Keys(self)


class _KeyPage(Page):
    def __init__(self, pages: KeyPages) -> None:
        super().__init__()
        self._pages = pages

    def answer(self, request: Any, coroutine: Any, write: Callable[[Any], object] | None = None) -> int:
        """Run the coroutine and answer with its document, with status 200, or by `write`."""
        return write_later(
            request,
            Deferred.fromCoroutine(coroutine),
            write or (lambda found: write_json(request, 200, found)),
        )


def write_json(request: Any, status: int, document: Mapping[str, Any]) -> int:
    """Answer with a JSON document that must not be cached."""
    return write_page(request, status, ("application/json", orjson.dumps(document) + b"\n"))


class _Keys(_KeyPage):
    """`/admin/keys`."""

    methods = _CHANGE_METHODS

    def getChild(self, path: bytes, request: Any) -> Resource:
        if path == b"":
            return super().getChild(path, request)
        try:
            return _Key(self._pages, path.decode())
        except UnicodeDecodeError:
            raise UnknownURL from None

    def render_GET(self, request: Any) -> int:
        self._pages.gate.check(request)
        group = _arguments(request).get("group")
        return self.answer(request, self._pages.keys.listed(group))

    def render_POST(self, request: Any) -> int:
        by = self._pages.gate.changes_by(request)
        return self.answer(request, self._make(request, by), lambda found: write_json(request, 201, found))

    async def _make(self, request: Any, by: str) -> dict[str, Any]:
        return await self._pages.keys.make(await read_json(request), by)


class _Key(_KeyPage):
    """`/admin/keys/NAME`."""

    methods = _KEY_METHODS

    def __init__(self, pages: KeyPages, name: str) -> None:
        super().__init__(pages)
        self._name = name

    def getChild(self, path: bytes, request: Any) -> Resource:
        if path == b"rotate":
            return _Rotate(self._pages, self._name)
        return super().getChild(path, request)

    def render_GET(self, request: Any) -> int:
        self._pages.gate.check(request)
        return self.answer(request, self._pages.keys.one(self._name))

    def render_PATCH(self, request: Any) -> int:
        by = self._pages.gate.changes_by(request)
        return self.answer(request, self._change(request, by))

    async def _change(self, request: Any, by: str) -> dict[str, Any]:
        return await self._pages.keys.change(self._name, await read_json(request), by)

    def render_DELETE(self, request: Any) -> int:
        by = self._pages.gate.changes_by(request)
        cut = _flag(_arguments(request), "cut")
        return self.answer(request, self._revoke(by, cut), lambda _: _write_nothing(request))

    async def _revoke(self, by: str, cut: bool) -> None:
        await self._pages.keys.revoke(self._name, by)
        if cut:
            self._pages.cut(self._name)


class _Rotate(_KeyPage):
    """`/admin/keys/NAME/rotate`."""

    methods = _ROTATE_METHODS

    def __init__(self, pages: KeyPages, name: str) -> None:
        super().__init__(pages)
        self._name = name

    def render_POST(self, request: Any) -> int:
        by = self._pages.gate.changes_by(request)
        return self.answer(request, self._rotate(request, by))

    async def _rotate(self, request: Any, by: str) -> dict[str, Any]:
        announced = request.getHeader(b"content-length")
        bare = announced in (None, b"0") and request.getHeader(b"transfer-encoding") is None
        document = {} if bare else await read_json(request)
        return await self._pages.keys.rotate(self._name, document, by)


def _arguments(request: Any) -> Arguments:
    return {
        name.decode("latin-1"): values[-1].decode("utf-8", "replace") for name, values in request.args.items()
    }


def _flag(arguments: Arguments, name: str) -> bool:
    value = arguments.get(name, "false")
    if value not in ("true", "false"):
        raise InvalidValue(f"{name} must be true or false.", param=name)
    return value == "true"


def _write_nothing(request: Any) -> None:
    request.setResponseCode(204)
    request.setHeader(b"Cache-Control", b"no-store")
    request.finish()
