"""Check that certificates for upstreams exist, can be read and match their keys. Imported only by `checks`."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from .model import Settings
from .sections import Upstream
from .tables import UpstreamEntry


def ca_file(settings: Settings) -> None:
    path = settings.upstream.ca_file
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise settings.error("upstream.ca_file", f"{path} is no PEM file with certificates") from None
    except OSError as error:
        raise settings.error("upstream.ca_file", f"cannot read {path}: {error.strerror}") from None


def client_certificates(settings: Settings) -> None:
    own = settings.upstream
    tables: list[tuple[str, Upstream | UpstreamEntry]] = [("upstream", own)]
    tables += [(f"upstreams[{index}]", entry) for index, entry in enumerate(settings.upstreams)]
    for table, section in tables:
        _client_certificate(settings, table, section.client_cert, section.client_key)
    if own.client_cert and settings.upstreams and settings.origin("upstream.base_url") is not None:
        origins = [_origin(entry.base_url) for entry in settings.upstreams if entry.client_cert is None]
        if _origin(own.base_url) not in origins:
            raise settings.error(
                "upstream.client_cert",
                "none of [[upstreams]] has the origin of upstream.base_url, so nothing uses this"
                " certificate; give client_cert in the [[upstreams]] that it is for",
            )


def _client_certificate(settings: Settings, table: str, file: str | None, key_file: str | None) -> None:
    if file is None:
        if key_file is not None:
            raise settings.error(f"{table}.client_key", f"needs {table}.client_cert beside it")
        return
    for name, path in (("client_cert", file), ("client_key", key_file)):
        try:
            if path is not None:
                Path(path).read_bytes()
        except OSError as error:
            raise settings.error(f"{table}.{name}", f"cannot read {path}: {error.strerror}") from None
    try:
        # OpenSSL would ask for a passphrase at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file, key_file, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise settings.error(f"{table}.client_cert", _why_no_pair(error, file, key_file)) from None


def _why_no_pair(error: Exception, file: str, key_file: str | None) -> str:
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        return f"the key in {key_file or file} is not that of the certificate in {file}"
    both = f"{file} and {key_file}" if key_file else file
    return f"{both} must hold a certificate and its key in PEM, the key without a passphrase"


def _origin(base_url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(base_url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
