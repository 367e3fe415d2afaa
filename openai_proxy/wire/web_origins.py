"""Decide which web pages may call: origins, preflights, DNS rebinding.

Pure: header lines in, a verdict out. Sources: WHATWG Fetch ("CORS protocol"),
W3C Fetch Metadata (`Sec-Fetch-*`). Programs that are not browsers send none of
these headers and are never judged here.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from attrs import field, frozen

from ..exchange.access_errors import OriginNotAllowed
from ..exchange.bounded_memo import short_memo
from ..exchange.record import HeaderPairs
from .headers import get

ANY = b"*"
MAX_AGE_S = 600
"""How long a browser may remember the answer to a preflight."""

_OF_BROWSERS = frozenset(
    (b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"access-control-request-method")
)
_ORIGIN = re.compile(rb"([a-z][a-z0-9+.-]*)://([a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_PORTS = {b"http": b"80", b"https": b"443"}
_FIELD_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]+")


@frozen
class PageMarks:
    """The headers of a request about the page it comes from; missing ones are None."""

    origin: bytes | None
    """The value of Origin; several different ones are joined, and match no origin."""
    site: bytes | None
    """Sec-Fetch-Site: `cross-site`, `same-site`, `same-origin` or `none`."""
    navigates: bool
    """Whether it is a navigation (a link, a typed address), whose answer the page cannot read."""
    asks_method: bytes | None
    """Access-Control-Request-Method, which makes an OPTIONS with an origin a preflight."""


def page_marks(headers: HeaderPairs) -> PageMarks | None:
    """Return the headers that a browser has added to a request; None if no browser sent it. O(number of lines)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _OF_BROWSERS:
            value = value.strip(b" \t")
            before = found.get(lower)
            found[lower] = value if before is None or before == value else before + b", " + value
    if not found:
        return None
    return PageMarks(
        found.get(b"origin"),
        found.get(b"sec-fetch-site"),
        found.get(b"sec-fetch-mode") == b"navigate",
        found.get(b"access-control-request-method"),
    )


def is_preflight(method: bytes, marks: PageMarks | None) -> bool:
    """Return whether a request is a browser's preflight, which never has credentials."""
    return (
        method == b"OPTIONS"
        and marks is not None
        and marks.origin is not None
        and marks.asks_method is not None
    )


@short_memo(256)
def normal_origin(text: bytes) -> bytes | None:
    """Return `scheme://host:port` in lower case, the port of http and https always given; None for no origin.

    >>> normal_origin(b"https://App.test")
    b'https://app.test:443'
    """
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    port = match[3] or _PORTS.get(match[1])
    return b"%b://%b" % (match[1], match[2]) if port is None else b"%b://%b:%b" % (match[1], match[2], port)


def host_name(host: bytes) -> str:
    """Return the name or address of a Host value: lower case, without port and brackets."""
    name = host.decode("latin-1").lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def is_own_name(host: bytes) -> bool:
    """Return whether a Host value is an address or `localhost`, which no foreign DNS can point at this proxy.

    Nor can public DNS do that with names under `.test` (RFC 6761 §6.2), which
    developers use for servers on their own machine.
    """
    name = host_name(host)
    if name == "localhost" or name.endswith((".localhost", ".test")):
        return True
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


@frozen
class WebOrigins:
    """The web origins that may call, under one configuration.

    `listed` are the normal forms of `cors.origins`, or only `*`. `guards`: this
    proxy adds a key by itself (inject mode), so that a foreign page could spend
    it.
    """

    listed: frozenset[bytes] = frozenset()
    guards: bool = False
    looks: bool = field(init=False, eq=False, repr=False)
    """Whether every request of a browser is checked, not only preflights."""

    @looks.default
    def _looks(self) -> bool:
        return self.guards or bool(self.listed)

    def is_listed(self, origin: bytes | None) -> bool:
        """Return whether `cors.origins` has an Origin value."""
        if origin is None or not self.listed:
            return False
        return ANY in self.listed or normal_origin(origin) in self.listed

    def check(
        self, marks: PageMarks, scheme: bytes, host: bytes | None, on_loopback: bool, *, is_page: bool = False
    ) -> None:
        """Raise OriginNotAllowed if this page may not call.

        `scheme` and `host` are those of the request. `on_loopback`: it came by
        a listener that only this machine can reach. `is_page`: it requests a
        page of the proxy itself, which may be linked to.
        """
        if self.guards and on_loopback and not self._is_our_name(host or b""):
            raise OriginNotAllowed(
                "openai-proxy refuses this request: a browser sent it under a host name that is neither"
                " an address nor localhost (DNS rebinding). cors.origins lists the origins that may call."
            )
        if self.is_listed(marks.origin):
            return
        if marks.origin is not None:
            own = normal_origin(b"%b://%b" % (scheme, host)) if host else None
            if own is None or normal_origin(marks.origin) != own:
                raise OriginNotAllowed
        elif self.guards and marks.site == b"cross-site" and not (is_page and marks.navigates):
            raise OriginNotAllowed

    def _is_our_name(self, host: bytes) -> bool:
        return is_own_name(host) or host_name(host) in {
            host_name(origin.partition(b"://")[2]) for origin in self.listed if origin != ANY
        }

    # ---- headers that let a page read

    def readable_by(self, origin: bytes | None) -> HeaderPairs:
        """Return the lines that let a listed origin read an answer; none for any other."""
        if origin is None or not self.is_listed(origin):
            return []
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]

    def error_lines(self, headers: HeaderPairs, whole: bool = True) -> HeaderPairs:
        """Return the lines that let the page that sent a request read an error of this proxy.

        `whole=False`: the head was not read to its end, so an Origin may
        have been missed.
        """
        origin = get(headers, b"origin")
        if self.listed:
            lines = self.readable_by(origin)
        elif origin is not None or not whole:
            lines = [(b"access-control-allow-origin", b"*")]
        else:
            return []
        return [*lines, (b"access-control-expose-headers", b"*")] if lines else lines

    def preflight_lines(
        self, origin: bytes, asked_headers: bytes | None, methods: tuple[bytes, ...]
    ) -> HeaderPairs:
        """Return the lines of the proxy's own answer to a listed origin's preflight."""
        if not asked_headers or not _FIELD_NAMES.fullmatch(asked_headers):
            asked_headers = b"authorization, content-type"
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b", ".join(methods)),
            (b"access-control-allow-headers", asked_headers),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
            (b"vary", b"origin"),
        ]


def readable(headers: HeaderPairs, lines: HeaderPairs) -> HeaderPairs:
    """Return an upstream's answer lines with `lines` of this proxy instead of its own allow-origin.

    Its other Vary lines stay; the one of `lines` is left out if one of them names Origin already.
    """
    kept = [pair for pair in headers if pair[0].lower() != b"access-control-allow-origin"]
    varies = any(
        pair[0].lower() == b"vary"
        and not {b"origin", b"*"}.isdisjoint(part.strip(b" \t").lower() for part in pair[1].split(b","))
        for pair in kept
    )
    return kept + [pair for pair in lines if not (varies and pair[0] == b"vary")]
