"""Where requests go: an origin and the base path below which they stay.

Values only; settings have validated the URL.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen


@frozen
class Origin:
    """Scheme, host and port of an upstream."""

    tls: bool
    host: str
    """Name or IP address, without brackets."""
    port: int

    @property
    def netloc(self) -> bytes:
        """The Host header's value: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.netloc.decode('ascii')}"


def parse_origin(url: str) -> Origin:
    """Read the origin of an absolute http or https URL; raise ValueError otherwise."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an absolute http or https URL")
    tls = parts.scheme == "https"
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return Origin(tls, host, parts.port or (443 if tls else 80))


def base_path(url: str) -> bytes:
    """Return the path of a base URL without trailing slash; `/v1` where it has none."""
    path = urlsplit(url).path.rstrip("/")
    return path.encode("ascii") if path else b"/v1"
