"""From settings to destinations: URL, certificate, Via, static lines and parameters, dropped lines."""

from __future__ import annotations

from hashlib import sha256

from pydantic import SecretStr

from ..net.origin import ClientCertificate
from ..policies.authenticate.organization import ACCOUNT_HEADERS
from ..policies.authenticate.upstream_keys import is_key_origin
from ..settings import Settings, mode
from ..settings.sections import Upstream
from ..settings.serverless import called_url, calls_a_server
from ..settings.tables import UpstreamEntry
from ..upstream.forward import Destination, destination
from ..wire.upstream_lines import UpstreamLines, UpstreamQuery

DEFAULT = "default"
"""The name of the upstream if there are no `[[upstreams]]`."""
_Pairs = tuple[tuple[str, SecretStr], ...]


def known_destinations(settings: Settings) -> tuple[Destination | None, dict[str, Destination]]:
    """Return the destination of the default upstream, and those that requests may be routed to, by name.

    Upstreams that are no servers are left out, unless a replay calls one for
    requests that were not recorded; the default is None if it is such an
    upstream. Static lines and parameters of `upstream` may be secrets; so, like
    its key and its certificate, they are used only for its origin.
    """
    upstream = settings.upstream
    own = _certificate(upstream.client_cert, upstream.client_key)
    lines = _lines(settings, upstream.drop_headers, upstream.headers)
    servers = {
        e.name: _one_of(settings, e) for e in settings.upstreams if calls_a_server(settings, e.base_url)
    }
    if not calls_a_server(settings, upstream.base_url):
        return None, servers
    url = called_url(settings, upstream.base_url)
    default = destination(DEFAULT, url, upstream.via, own, lines, _query(upstream.query))
    return default, {default.name: default, **servers}


def _one_of(settings: Settings, entry: UpstreamEntry) -> Destination:
    upstream = settings.upstream
    headers, query = entry.headers, entry.query
    certificate = _certificate(entry.client_cert, entry.client_key)
    if is_key_origin(settings, entry):
        headers, query = _over(upstream.headers, headers), _over(upstream.query, query)
        certificate = certificate or _certificate(upstream.client_cert, upstream.client_key)
    drop = upstream.drop_headers if entry.drop_headers is None else entry.drop_headers
    return destination(
        entry.name,
        called_url(settings, entry.base_url),
        upstream.via if entry.via is None else entry.via,
        certificate,
        _lines(settings, drop, headers),
        _query(query),
    )


def _certificate(file: str | None, key_file: str | None) -> ClientCertificate | None:
    return None if file is None else ClientCertificate(file, key_file)


def fingerprint(settings: Settings) -> str:
    """Return a digest of all static lines and parameters for the names of cached answers; empty without any."""
    tables: list[Upstream | UpstreamEntry] = [settings.upstream, *settings.upstreams]
    if not any(table.headers or table.query for table in tables):
        return ""
    shown = [[_clear(table.headers), _clear(table.query)] for table in tables]
    return sha256(repr(shown).encode("utf-8")).hexdigest()


def _lines(settings: Settings, drop: tuple[str, ...], fixed: _Pairs) -> UpstreamLines:
    # in tenants mode, organization and project of the key take precedence
    yielding = ACCOUNT_HEADERS if mode(settings) == "tenants" else frozenset()
    pairs = [(name.encode("ascii"), value.encode("ascii")) for name, value in _clear(fixed)]
    routing = settings.routing
    if routing.session_header is not None and routing.session_header_private:
        drop = (*drop, routing.session_header)
    return UpstreamLines(drop, pairs, yielding, settings.upstream.auth_header.lower().encode("ascii"))


def _query(fixed: _Pairs) -> UpstreamQuery:
    return UpstreamQuery(_clear(fixed))


def _clear(pairs: _Pairs) -> list[tuple[str, str]]:
    return [(name, value.get_secret_value()) for name, value in pairs]


def _over(general: _Pairs, own: _Pairs) -> _Pairs:
    """Return both; an upstream's own pair replaces a general one of the same name."""
    named = {name.lower() for name, _ in own}
    return (*(pair for pair in general if pair[0].lower() not in named), *own)
