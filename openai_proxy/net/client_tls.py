"""TLS towards a server: always verified, and why it failed, in words.

For the upstream edge and the client of Redis. Server names are used as they
stand (`host_names`), so that `llm_server` can be verified too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from service_identity.exceptions import CertificateError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from zope.interface import implementer

from ..logs import logger
from .host_names import is_address

log = logger(__name__)

_NAMES_SHOWN = 5
_SHOWN_CHARACTERS = 200


@frozen
class TLSFailure:
    """Why there is no TLS: `reason` continues a sentence, `may_heal` says whether another try is worth it."""

    reason: str
    may_heal: bool = False


def client_context(
    trust: Any, certificate: str | None = None, key: str | None = None, *, extra: Iterable[X509] = ()
) -> SSL.Context:
    """Return the context for connections that trust `trust` (an IOpenSSLTrustRoot) and the certificates `extra`.

    `certificate` is the PEM file of a client certificate with its chain,
    `key` that of its key. Raises SSL.Error, OSError, ValueError or TypeError
    where they do not serve; a key with a passphrase does not.
    """
    context = CertificateOptions(trustRoot=trust).getContext()
    store = context.get_cert_store()
    assert store is not None  # each context has its own
    for trusted in extra:
        store.add_cert(trusted)
    if certificate is not None:
        context.use_certificate_chain_file(certificate)
        # Not by use_privatekey_file: it asks the terminal for a passphrase.
        private_key = load_pem_private_key(Path(key or certificate).read_bytes(), None)
        context.use_privatekey(private_key)  # type: ignore[arg-type]  # it says which kinds it takes
        context.check_privatekey()
    return context


@implementer(IOpenSSLClientConnectionCreator)
class VerifyingClient:
    """Makes the TLS side of one connection to `host`; `refusal` says why its certificate was not accepted."""

    def __init__(self, context: SSL.Context, host: str, protocols: Sequence[bytes] = ()) -> None:
        self.refusal: str | None = None
        self._context = context
        self._host = host.removesuffix(".")
        self._is_address = is_address(host)
        self._protocols = list(protocols)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._is_address:  # RFC 6066 §3: names only
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        if self._protocols:
            connection.set_alpn_protos(self._protocols)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._accepts)
        return connection

    def _accepts(self, _: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        """Judge one certificate of the chain; OpenSSL asks, and would swallow whatever is raised."""
        try:
            if not ok:
                self.refusal = self.refusal or _why_not_trusted(certificate, error, depth)
            elif depth == 0:
                self.refusal = self._why_not_named(certificate)
        except Exception:
            log.failure("defect while verifying a certificate")
            self.refusal = "its certificate cannot be verified"
        return self.refusal is None

    def _why_not_named(self, certificate: X509) -> str | None:
        """Return why the certificate is not that of the host, None if it is."""
        wanted = IPAddress_ID(self._host) if self._is_address else DNS_ID(self._host)
        try:
            patterns = extract_patterns(certificate)
        except CertificateError:
            patterns = []
        if not patterns:
            return f"its certificate names no host, so it is not that of {self._host}"
        try:
            verify_service_identity(patterns, [wanted], [])
        except VerificationError:
            return f"its certificate is for {_listed(patterns)}, not for {self._host}"
        return None


def _listed(patterns: Sequence[Any]) -> str:
    names = [_text(getattr(pattern, "pattern", b"")) for pattern in patterns[:_NAMES_SHOWN]]
    more = len(patterns) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _text(pattern: object) -> str:
    """Return a name of a stranger's certificate, printable and not too long."""
    text = pattern.decode("ascii", "replace") if isinstance(pattern, bytes) else str(pattern)
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."


_UNKNOWN_ISSUER = frozenset((2, 20, 21, 27))
_SELF_SIGNED = frozenset((18, 19))
_EXPIRED, _NOT_YET_VALID, _REVOKED = 10, 9, 23


def _why_not_trusted(certificate: X509, error: int, depth: int) -> str:
    """Put X509_V_ERR_* (openssl-verification-options(1)) into words."""
    whose = "its certificate" if depth == 0 else "a certificate of its chain"
    if error in _SELF_SIGNED:
        return f"{whose} is self-signed by an unknown authority"
    if error in _UNKNOWN_ISSUER:
        return f"{whose} comes from an unknown authority"
    if error == _EXPIRED:
        until = certificate.to_cryptography().not_valid_after_utc
        return f"{whose} expired on {until:%Y-%m-%d}"
    if error == _NOT_YET_VALID:
        begin = certificate.to_cryptography().not_valid_before_utc
        return f"{whose} is not valid before {begin:%Y-%m-%d}"
    if error == _REVOKED:
        return f"{whose} was revoked"
    return f"{whose} cannot be verified (OpenSSL's error {error})"


_WORDS = (
    # (any of these in OpenSSL's reasons, what it means, whether another try may heal it)
    (("certificate required",), "it wants a client certificate (upstream.client_cert)", False),
    (
        (
            "alert bad certificate",
            "alert unknown ca",
            "alert certificate",
            "alert unsupported certificate",
            "alert access denied",
            "alert decrypt error",
        ),
        "it does not accept the client certificate of this proxy ({openssl})",
        False,
    ),
    (
        ("alert handshake failure",),
        "it refused the handshake: there is no cipher in common, or it wants a client certificate",
        False,
    ),
    (
        ("alert protocol version", "unsupported protocol", "version too low"),
        "there is no version of TLS in common",
        False,
    ),
    (("unrecognized name",), "it does not know the host name {host}", False),
    (("no application protocol",), "it does not speak HTTP/1.1 over TLS", False),
    (
        ("wrong version number", "packet length too long", "http request", "record layer failure"),
        "no TLS is spoken there; perhaps it is plain http",
        False,
    ),
    (("alert internal error", "alert user canceled"), "it broke off the handshake ({openssl})", True),
)


def explain(failure: Failure, host: str, refusal: str | None = None) -> TLSFailure:
    """Say why TLS with `host` failed: `failure` is how the connection ended, `refusal` a VerifyingClient's.

    What says nothing of TLS (a reset, a close) happened to a handshake.
    """
    if refusal is not None:
        return TLSFailure(refusal)
    if not is_tls_failure(failure):
        return TLSFailure("it closed the connection in the TLS handshake", may_heal=True)
    reasons = _openssl_reasons(failure.value)
    joined = "; ".join(reasons)
    for marks, words, may_heal in _WORDS:
        if any(mark in joined for mark in marks):
            return TLSFailure(words.format(openssl=reasons[-1], host=host), may_heal)
    return TLSFailure(f"TLS protocol error: {reasons[-1]}" if reasons else "TLS protocol error")


def _openssl_reasons(error: BaseException | None) -> list[str]:
    """Return OpenSSL's words for an SSL.Error: its queue of (library, function, reason)."""
    queue = error.args[0] if error is not None and error.args else ()
    if not isinstance(queue, list | tuple):
        return []
    return [_text(entry[-1]) for entry in queue if isinstance(entry, tuple) and entry and entry[-1]]


def is_tls_failure(failure: Failure) -> bool:
    """True for OpenSSL's errors."""
    return isinstance(failure.value, SSL.Error)
