"""Twisted's endpoint strings, with the additions of this daemon.

It adds a backlog as large as the system allows, its own PROXY protocol, and a
way to rebuild the factory of a string, so that a listening port can use new
certificates. Opens nothing by itself.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from .proxy_protocol import with_proxy_protocol
from .tls_endpoints import has_certificates, tls_endpoint
from .unix_locks import LOCKED, remove_own_remains, why_locked

MOST = 0x7FFFFFFF
"""As a backlog it means the system's maximum: every kernel cuts it to that (`net.core.somaxconn`)."""
_TWISTEDS = 50
_BACKLOG = re.compile(r"(?:^|[^\\])(?:\\\\)*:backlog=")
_PARSERS_WORDS = (
    (r"unexpected keyword argument ('[^']*')", "it takes no argument {}"),
    (r"missing 1 required positional argument: ('[^']*')", "its {} is missing"),
    (
        r"multiple values for argument|positional arguments? but \d+ (?:was|were) given",
        r"it has too many values (a colon within a value is written '\:')",
    ),
    (r"invalid literal for int\(\) with base \d+: ('.*')", "{} is no number"),
)
"""What Twisted's parsers raise names functions of their own: (pattern, what it means)."""


class EndpointReactor:
    """Replaces the reactor for an endpoint.

    Uses the system's backlog unless the string has another, and this daemon's
    PROXY protocol instead of Twisted's, and removes the lock that an earlier
    process left at a Unix socket; everything else is passed to `reactor`.
    """

    def __init__(self, reactor: Any, description: str, may_speak: Callable[[Any], bool]) -> None:
        self._reactor = reactor
        self._keeps_backlog = _BACKLOG.search(description) is not None
        self._may_speak = may_speak

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def _backlog(self, asked: int) -> int:
        return asked if self._keeps_backlog or asked != _TWISTEDS else MOST

    def _ours(self, factory: Any) -> Any:
        return with_proxy_protocol(factory, self._may_speak)

    def listenTCP(self, port: int, factory: Any, backlog: int = _TWISTEDS, interface: str = "") -> Any:
        return self._reactor.listenTCP(port, self._ours(factory), self._backlog(backlog), interface)

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = _TWISTEDS, mode: int = 0o666, wantPID: int = 0
    ) -> Any:
        if wantPID:
            remove_own_remains(address)
        try:
            return self._reactor.listenUNIX(
                address, self._ours(factory), self._backlog(backlog), mode, wantPID
            )
        except CannotListenError as error:
            if error.socketError == LOCKED:
                raise CannotListenError(None, address, why_locked(address)) from error
            raise

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        port = self._reactor.adoptStreamPort(fileDescriptor, addressFamily, self._ours(factory))
        sock = getattr(port, "socket", None)
        if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(MOST)  # it was opened with another backlog, which may be raised while it listens
        return port


def endpoint(reactor: Any, description: str, factory: Any) -> Any:
    """Return the endpoint of a string for `factory`, which says who may speak the PROXY protocol to it.

    Raises whatever the string's parser raises, which may be any package's
    plugin. The parsers for TLS are this daemon's own, with Twisted's syntax:
    their files are read here.
    """
    ours = EndpointReactor(reactor, description, _may_speak(factory))
    if has_certificates(description):
        return tls_endpoint(ours, description, _may_speak(factory))
    return serverFromString(ours, description)


def _may_speak(factory: Any) -> Callable[[Any], bool]:
    allowed: Callable[[Any], bool] | None = getattr(factory, "may_speak_proxy_protocol", None)
    return allowed or (lambda address: True)


class _NoPort:
    """A port that listens on nothing."""


class _CollectingReactor:
    """Records the factory that an endpoint would listen with."""

    factory: Any = None

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = _TWISTEDS, interface: str = "") -> Any:
        self.factory = factory
        return _NoPort()


def made_anew(reactor: Any, description: str, factory: Any) -> Any:
    """Return a new factory for a port of this string (see `has_certificates`), with its files read now.

    Opens no port. Raises the error that would prevent listening, such as a key
    that does not belong to its certificate.
    """
    collecting = _CollectingReactor(reactor)
    failures: list[Failure] = []
    listening = endpoint(collecting, description, factory)
    maybeDeferred(listening.listen, factory).addErrback(failures.append)
    if failures:
        failures[0].raiseException()
    if collecting.factory is None:
        raise ValueError("its certificates cannot be read again")
    return collecting.factory


def check_certificates(reactor: Any, description: str) -> None:
    """Raise the error that would prevent listening with the certificates of a string; see `has_certificates`."""
    factory: Any = Factory()
    factory.noisy = False
    made_anew(reactor, description, factory)


def why_unusable(error: BaseException) -> str:
    """Return one line on why an endpoint string cannot be used, from what its parser raised."""
    if isinstance(error, ssl.SSLError):
        return "its key or certificate cannot be read"
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if isinstance(error, IndexError | KeyError):
        return "no such socket was passed on"
    for pattern, meaning in _PARSERS_WORDS:
        found = re.search(pattern, str(error))
        if found:
            return meaning.format(*found.groups())
    return " ".join(str(error).split()) or type(error).__name__
