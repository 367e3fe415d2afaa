"""The endpoint strings of TLS, `ssl:` and `tls:`, with Twisted's syntax and this proxy's own transport.

Their files are read when a string is parsed. Imported by `endpoints` only.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint

from .proxy_protocol import ProxyProtocolFactory
from .server_tls import ServerSide, directory_context, pair_context
from .tls_wrappers import TLSFactory

_TWISTEDS_BACKLOG = "50"
_KIND = re.compile(r"((?:haproxy:)*)([^:]*)", re.I)
_PART = re.compile(r"(?:\\.|[^:\\])+", re.S)
_EQUALS = re.compile(r"^(?:\\.|[^=\\])*=", re.S)


def has_certificates(description: str) -> bool:
    """Return whether an endpoint string names TLS files: `ssl:` and `tls:`, also after `haproxy:`."""
    found = _KIND.match(description)
    return found is not None and found[2].lower() in ("ssl", "tls")


class _TLSEndpoint:
    """Listens at `below` with TLS; with `headers` the PROXY protocol's header comes before TLS, or inside it."""

    def __init__(
        self,
        reactor: Any,
        below: Any,
        context: ssl.SSLContext,
        headers: int,
        may_speak: Callable[[Any], bool],
    ) -> None:
        self._reactor = reactor
        self._below = below
        self._context = context
        self._headers = headers
        self._may_speak = may_speak

    def listen(self, factory: Any) -> Any:
        """Listen; a header inside TLS is expected as often as the string says `haproxy:`."""
        for _ in range(self._headers):
            factory = ProxyProtocolFactory(factory, self._may_speak)
        context = self._context
        factory = TLSFactory(factory, lambda: ServerSide(context), self._reactor.callLater)
        if self._headers:
            factory = ProxyProtocolFactory(factory, self._may_speak, is_below_tls=True)
        return self._below.listen(factory)


def tls_endpoint(reactor: Any, description: str, may_speak: Callable[[Any], bool]) -> _TLSEndpoint:
    """Return the endpoint of a string that has certificates; see `endpoints.endpoint`."""
    found = _KIND.match(description)
    assert found is not None  # `has_certificates` was checked
    words, named = _arguments(description[found.end() :])
    make = _pair_endpoint if found[2].lower() == "ssl" else _directory_endpoint
    below, context = make(reactor, *words, **named)
    return _TLSEndpoint(reactor, below, context, found[1].count(":"), may_speak)


def _arguments(text: str) -> tuple[list[str], dict[str, str]]:
    r"""Return the arguments after an endpoint's kind, those without and those with a name.

    >>> _arguments(r":8443:privateKey=C\:/k.pem")
    (['8443'], {'privateKey': 'C:/k.pem'})
    """
    words: list[str] = []
    named: dict[str, str] = {}
    for part in _PART.findall(text):
        equals = _EQUALS.search(part)
        if equals is None:
            words.append(_unescaped(part))
        else:
            named[_unescaped(part[: equals.end() - 1])] = _unescaped(part[equals.end() :])
    return words, named


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.S)


def _pair_endpoint(
    reactor: Any,
    port: str,
    privateKey: str = "server.pem",
    certKey: str | None = None,
    sslmethod: str | None = None,
    interface: str = "",
    backlog: str = _TWISTEDS_BACKLOG,
    extraCertChain: str | None = None,
    dhParameters: str | None = None,
) -> tuple[Any, ssl.SSLContext]:
    """`ssl:`, with Twisted's names and order of arguments."""
    context = pair_context(
        certKey or privateKey,
        privateKey,
        chain=extraCertChain,
        method=sslmethod,
        dh_parameters=dhParameters,
    )
    return TCP4ServerEndpoint(reactor, int(port), int(backlog), interface), context


def _directory_endpoint(
    reactor: Any, path: str, port: str = "443", backlog: str = _TWISTEDS_BACKLOG, interface: str = "::"
) -> tuple[Any, ssl.SSLContext]:
    """`tls:`, with Twisted's names and order of arguments."""
    return TCP6ServerEndpoint(reactor, int(port), int(backlog), interface), directory_context(path)
