"""TLS towards clients: contexts from the files that `ssl:` and `tls:` endpoint strings name. Reads files."""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .pem_directory import read_pem_directory, server_certificates

PROTOCOLS = ("http/1.1",)
MISMATCH = "Certificate public and private keys do not match."
_METHODS = {
    "SSLv23_METHOD": None,
    "TLS_METHOD": None,
    "TLS_SERVER_METHOD": None,
    "TLSv1_2_METHOD": ssl.TLSVersion.TLSv1_2,
}
"""`sslmethod` of an endpoint string, by pyOpenSSL's names: the only allowed version, None for any from 1.2 on."""


class ServerSide:
    """The server side of a connection (a `tls.Side`)."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return self._context.wrap_bio(incoming, outgoing, server_side=True)

    def shake_hands(self, tls: ssl.SSLObject) -> None:
        """Continue the handshake, without a traceback in the log for an SNI name that is not ASCII.

        Python refuses such a client by itself, and reports it as an exception
        that cannot be caught.
        """
        before, sys.unraisablehook = sys.unraisablehook, _without_bad_names
        try:
            tls.do_handshake()
        finally:
            sys.unraisablehook = before

    def check(self, tls: ssl.SSLObject) -> None:
        """Do nothing: clients are not asked for a certificate."""

    def failed(self, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        """Do nothing: the channel reports it."""

    def arrived(self, tls: ssl.SSLObject) -> None:
        """Do nothing: only clients keep sessions."""


def _without_bad_names(unraisable: sys.UnraisableHookArgs) -> None:
    """Report an exception that cannot be caught, unless a client's SNI is the cause; a `sys.unraisablehook`."""
    if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
        sys.__unraisablehook__(unraisable)


def pair_context(
    certificate: str,
    key: str,
    *,
    chain: str | None = None,
    method: str | None = None,
    dh_parameters: str | None = None,
) -> ssl.SSLContext:
    """Return the context of an `ssl:` endpoint from the paths of PEM files that its arguments name.

    Raises OSError for an unreadable file, ssl.SSLError or ValueError for one
    that cannot be used.
    """
    pem = Path(certificate).read_bytes()
    if chain is not None:
        further = Path(chain).read_bytes()
        if b"-----BEGIN CERTIFICATE-----" not in further:
            raise ValueError(
                f"Specified chain file '{chain}' doesn't contain any valid certificates in PEM format."
            )
        pem += b"\n" + further
    context = _context(pem, Path(key).read_bytes())
    if method is not None:
        if method not in _METHODS:
            raise ValueError(f"sslmethod may be {', '.join(_METHODS)}, not {method}")
        version = _METHODS[method]
        if version is not None:
            context.minimum_version = context.maximum_version = version
    if dh_parameters is not None:
        context.load_dh_params(dh_parameters)
    return context


def directory_context(directory: str) -> ssl.SSLContext:
    """Return the context of a `tls:` endpoint: it uses the certificate that a client's SNI names, else the first one.

    Raises ValueError if no certificate has its key, or one cannot be read; also
    ssl.SSLError and OSError.
    """
    servers = server_certificates(read_pem_directory(Path(directory)))
    if not servers:
        raise ValueError(f"no *.pem file in {directory} holds a certificate, with its private key there too")
    contexts = [_context(each.chain, each.key) for each in servers]
    by_name = {name: context for each, context in zip(servers, contexts, strict=True) for name in each.names}

    def choose(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            name = name.lower()
            chosen = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
            if chosen is not None:
                tls.context = chosen

    contexts[0].sni_callback = choose
    return contexts[0]


def _context(certificates: bytes, key: bytes) -> ssl.SSLContext:
    """Return a server's context; the key's file may contain the certificate, and the other way round."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(PROTOCOLS))
    with _as_file(certificates) as certificate_file, _as_file(key) as key_file:
        try:
            # The empty passphrase keeps OpenSSL from asking for one at the terminal.
            context.load_cert_chain(certificate_file, key_file, password=lambda: "")
        except ssl.SSLError as error:
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise ValueError(MISMATCH) from error
            raise
    return context


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Yield a path at which OpenSSL can read `data`: in memory if the system supports such files."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        number = os.memfd_create("pem")
        path = f"/proc/self/fd/{number}"
    else:
        number, path = tempfile.mkstemp()  # readable by its owner only
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            yield path
    finally:
        if not path.startswith("/proc/"):
            os.unlink(path)
