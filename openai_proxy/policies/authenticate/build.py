"""Who may call, and how much: from settings to the stages that decide it."""

from __future__ import annotations

from collections.abc import Callable

from ...exchange.access_errors import MissingCredentials, MissingCredentialsOfLocalServer
from ...exchange.messages import Stage
from ...settings import Settings, client_keys, mode
from ...settings.derived import all_serverless, base_urls
from ...settings.tenants import needs_no_default_key, own_key
from ...wire.web_origins import ANY, WebOrigins, normal_origin
from .caller import Callers
from .inject import Inject
from .keyring import ClientKey, Keyring
from .organization import Account
from .pass_through import PassThrough
from .tenants import Tenants
from .upstream_keys import secret_bytes

_PLACE = b"each-upstream-has-its-own"
"""Marks where the client's key was until the routing puts in the key of an upstream; never sent."""


def authenticate(
    settings: Settings, keyring: Keyring | None, is_complete: Callable[[], bool] = lambda: True
) -> Stage:
    """Return the stage of the mode: `tenants` if there is a `keyring`, else `pass-through` or `inject`.

    `is_complete` says whether all keys of a key store have been read.
    """
    auth_header = settings.upstream.auth_header.lower().encode("ascii")
    found = Callers(caller_headers(settings), auth_header)
    if keyring is not None:
        return Tenants(keyring, auth_header, found, is_complete)
    if mode(settings) == "pass-through":
        return PassThrough(found, _refusal(settings))
    # With several upstreams each may have its own key, put in by the routing.
    keys = [settings.upstream.api_key, *map(own_key, settings.upstreams)]
    api_key = next(key for key in keys if key is not None)
    return Inject(secret_bytes(api_key), auth_header, found)


def caller_headers(settings: Settings) -> tuple[bytes, ...]:
    """Return the names, in lower case, of further headers that distinguish callers."""
    return tuple(name.encode("ascii") for name in settings.auth.caller_headers)


def _refusal(settings: Settings) -> type[MissingCredentials] | None:
    """Return the error for a request without credentials in pass-through mode, None if it may pass."""
    plain = all(url.lower().startswith("http://") for url in base_urls(settings))
    required = settings.auth.required
    if all_serverless(settings) or required == "false" or (required == "auto" and plain):
        return None
    return MissingCredentialsOfLocalServer if plain else MissingCredentials


def web_origins(settings: Settings) -> WebOrigins:
    """Return which pages of the web may call."""
    listed = [origin.encode("ascii") for origin in settings.cors.origins]
    normal = [ANY if origin == ANY else normal_origin(origin) for origin in listed]
    return WebOrigins(
        frozenset(origin for origin in normal if origin is not None),
        guards=mode(settings) == "inject" or (mode(settings) == "pass-through" and all_serverless(settings)),
    )


def make_keyring(settings: Settings) -> Keyring | None:
    """Return the configured client keys, None if there are none and none can be made.

    Raises SettingsError for a client key that has no key to send upstream.
    """
    default, needs_one = settings.upstream.api_key, not needs_no_default_key(settings)
    entries = []
    for key in client_keys(settings):
        upstream_key = key.upstream_key or default
        if upstream_key is None and needs_one:
            raise settings.error("client_api_keys", f"{key.name} has no upstream key")
        entries.append(
            ClientKey(
                name=key.name,
                digest=key.sha256,
                upstream_key=secret_bytes(upstream_key) if upstream_key is not None else _PLACE,
                models=key.models,
                expires_at=key.expires.timestamp() if key.expires else None,
                account=Account(
                    _ascii(key.organization), _ascii(key.project), own_allowed=key.allow_organization
                ),
                former=key.former,
                refused=key.refused,
            )
        )
    return Keyring(entries) if entries or settings.key_store.url else None


def _ascii(text: str | None) -> bytes | None:
    return None if text is None else text.encode("ascii")
