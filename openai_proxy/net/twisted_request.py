"""A twisted.web Request that creates lazily what only ordinary Resources use.

twisted.web builds two header mappings, two addresses, lists and a cache of
adapters for every request: that takes three times as long as the proxy's own
work for an API request. Here each of them is created when it is first accessed.
Used by the downstream edge.
"""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from ..exchange.record import HeaderPairs
from .twisted_headers import WireHeaders


class WireRequest(Request):
    """A request whose head has been read, for any Resource.

    A subclass sets the attributes that are only declared here, instead of
    calling `Request.__init__`; a test compares the results of both. `content`
    is empty, because bodies are read in another way.
    """

    channel: Any
    site: Any
    method: bytes
    uri: bytes
    http11: bool
    pairs: HeaderPairs
    """The header lines as they were sent."""
    queued = False
    _parsePOSTFormSubmission = False

    # ---- created on first access; Twisted has plain attributes instead

    @cached_property
    def clientproto(self) -> bytes:  # type: ignore[override]
        return b"HTTP/1.1" if self.http11 else b"HTTP/1.0"

    @cached_property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        found: dict[bytes, list[bytes]] = parse_qs(self.uri.partition(b"?")[2], True)
        return found

    @cached_property
    def requestHeaders(self) -> Headers:  # type: ignore[override]
        return WireHeaders(self.pairs)

    @cached_property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        return Headers()

    @cached_property
    def received_cookies(self) -> dict[bytes, bytes]:  # type: ignore[override]
        found: dict[bytes, bytes] = {}
        self.__dict__["received_cookies"] = found  # `parseCookies` fills this
        self.parseCookies()
        return found

    @cached_property
    def cookies(self) -> list[bytes]:  # type: ignore[override]
        return []

    @cached_property
    def notifications(self) -> list[Deferred[None]]:  # type: ignore[override]
        return []

    @cached_property
    def content(self) -> BytesIO:  # type: ignore[override]
        return BytesIO()

    @cached_property
    def client(self) -> IAddress:
        address: IAddress = self.channel.getPeer()
        return address

    @cached_property
    def host(self) -> IAddress:
        address: IAddress = self.channel.getHost()
        return address

    @cached_property
    def transport(self) -> Any:  # type: ignore[override]
        return self.channel.transport

    @cached_property
    def _adapterCache(self) -> dict[str, Any]:  # type: ignore[override]
        return {}
