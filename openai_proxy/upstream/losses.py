"""What the loss of a connection means for the request on it."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from ..exchange.bodies import BODY_DONE
from ..exchange.upstream_errors import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from ..net.client_tls import explain
from ..net.tls_failures import is_tls_failure
from .response_reader import ResponseReader


def lost_before_head(reader: ResponseReader, host: str, is_reused: bool, reason: Failure) -> UpstreamError:
    """Return the error of a request that has no head yet; `sent` is "stale" if the upstream never saw it."""
    if reader.error is not None:
        return reader.error
    if reader.head_bytes:
        return UpstreamProtocolError(
            f"The upstream {host} closed the connection inside its answer.", kind="truncated"
        )
    if is_reused:
        message = f"The upstream {host} closed a kept connection as the request was sent."
        return UpstreamUnreachable(message, kind="reset", sent="stale")
    if is_tls_failure(reason):
        # an alert of the server, which judges a client in TLS 1.3 after our handshake
        failure = explain(reason, host)
        message = f"This proxy could not establish TLS with its upstream {host}: {failure.reason}."
        return UpstreamTLSError(message, kind="tls", sent="no", may_heal=failure.may_heal)
    how = "closed" if reason.check(ConnectionDone) else "reset"
    return UpstreamUnreachable(f"The upstream {host} {how} the connection before it answered.", kind="reset")


def end_of_body(reader: ResponseReader, is_tunnel: bool, reason: Failure) -> Failure:
    """Return how a body ends with its connection: one without a length is whole only at an orderly end."""
    if reader.error is not None:
        return Failure(reader.error)
    if is_tunnel or (reader.head_done and not reader.complete and reader.until_close):
        return BODY_DONE if reason.check(ConnectionDone) else reason
    return reason
