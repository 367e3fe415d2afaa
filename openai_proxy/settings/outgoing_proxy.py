"""Warn about a proxy for outgoing connections that the environment names: it is not used. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from .hosts import is_public


def unused_proxies(urls: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable such as `HTTPS_PROXY` that other programs would use for an upstream."""
    warned = set()
    for url in urls:
        parts = urlsplit(url)
        host, scheme = parts.hostname, parts.scheme.lower()
        if scheme not in ("http", "https") or not host or not is_public(host) or _is_excepted(host, environ):
            continue
        names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
        name = next((name for name in names if environ.get(name)), None)
        if name is not None and name not in warned:
            warned.add(name)
            yield f"{name} of the environment is not used: {host} has to be reachable without it"


def _is_excepted(host: str, environ: Mapping[str, str]) -> bool:
    """Return whether `NO_PROXY` has the host, or a domain that it is in."""
    for entry in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(","):
        domain = entry.strip().lower().removeprefix("*").removeprefix(".")
        if entry.strip() == "*" or (domain and (host == domain or host.endswith("." + domain))):
            return True
    return False
