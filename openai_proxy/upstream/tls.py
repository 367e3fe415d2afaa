"""TLS towards the upstream: whom it trusts, and who this proxy is.

The system's trust store, one more CA file where configured, and client
certificates. How a peer is verified is in `client_tls`.
"""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.ssl import Certificate, platformTrust

from ..net.client_tls import VerifyingClient, client_context
from ..net.origin import ClientCertificate, Origin

PROTOCOLS = (b"http/1.1",)
_PEM_END = b"-----END CERTIFICATE-----"


def load_certificates(path: Path) -> list[X509]:
    """Return the certificates of a PEM file; raise ValueError where there is none, OSError."""
    blocks = path.read_bytes().split(_PEM_END)[:-1]
    certificates = [Certificate.loadPEM(block + _PEM_END + b"\n").original for block in blocks]
    if not certificates:
        raise ValueError("no certificate in the file")
    return certificates


class ClientTLS:
    """Makes the TLS side of connections; keeps a context for each client certificate, which is costly to make."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._extra = load_certificates(ca_file) if ca_file else []
        self._contexts: dict[ClientCertificate | None, SSL.Context] = {}

    def load(self, certificate: ClientCertificate | None) -> None:
        """Read a client certificate now, before anybody needs it; raises ValueError if it does not serve."""
        try:
            self._context(certificate)
        except (SSL.Error, OSError, TypeError) as error:
            raise ValueError("the certificate or its key cannot be used") from error

    def connecting_to(self, origin: Origin) -> VerifyingClient:
        """Return what makes and verifies the TLS side of one connection."""
        return VerifyingClient(self._context(origin.certificate), origin.host, PROTOCOLS)

    def _context(self, certificate: ClientCertificate | None) -> SSL.Context:
        context = self._contexts.get(certificate)
        if context is None:
            files = (certificate.file, certificate.key_file) if certificate else ()
            context = self._contexts[certificate] = client_context(platformTrust(), *files, extra=self._extra)
        return context
