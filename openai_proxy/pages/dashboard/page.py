"""`/dashboard`, its script and its style sheet."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from twisted.web.resource import Resource

from ...exchange.errors import UnknownURL
from ..admin import Gate, refuse_foreign_origin
from ..home import CONTENT_SECURITY_POLICY
from ..live import View
from ..pages import Page, write_page

_FILES = {
    b"": ("index.html", "text/html; charset=utf-8"),
    b"app.js": ("app.js", "text/javascript; charset=utf-8"),
    b"app.css": ("app.css", "text/css; charset=utf-8"),
}


class DashboardPage(Page):
    """One file of the dashboard; the other files are below the page. Not found if the live view is off."""

    check_origin = staticmethod(refuse_foreign_origin)

    def __init__(self, gate: Gate, view: View, name: bytes = b"") -> None:
        super().__init__()
        self._gate = gate
        self._view = view
        self._name = name
        file, self._type = _FILES[name]
        self._data = files(__package__).joinpath(file).read_bytes()

    def getChild(self, path: bytes, request: Any) -> Resource:
        if self._name == b"" and path in _FILES and path != b"" and not request.postpath:
            return DashboardPage(self._gate, self._view, path)
        return super().getChild(path, request)

    def render_GET(self, request: Any) -> int:
        if self._view() is None:
            raise UnknownURL
        self._gate.check(request)
        request.setHeader(b"Content-Security-Policy", CONTENT_SECURITY_POLICY)
        request.setHeader(b"X-Frame-Options", b"DENY")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        return write_page(request, 200, (self._type, self._data))
