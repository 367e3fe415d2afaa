"""Decide which key is sent to which upstream.

A key belongs to one origin: that of `upstream.base_url`. No other upstream
receives it, unless the configuration says `api_key = "inherit"`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import SecretStr

from ...net.origin import Origin, parse_origin
from ...settings import Settings, client_keys, mode
from ...settings.serverless import called_url, calls_a_server
from ...settings.tables import UpstreamEntry
from ...settings.tenants import inherits_key, own_key

_SHOWN_MODELS = 5


def secret_bytes(secret: SecretStr) -> bytes:
    """Return a key as the bytes of a header value."""
    return secret.get_secret_value().encode("latin-1")


def key_origin(settings: Settings) -> Origin | None:
    """Return the origin that default keys, keys of tenants and credentials of clients may be sent to.

    That of `upstream.base_url`. If only `[[upstreams]]` are configured, it is
    the default of `upstream.base_url` if one of them has that origin, else the
    origin of the first of them. None if that upstream is no server.
    """
    default = _origin(settings, settings.upstream.base_url)
    if not settings.upstreams or settings.origin("upstream.base_url") is not None:
        return default
    ordered = sorted(settings.upstreams, key=lambda entry: entry.priority)
    origins = [origin for entry in ordered if (origin := _origin(settings, entry.base_url)) is not None]
    return default if default in origins or not origins else origins[0]


def _origin(settings: Settings, base_url: str) -> Origin | None:
    return parse_origin(called_url(settings, base_url)) if calls_a_server(settings, base_url) else None


def is_key_origin(settings: Settings, entry: UpstreamEntry) -> bool:
    """Return whether one of several upstreams has that origin."""
    origin = _origin(settings, entry.base_url)
    return origin is not None and origin == key_origin(settings)


def key_of(settings: Settings, entry: UpstreamEntry) -> bytes | None:
    """Return the key that goes to one of several upstreams.

    None leaves what authentication put there (the tenant's key, or the client's
    own). b"" removes it, because an upstream must not see a key that belongs to
    another origin.
    """
    own = own_key(entry)
    if own is not None:
        return secret_bytes(own)
    if not calls_a_server(settings, entry.base_url):
        return b""
    how = mode(settings)
    default = settings.upstream.api_key
    if is_key_origin(settings, entry) and how != "inject":
        return None
    if is_key_origin(settings, entry) or inherits_key(entry):
        if default is not None:
            return secret_bytes(default)
        return None if how == "pass-through" else b""
    return b""


def kept_keys(settings: Settings, entry: UpstreamEntry) -> frozenset[bytes]:
    """Return the keys of single tenants that `entry` receives instead of its own key.

    They belong to the origin of `upstream.base_url`; another origin must not
    see them.
    """
    if own_key(entry) is None or not is_key_origin(settings, entry):
        return frozenset()
    return frozenset(secret_bytes(key.upstream_key) for key in client_keys(settings) if key.upstream_key)


def keyless_upstreams(settings: Settings) -> Iterator[str]:
    """Return a line for each upstream that gets no key because it has another origin, with the requests that go there."""
    first = min((entry.priority for entry in settings.upstreams), default=0)
    for entry in settings.upstreams:
        if (
            entry.api_key is not None
            or not calls_a_server(settings, entry.base_url)
            or is_key_origin(settings, entry)
        ):
            continue
        models = [repr(model.match) for model in settings.models if model.upstream == entry.name]
        named = ", ".join(models[:_SHOWN_MODELS]) + (", ..." if len(models) > _SHOWN_MODELS else "")
        by_model = f" for the model {named}, and" if models else ""
        others = (
            "that fail over to it"
            if entry.priority > first
            else "that no entry of [[models]] sends elsewhere"
        )
        yield (
            f"the upstream {entry.name} gets its requests without an API key, because it has no api_key and its"
            f" origin {parse_origin(called_url(settings, entry.base_url))} is not that of upstream.base_url ({key_origin(settings)}):"
            f' requests{by_model} {others}. api_key = "inherit" in its entry sends it upstream.api_key.'
        )
