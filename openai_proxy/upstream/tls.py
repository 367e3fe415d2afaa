"""TLS towards the upstream: whom it trusts, who this proxy is, and the sessions that it may resume.

The system's trust store, one more CA file if configured, and client
certificates. How a peer is verified is in `client_tls`.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..exchange.bounded_memo import BoundedMemo
from ..net.client_tls import VerifyingClient, client_context
from ..net.origin import ClientCertificate, Origin

PROTOCOLS = ("http/1.1",)
RESUMED_FOR_S = 3600.0
"""After a full handshake; a resumed one does not verify the server's chain again."""
MOST_SESSIONS = 256
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def load_certificates(path: Path) -> list[bytes]:
    """Return the certificates of a PEM file as DER; raise ValueError if there is none, OSError."""
    certificates = [
        ssl.PEM_cert_to_DER_cert(each.decode("ascii")) for each in _PEM.findall(path.read_bytes())
    ]
    if not certificates:
        raise ValueError("no certificate in the file")
    return certificates


class ClientTLS:
    """Makes the TLS side of connections.

    Keeps a context for each client certificate, which is costly to make, and
    for each origin the session of its latest full handshake. `clock` gives
    monotonic seconds.
    """

    def __init__(self, ca_file: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._trusted = b"".join(load_certificates(ca_file)) if ca_file else b""
        self._clock = clock
        self._contexts: dict[ClientCertificate | None, ssl.SSLContext] = {}
        self._sessions: BoundedMemo[Origin, tuple[ssl.SSLSession, float]] = BoundedMemo(MOST_SESSIONS)
        """With the moment of that handshake."""

    def load(self, certificate: ClientCertificate | None) -> None:
        """Read a client certificate now, before anybody needs it; raises ValueError if it does not serve."""
        try:
            self._context(certificate)
        except (ssl.SSLError, OSError, TypeError) as error:
            raise ValueError("the certificate or its key cannot be used") from error

    def connecting_to(self, origin: Origin) -> VerifyingClient:
        """Return our side of one connection."""
        session, verified_at = self._sessions.get(origin, (None, 0.0))
        if session is not None and self._clock() - verified_at >= RESUMED_FOR_S:
            session = None
        keep = partial(self._keep, origin)
        return VerifyingClient(self._context(origin.certificate), origin.host, session, keep)

    def _keep(self, origin: Origin, session: ssl.SSLSession) -> None:
        self._sessions.remember(origin, (session, self._clock()), 0)

    def _context(self, certificate: ClientCertificate | None) -> ssl.SSLContext:
        context = self._contexts.get(certificate)
        if context is None:
            files = (certificate.file, certificate.key_file) if certificate else ()
            context = client_context(*files, trusted=self._trusted, protocols=PROTOCOLS)
            self._contexts[certificate] = context
        return context
