"""TLS towards a server: it is always verified, and failures are explained.

For the upstream edge and the client of Redis. OpenSSL verifies the chain,
`service_identity` the name. Server names are used unchanged
(`host_names`), so that `llm_server` can be verified too.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from service_identity import VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.exceptions import CertificateError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.python.failure import Failure

from ..exchange.bounded_memo import short_memo
from ..logs import logger
from .host_names import is_address
from .tls_failures import is_tls_failure, openssl_words

log = logger(__name__)

_CERTIFICATES_KEPT, _LONGEST_CERTIFICATE = 64, 8192
_NAMES_SHOWN = 5
_SHOWN_CHARACTERS = 200
_DER = 2
"""The argument of `_ssl.Certificate.public_bytes` for DER."""
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""The paths of distributions' trusted certificates; a Python built elsewhere uses none of them."""


@frozen
class TLSFailure:
    """Why there is no TLS: `reason` continues a sentence, `may_heal` says whether another attempt may succeed."""

    reason: str
    may_heal: bool = False


class CertificateRefused(ssl.SSLError):
    """The chain is trusted, but the certificate does not belong to the host."""


def client_context(
    certificate: str | None = None,
    key: str | None = None,
    *,
    trusted: bytes = b"",
    trusts_system: bool = True,
    protocols: Sequence[str] = (),
) -> ssl.SSLContext:
    """Return the context for connections that trust the system's store and the certificates `trusted` (DER, joined).

    `certificate` is the PEM file of a client certificate with its chain,
    `key` that of its key. Raises ssl.SSLError, OSError or ValueError if they
    cannot be used, for example because the key has a passphrase. `protocols`
    are offered by ALPN.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # service_identity does that: `VerifyingClient.check`
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if trusts_system:
        _trust_system(context)
    if trusted:
        context.load_verify_locations(cadata=trusted)
    if certificate is not None:
        # The empty passphrase keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(certificate, key or certificate, password=lambda: "")
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    """Trust the system's certificates: OpenSSL's paths, SSL_CERT_FILE and SSL_CERT_DIR, else a distribution's bundle."""
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if paths.openssl_cafile_env in os.environ or paths.openssl_capath_env in os.environ:
        return
    if paths.cafile is None and not (paths.capath and any(Path(paths.capath).glob("*.0"))):
        for bundle in _BUNDLES:
            if Path(bundle).is_file():
                context.load_verify_locations(bundle)
                return


class VerifyingClient:
    """The client side of one connection to `host` (a `tls.Side`); `refusal` says why its certificate was not accepted.

    `session` is resumed if the server still accepts it; else `keep` is called
    with the one that later connections may resume.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str,
        session: ssl.SSLSession | None = None,
        keep: Callable[[ssl.SSLSession], None] | None = None,
    ) -> None:
        self.refusal: str | None = None
        self._context = context
        self._host = host.removesuffix(".")
        self._is_address = is_address(host)
        self._session = session
        self._keep = keep

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        name = None if self._is_address else self._host  # RFC 6066 §3: names only
        return self._context.wrap_bio(incoming, outgoing, server_hostname=name, session=self._session)

    def shake_hands(self, tls: ssl.SSLObject) -> None:
        tls.do_handshake()

    def check(self, tls: ssl.SSLObject) -> None:
        """OpenSSL has verified the chain; raise CertificateRefused if the certificate does not belong to the host."""
        try:
            certificate = tls.getpeercert(True)
            refusal = (
                "it showed no certificate"
                if certificate is None
                else _why_not_named((self._host, self._is_address, certificate))
            )
        except Exception:
            log.failure("defect while verifying a certificate")
            refusal = "its certificate cannot be verified"
        if refusal is not None:
            self.refusal = refusal
            raise CertificateRefused(ssl.SSL_ERROR_SSL, refusal)

    def failed(self, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        if self.refusal is None and isinstance(error, ssl.SSLCertVerificationError):
            try:
                self.refusal = _why_not_trusted(_chain_of(tls), error.verify_code)
            except Exception:
                log.failure("defect while verifying a certificate")
                self.refusal = "its certificate cannot be verified"

    def arrived(self, tls: ssl.SSLObject) -> None:
        if self._keep is not None and not tls.session_reused:
            session = tls.session  # this makes a copy, which takes as long as ten requests
            if session is not None and (session.has_ticket or (session.id and tls.version() != "TLSv1.3")):
                self._keep(session)


@short_memo(_CERTIFICATES_KEPT, _LONGEST_CERTIFICATE, size=lambda shown: len(shown[2]))
def _why_not_named(shown: tuple[str, bool, bytes]) -> str | None:
    """Return why a certificate does not belong to the host, None if it does. The argument: host, whether it is
    an address, DER.

    Most servers show the same one each time, and parsing one takes as long as
    half a request.
    """
    host, is_address, encoded = shown
    wanted = IPAddress_ID(host) if is_address else DNS_ID(host)
    try:
        patterns = extract_patterns(x509.load_der_x509_certificate(encoded))
    except CertificateError:
        patterns = []
    if not patterns:
        return f"its certificate names no host, so it is not that of {host}"
    try:
        verify_service_identity(patterns, [wanted], [])
    except VerificationError:
        return f"its certificate is for {_listed(patterns)}, not for {host}"
    return None


def _chain_of(tls: ssl.SSLObject) -> list[x509.Certificate]:
    """Return the certificates that a server sent, its own first; empty if Python does not provide them.

    Python has a public method for it only since 3.13.
    """
    chain = getattr(tls, "get_unverified_chain", None)
    if chain is not None:
        encoded = chain()
    else:
        private = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
        encoded = [each.public_bytes(_DER) for each in (private() or ())] if private is not None else []
    return [x509.load_der_x509_certificate(each) for each in encoded]


def _listed(patterns: Sequence[Any]) -> str:
    names = [_text(getattr(pattern, "pattern", b"")) for pattern in patterns[:_NAMES_SHOWN]]
    more = len(patterns) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _text(pattern: object) -> str:
    """Return a name from a certificate, printable and not too long."""
    text = pattern.decode("ascii", "replace") if isinstance(pattern, bytes) else str(pattern)
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."


_LEAF_UNVERIFIED = 21
_UNKNOWN_ISSUER = frozenset((2, 20, _LEAF_UNVERIFIED, 27))
_SELF_SIGNED_LEAF = 18
_SELF_SIGNED = frozenset((_SELF_SIGNED_LEAF, 19))
_EXPIRED, _NOT_YET_VALID, _REVOKED = 10, 9, 23


def _why_not_trusted(chain: Sequence[x509.Certificate], error: int) -> str:
    """Explain X509_V_ERR_* (openssl-verification-options(1)) of a chain."""
    now = datetime.now(timezone.utc)
    if error in _SELF_SIGNED:
        return f"{_whose(0 if error == _SELF_SIGNED_LEAF else 1)} is self-signed by an unknown authority"
    if error in _UNKNOWN_ISSUER:
        return f"{_whose(0 if error == _LEAF_UNVERIFIED else len(chain) - 1)} comes from an unknown authority"
    if error == _EXPIRED:
        for depth, each in enumerate(chain):
            if each.not_valid_after_utc < now:
                return f"{_whose(depth)} expired on {each.not_valid_after_utc:%Y-%m-%d}"
        return f"{_whose(0)} or one of its chain has expired"
    if error == _NOT_YET_VALID:
        for depth, each in enumerate(chain):
            if each.not_valid_before_utc > now:
                return f"{_whose(depth)} is not valid before {each.not_valid_before_utc:%Y-%m-%d}"
        return f"{_whose(0)} or one of its chain is not valid yet"
    if error == _REVOKED:
        return f"{_whose(0)} or one of its chain was revoked"
    return f"{_whose(0)} cannot be verified (OpenSSL's error {error})"


def _whose(depth: int) -> str:
    return "its certificate" if depth <= 0 else "a certificate of its chain"


_WORDS = (
    # (any of these in OpenSSL's reasons, the explanation, whether another attempt may succeed)
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

    A failure that is not about TLS (a reset, a close) is described as a failed handshake.
    """
    if refusal is not None:
        return TLSFailure(refusal)
    if not is_tls_failure(failure):
        return TLSFailure("it closed the connection in the TLS handshake", may_heal=True)
    words = _text(openssl_words(failure.value))
    for marks, meaning, may_heal in _WORDS:
        if any(mark in words for mark in marks):
            return TLSFailure(meaning.format(openssl=words, host=host), may_heal)
    return TLSFailure(f"TLS protocol error: {words}" if words else "TLS protocol error")
