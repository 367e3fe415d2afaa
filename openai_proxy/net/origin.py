"""The destination of requests: an origin and a base path.

Values only; settings have validated the URL.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from .host_names import ascii_host


@frozen
class ClientCertificate:
    """The files of a client certificate, and of its key if that is a separate file."""

    file: str
    key_file: str | None = None


@frozen(cache_hash=True)
class Origin:
    """Scheme, host and port of an upstream, and the client certificate; connections are pooled by it."""

    tls: bool
    host: str
    """ASCII name or IP address, without brackets."""
    port: int
    certificate: ClientCertificate | None = None
    netloc: bytes = field(init=False, eq=False, repr=False)
    """The Host header's value: the port only if it is not the scheme's own."""

    @netloc.default
    def _netloc(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.netloc.decode('ascii')}"

    def identified_by(self, certificate: ClientCertificate | None) -> Origin:
        """Return this origin with a client certificate."""
        return evolve(self, certificate=certificate)


def parse_origin(url: str) -> Origin:
    """Parse the origin of an absolute http or https URL; raise ValueError otherwise."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an absolute http or https URL")
    tls = parts.scheme == "https"
    return Origin(tls, ascii_host(parts.hostname), parts.port or (443 if tls else 80))


def base_path(url: str) -> bytes:
    """Return the path of a base URL without trailing slash; `/v1` if it has none."""
    path = urlsplit(url).path.rstrip("/")
    return path.encode("ascii") if path else b"/v1"
