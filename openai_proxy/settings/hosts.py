"""Recognise public hosts: without TLS, traffic to them can be read on the way. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

_PRIVATE_ZONES = (
    ".localhost",
    ".local",
    ".internal",
    ".lan",
    ".home",
    ".home.arpa",
    ".corp",
    ".intranet",
    ".private",
    ".test",
    ".svc",
)


def is_public(host: str) -> bool:
    """Return whether a host is reached over the internet, judged by its name.

    A name without a dot (Compose, Kubernetes, `localhost`) is not.
    """
    try:
        return ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(_PRIVATE_ZONES)


def plain_public_host(url: str, scheme: str = "http") -> str | None:
    """Return the host of a URL of that scheme if it is public, else None.

    >>> plain_public_host("http://api.example.com/v1")
    'api.example.com'
    """
    parts = urlsplit(url)
    host = parts.hostname
    return host if parts.scheme.lower() == scheme and host and is_public(host) else None
