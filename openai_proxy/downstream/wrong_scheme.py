"""Clients that speak TLS at a plain port, or plain HTTP at a TLS port: one line in the log says what is wrong."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from ..logs import logger
from ..net.once_in_a_while import OnceInAWhile
from ..net.tls_failures import openssl_words

log = logger(__name__)

_PLAIN_REQUEST = frozenset(("http request", "https proxy request"))
"""OpenSSL's words for it."""


class WrongScheme:
    """Says so at most once in ten seconds for each direction, with the number of connections; one for each site."""

    def __init__(self) -> None:
        self._tls = OnceInAWhile()
        self._plain = OnceInAWhile()

    def tell_tls_on_plain_port(self, peer: Any) -> None:
        """Note that a TLS handshake has arrived at a port for plain HTTP."""
        count = self._tls.count()
        if count:
            log.warn(
                "{count} TLS handshakes at a port that speaks plain HTTP since the last such line, "
                "the latest from {peer}: is a client configured with https:// instead of http://?",
                count=count,
                peer=_address(peer),
            )

    def tell_lost(self, reason: Failure, peer: Any) -> None:
        """A connection over TLS is lost for `reason`: say so if a plain request had arrived."""
        if openssl_words(reason.value) not in _PLAIN_REQUEST:
            return
        count = self._plain.count()
        if count:
            log.warn(
                "{count} plain HTTP requests at a port that speaks TLS since the last such line, "
                "the latest from {peer}: is a client configured with http:// instead of https://?",
                count=count,
                peer=_address(peer),
            )


def _address(peer: Any) -> str:
    return getattr(peer, "host", None) or "a Unix socket"
