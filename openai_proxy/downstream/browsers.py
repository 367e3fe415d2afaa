"""Requests that browsers make: may this page call, and what may it read?

The rules are `wire.web_origins`; here are the facts of a connection, and the
answer to a preflight that never goes upstream.
"""

from __future__ import annotations

from ..exchange.bodies import WholeBody
from ..exchange.messages import ProxyRequest, ProxyResponse
from ..exchange.record import HeaderPairs
from ..net.sockets import listens_on_loopback
from ..wire.headers import get
from ..wire.web_origins import PageMarks, page_marks
from .contract import ApiRequest


def judge(request: ApiRequest, *, is_page: bool = False) -> PageMarks | None:
    """Return what a browser says of its page; None if no browser made the request.

    Notes on `request` what lets a listed origin read the answer. Raises
    OriginNotAllowed. `is_page`: it asks for a page of our own.
    """
    incoming = request.incoming
    marks = page_marks(incoming.pairs)
    origins = request.site.web_origins
    if marks is None or not origins.looks:
        return marks
    request.readable = origins.readable_by(marks.origin)
    channel = request.channel
    origins.check(
        marks,
        b"https" if channel.isSecure() else b"http",
        incoming.head.host,
        listens_on_loopback(channel.transport),
        is_page=is_page,
    )
    return marks


async def preflight_answer(
    request: ApiRequest, origin: bytes, methods: tuple[bytes, ...], _: ProxyRequest
) -> ProxyResponse:
    """Answer a listed origin's preflight."""
    asked = get(request.incoming.pairs, b"access-control-request-headers")
    lines: HeaderPairs = request.site.web_origins.preflight_lines(origin, asked, methods)
    request.readable = []  # these lines say it already
    return ProxyResponse(204, b"No Content", lines, WholeBody(b""))
