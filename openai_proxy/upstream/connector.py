"""Making a connection to an origin, within one deadline.

The deadline covers the name look-up, TCP and the TLS handshake. Errors are
translated here: nothing of Twisted's or OpenSSL's leaves this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, NoRouteError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from ..exchange.upstream_errors import UpstreamError, UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from ..logs import logger
from ..net.client_tls import VerifyingClient, explain
from ..net.dns_cache import DNSCache
from ..net.host_names import host_endpoint
from ..net.origin import Origin
from ..net.tls_wrappers import TLSClientEndpoint
from .tls import ClientTLS

log = logger(__name__)


class Connecting:
    """One attempt to connect; `done` fires once with the ready connection or an UpstreamError.

    The connection reports that it is ready or lost; cancelling `done` ends
    the attempt.
    """

    def __init__(
        self,
        reactor: Any,
        origin: Origin,
        tls: ClientTLS,
        timeout_s: float,
        make_connection: Callable[[Connecting], Any],
        names: DNSCache | None = None,
    ) -> None:
        self.done: Deferred[Any] = Deferred(self._cancelled)
        self._origin = origin
        self._names = names
        self._timeout_s = timeout_s
        self._connection: Any = None
        self._verifying: VerifyingClient | None = None
        self._ended = False
        self._timer = reactor.callLater(timeout_s, self._late)
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: self._build(make_connection)
        self._attempt = maybeDeferred(self._connect, reactor, tls, factory)
        self._attempt.addErrback(self._failed)

    def _connect(self, reactor: Any, tls: ClientTLS, factory: Any) -> Deferred[Any]:
        origin = self._origin
        endpoint = host_endpoint(reactor, origin.host, origin.port, self._timeout_s + 1, self._names)
        if origin.tls:
            verifying = self._verifying = tls.connecting_to(origin)
            endpoint = TLSClientEndpoint(endpoint, lambda: verifying, reactor.callLater)
        return endpoint.connect(factory)

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
        """Note that the connection may be used."""
        if self._end():
            if self._names is not None:
                origin, peer = self._origin, connection.transport.getPeer()
                self._names.connected(origin.host, origin.port, getattr(peer, "host", ""))
            self.done.callback(connection)
        else:
            connection.abort()

    def lost(self, reason: Failure) -> None:
        """Fail the attempt: the connection was lost before it was ready, with TLS because its handshake failed."""
        if not self._end():
            return
        self._forget_name()
        if self._verifying is None:
            self.done.errback(Failure(self._unreachable("the connection was lost at once")))
            return
        failure = explain(reason, self._origin.host, self._verifying.refusal)
        error = UpstreamTLSError(
            f"This proxy could not establish TLS with its upstream {self._origin.host}: {failure.reason}.",
            kind="tls",
            sent="no",
            may_heal=failure.may_heal,
            detail=self._where,
        )
        self.done.errback(Failure(error))

    @property
    def _where(self) -> str:
        host = self._origin.host
        return f"[{host}]:{self._origin.port}" if ":" in host else f"{host}:{self._origin.port}"

    def _unreachable(self, why: str, kind: str = "connect", system: str = "") -> UpstreamUnreachable:
        """Make the error: `why` for everybody, host, port and the `system`'s error for the logs."""
        message = f"This proxy could not connect to its upstream {self._origin.host}: {why}."
        detail = f"{self._where}: {system.rstrip('.')}" if system else self._where
        return UpstreamUnreachable(message, kind=kind, sent="no", detail=detail)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) or not self._end():
            return
        self._forget_name()
        system = failure.getErrorMessage()
        if failure.check(DNSLookupError):
            error = self._unreachable("the host name is unknown", "dns", system)
        elif failure.check(ConnectionRefusedError):
            error = self._unreachable("the connection was refused", system=system)
        elif failure.check(NoRouteError):
            error = self._unreachable("there is no route to the host", system=system)
        else:
            if not failure.check(ConnectError):
                log.failure("defect while connecting to an upstream", failure)
            error = self._unreachable("the connection failed", system=system)
        self.done.errback(Failure(error))

    def _late(self) -> None:
        if self._end():
            self._forget_name()
            self._give_up()
            error: UpstreamError = UpstreamTimeout(
                f"Connecting to the upstream {self._origin.host} took longer than"
                f" {self._timeout_s:g} s (timeout_s.connect).",
                kind="timeout_connect",
                sent="no",
                detail=self._where,
            )
            self.done.errback(Failure(error))

    def _cancelled(self, _: Any) -> None:
        self._end()
        self._give_up()

    def _forget_name(self) -> None:
        """Forget the host's address: the next attempt looks it up again."""
        if self._names is not None:
            self._names.forget(self._origin.host, self._origin.port)

    def _give_up(self) -> None:
        if self._connection is not None and self._connection.transport is not None:
            self._connection.abort()
        else:
            self._attempt.cancel()
