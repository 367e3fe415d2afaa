"""TLS towards the upstream: always verified, by service-identity.

The system's trust store, and one more CA file where configured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet._sslverify import IOpenSSLTrustRoot  # public in all but name: trustRoot= wants one
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust
from twisted.python.failure import Failure
from zope.interface import implementer

_PEM_END = b"-----END CERTIFICATE-----"


@implementer(IOpenSSLTrustRoot)
class SystemAndExtra:
    """Trust what the system trusts, and some certificates more."""

    def __init__(self, extra: list[X509]) -> None:
        self._extra = extra

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        platformTrust()._addCACertsToContext(context)
        store = context.get_cert_store()
        if store is not None:
            for certificate in self._extra:
                store.add_cert(certificate)


def load_certificates(path: Path) -> list[X509]:
    """Return the certificates of a PEM file; raise ValueError where there is none, OSError."""
    blocks = path.read_bytes().split(_PEM_END)[:-1]
    certificates = [Certificate.loadPEM(block + _PEM_END + b"\n").original for block in blocks]
    if not certificates:
        raise ValueError("no certificate in the file")
    return certificates


class ClientTLS:
    """Makes, and keeps, the TLS options for each host name."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._trust: Any = SystemAndExtra(load_certificates(ca_file)) if ca_file else platformTrust()
        self._options: dict[str, Any] = {}

    def for_host(self, host: str) -> Any:
        """Return the IOpenSSLClientConnectionCreator that verifies `host`."""
        options = self._options.get(host)
        if options is None:
            options = optionsForClientTLS(host, trustRoot=self._trust, acceptableProtocols=[b"http/1.1"])
            self._options[host] = options
        return options


def is_tls_failure(failure: Failure) -> bool:
    """True for OpenSSL's errors and service_identity's verdicts."""
    return type(failure.value).__module__.partition(".")[0] in ("OpenSSL", "service_identity")
