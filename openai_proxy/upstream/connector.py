"""Making a connection to an origin, within one deadline.

The deadline covers the name look-up, TCP and the TLS handshake. Errors are
translated here: nothing of Twisted's or OpenSSL's leaves this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from ..core.errors import UpstreamError, UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from .origin import Origin
from .tls import ClientTLS, is_tls_failure

ATTEMPT_DELAY_S = 0.05
"""Between two addresses of a name (RFC 8305): `localhost` is often ::1 first and only IPv4 listens."""


def _endpoint(reactor: Any, origin: Origin, timeout_s: float) -> Any:
    """Return where to connect: an address needs no look-up, which takes a thread and a millisecond."""
    if isIPAddress(origin.host):
        return TCP4ClientEndpoint(reactor, origin.host, origin.port, timeout_s)
    if isIPv6Address(origin.host):
        return TCP6ClientEndpoint(reactor, origin.host, origin.port, timeout_s)
    return HostnameEndpoint(
        reactor, origin.host, origin.port, timeout=timeout_s, attemptDelay=ATTEMPT_DELAY_S
    )


class Connecting:
    """One attempt to connect; `done` fires once with the ready connection or an UpstreamError.

    The connection tells us that it is ready or lost; cancelling `done` ends
    the attempt.
    """

    def __init__(
        self,
        reactor: Any,
        origin: Origin,
        tls: ClientTLS,
        timeout_s: float,
        make_connection: Callable[[Connecting], Any],
    ) -> None:
        self.done: Deferred[Any] = Deferred(self._cancelled)
        self._connection: Any = None
        self._ended = False
        self._timer = reactor.callLater(timeout_s, self._late)
        endpoint: Any = _endpoint(reactor, origin, timeout_s + 1)
        if origin.tls:
            endpoint = wrapClientTLS(tls.for_host(origin.host), endpoint)
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: self._build(make_connection)
        self._attempt = endpoint.connect(factory)
        self._attempt.addErrback(self._failed)

    def _build(self, make_connection: Callable[[Connecting], Any]) -> Any:
        self._connection = make_connection(self)
        return self._connection

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        if self._timer.active():
            self._timer.cancel()
        return True

    def ready(self, connection: Any) -> None:
        """The connection may be used."""
        if self._end():
            self.done.callback(connection)
        else:
            connection.abort()

    def lost(self, reason: Failure) -> None:
        """The connection was lost before it was ready: its handshake failed."""
        if self._end():
            self.done.errback(Failure(UpstreamTLSError(kind="tls", sent="no")))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) or not self._end():
            return
        if is_tls_failure(failure):
            error: UpstreamError = UpstreamTLSError(kind="tls", sent="no")
        elif failure.check(DNSLookupError):
            error = UpstreamUnreachable("The upstream's host name is unknown.", kind="dns", sent="no")
        else:
            refused = failure.check(ConnectionRefusedError)
            message = (
                "The upstream refused the connection." if refused else "The upstream can not be reached."
            )
            error = UpstreamUnreachable(message, kind="connect", sent="no")
        self.done.errback(Failure(error))

    def _late(self) -> None:
        if self._end():
            self._give_up()
            error = UpstreamTimeout(
                "Connecting to the upstream took too long.", kind="timeout_connect", sent="no"
            )
            self.done.errback(Failure(error))

    def _cancelled(self, _: Any) -> None:
        self._end()
        self._give_up()

    def _give_up(self) -> None:
        if self._connection is not None and self._connection.transport is not None:
            self._connection.abort()
        else:
            self._attempt.cancel()
