"""What the configuration adds to requests for one upstream, and keeps from it.

Header lines and query parameters. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from urllib.parse import quote, unquote_to_bytes

from ..exchange.record import HeaderPairs
from .headers import HOP_BY_HOP

_PROTECTED = HOP_BY_HOP | {
    b"authorization",
    b"api-key",
    b"x-api-key",
    b"proxy-authorization",
    b"host",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"expect",
}
"""Credentials, framing, and what says how a body reads."""
_PROTECTED_PREFIX = b"sec-websocket-"


def is_protected(name: bytes) -> bool:
    """Whether a header, in lower case, may be neither set nor dropped by a setting."""
    return name in _PROTECTED or name.startswith(_PROTECTED_PREFIX)


class UpstreamLines:
    """Header lines of requests to one upstream.

    `drop` are globs of names in lower case; protected lines and `auth_header`
    stay. `fixed` lines replace the client's of the same name, but a name in
    `yielding` only stands if the request has none. A client's name with `_` in
    place of `-` counts as the same: CGI and its kin take it for that.
    """

    def __init__(
        self,
        drop: Sequence[str] = (),
        fixed: HeaderPairs | None = None,
        yielding: frozenset[bytes] = frozenset(),
        auth_header: bytes = b"authorization",
    ) -> None:
        self._drop = re.compile("|".join(map(translate, drop)).encode("ascii")).match if drop else None
        self._fixed = list(fixed or ())
        self._replaced = frozenset(_dashed(name) for name, _ in self._fixed if name.lower() not in yielding)
        self._yielding = yielding
        self._auth_header = auth_header

    def __bool__(self) -> bool:
        return self._drop is not None or bool(self._fixed)

    def on(self, headers: HeaderPairs) -> HeaderPairs:
        """Return `headers` as they go to this upstream."""
        kept = [pair for pair in headers if not self._is_dropped(pair[0].lower())]
        there = {name.lower() for name, _ in kept} & self._yielding
        return kept + [pair for pair in self._fixed if pair[0].lower() not in there]

    def _is_dropped(self, name: bytes) -> bool:
        if _dashed(name) in self._replaced:
            return True
        if self._drop is None or (self._drop(name) is None and self._drop(_dashed(name)) is None):
            return False
        return not is_protected(name) and name != self._auth_header


def _dashed(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


class UpstreamQuery:
    """Query parameters of requests to one upstream; they replace the client's of the same name."""

    def __init__(self, fixed: Sequence[tuple[str, str]] = ()) -> None:
        self._names = frozenset(name.encode("utf-8") for name, _ in fixed)
        self._suffix = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in fixed).encode("ascii")

    def __bool__(self) -> bool:
        return bool(self._suffix)

    def on(self, target: bytes) -> bytes:
        """Return `target` with the parameters at its end; the others stay byte for byte."""
        path, _, query = target.partition(b"?")
        items = [item for item in query.split(b"&") if item and not self._is_replaced(item)]
        return b"%b?%b" % (path, b"&".join((*items, self._suffix)))

    def _is_replaced(self, item: bytes) -> bool:
        return unquote_to_bytes(item.partition(b"=")[0].replace(b"+", b" ")) in self._names


def _quoted(text: str) -> str:
    return quote(text, safe="-._~:/@!$*,;")
