"""The operator's pages, and who may see them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred

from ..exchange.access_errors import InvalidKey, MissingCredentials
from ..exchange.client_address import is_forwarded
from ..exchange.errors import ProxyError, UnknownURL
from ..wire.targets import API_METHODS
from ..wire.web_origins import normal_origin, page_marks
from .pages import Page, Rendered, write_later, write_page

_OF_BROWSERS = (b"accept-language", b"origin", b"referer", b"sec-fetch-site")

Arguments: TypeAlias = dict[str, str]
Answer: TypeAlias = Rendered


class NotLocal(ProxyError):
    """Without a token, only programs on this machine may read these pages."""

    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "not_local"
    default_message = "Without admin.token, this page answers only on loopback connections."


class TokenRequired(ProxyError):
    """A change needs more than a connection from this machine."""

    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "token_required"
    default_message = (
        "Changes need an admin.token (ADMIN__TOKEN), sent as Authorization: Bearer TOKEN, or an admin.port on a"
        " Unix socket."
    )


class ForeignOrigin(ProxyError):
    """A foreign web page can reach loopback through a browser, which may add credentials by itself."""

    status, reason = 403, b"Forbidden"
    type, code = "invalid_request_error", "foreign_origin"
    default_message = "openai-proxy does not answer web pages of other origins here."


_ASK = ((b"www-authenticate", b'Basic realm="openai-proxy", charset="UTF-8"'),)
"""This header makes a browser ask for the token."""


def shown_token(authorization: bytes) -> bytes:
    """Return the token of an Authorization header: the Bearer token, or the Basic password; empty if there is none.

    >>> shown_token(b"Bearer abc"), shown_token(b"Basic YTpiYw=="), shown_token(b"Basic ?")
    (b'abc', b'bc', b'')
    """
    scheme, _, rest = authorization.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return b64decode(rest.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


@frozen
class Gate:
    """Decides who may see the operator's pages.

    With a token, clients that send it may, as Bearer token or as Basic
    password. Without one, clients that connect directly from this machine may,
    but not through a proxy and never at a `haproxy:` port, whose client may be
    anybody. A Unix socket counts as local if `unix_is_local`.
    """

    token: Callable[[], bytes | None]
    """Called for each request: a reload may change it."""
    unix_is_local: bool = False

    def check(self, request: Any) -> None:
        """Raise the ProxyError that refuses a request."""
        if self.token() is not None:
            self.check_token(request)
        elif not self.is_local(request):
            raise NotLocal

    def changes_by(self, request: Any) -> str:
        """Return why a request may change something, `token` or `socket`; raise the ProxyError that refuses it."""
        refuse_foreign_origin(request)
        if self.token() is not None:
            self.check_token(request)
            return "token"
        if isinstance(request.channel.transport.getPeer(), UNIXAddress) and self.is_local(request):
            return "socket"
        raise TokenRequired

    def check_token(self, request: Any) -> None:
        """Raise the ProxyError that refuses a request without the token."""
        token = self.token() or b""
        shown = shown_token(request.getHeader(b"authorization") or b"")
        if not shown:
            raise MissingCredentials(
                "This page needs the admin token: Authorization: Bearer TOKEN, or as the password of Basic.",
                headers=_ASK,
            )
        if not token or not compare_digest(shown, token):
            raise InvalidKey("Incorrect admin token provided.", headers=_ASK)

    def is_local(self, request: Any) -> bool:
        """Return whether the client is a program on this machine, without a proxy in between."""
        if is_forwarded(name for name, _ in request.requestHeaders.getAllRawHeaders()):
            return False
        if request.exchange.peer.is_passed_on:
            return False
        peer = request.channel.transport.getPeer()
        if isinstance(peer, UNIXAddress):
            return self.unix_is_local
        if not isinstance(peer, (IPv4Address, IPv6Address)) or not _is_loopback(peer.host):
            return False
        # DNS rebinding: a foreign page whose name points at this machine, in a browser on it
        browser = any(request.requestHeaders.hasHeader(name) for name in _OF_BROWSERS)
        return not browser or _names_this_machine(request.getHeader(b"host") or b"")


@frozen
class PagesGate:
    """Decides who may read `/metrics` and the details of `/` and `/health`, by `access.pages`.

    `auto`: every client, unless there is an admin token; then clients that send
    it, and programs on this machine. `loopback`: only programs on this machine.
    `token`: only clients that send it. `open`: every client.
    """

    rule: Callable[[], str]
    """Called for each request: a reload may change it."""
    gate: Gate

    def check(self, request: Any) -> None:
        """Raise the ProxyError that refuses a request."""
        rule = self.rule()
        if rule == "open" or (rule == "auto" and self.gate.token() is None):
            return
        if rule != "token" and self.gate.is_local(request):
            return
        if rule == "loopback":
            raise NotLocal("This page answers only on loopback connections (access.pages).")
        self.gate.check_token(request)

    def allows(self, request: Any) -> bool:
        """Return whether a request may read the details."""
        try:
            self.check(request)
        except ProxyError:
            return False
        return True


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def refuse_foreign_origin(request: Any) -> None:
    """Raise ForeignOrigin for requests that a browser sends on behalf of a page from another host.

    The origin may have https although the request has not, if a proxy in front,
    which ends TLS, says so. Programs that are not browsers send no such header.
    """
    marks = page_marks(request.pairs)
    if marks is None:
        return
    if marks.origin is None:
        if marks.site == b"cross-site" and not marks.navigates:
            raise ForeignOrigin
        return
    host = request.getHeader(b"host") or b""
    own = {normal_origin((b"https://" if request.isSecure() else b"http://") + host)}
    if (request.getHeader(b"x-forwarded-proto") or b"").strip().lower() == b"https":
        own.add(normal_origin(b"https://" + host))
    shown = normal_origin(marks.origin)
    if shown is None or shown not in own:
        raise ForeignOrigin


class AdminPages(Page):
    """`/admin` itself, which is empty; the pages are below it."""

    below = API_METHODS
    """The methods of the pages below; each page names its own."""
    check_origin = staticmethod(refuse_foreign_origin)

    def render_GET(self, request: Any) -> int:
        raise UnknownURL


class AdminPage(Page):
    """A page behind the gate; `answer(arguments)` is asynchronous.

    `arguments` are those of the query (the last of each name), and `accept`.
    """

    def __init__(self, gate: Gate, answer: Callable[[Arguments], Deferred[Answer]]) -> None:
        super().__init__()
        self._gate = gate
        self._answer = answer

    def render_GET(self, request: Any) -> int:
        self._gate.check(request)
        arguments = {
            name.decode("latin-1"): values[-1].decode("utf-8", "replace")
            for name, values in request.args.items()
        }
        arguments["accept"] = (request.getHeader(b"accept") or b"").decode("latin-1")
        return write_later(request, self._answer(arguments), lambda page: write_page(request, 200, page))
