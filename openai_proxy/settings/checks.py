"""Check that settings agree with each other, and that the files they name exist on this machine."""

from __future__ import annotations

import re
from importlib.util import find_spec

from . import check_certificates, check_keys
from .endpoint_hints import is_loopback_endpoint
from .errors import SettingsError, mask_spec, shown
from .model import Settings
from .sections import Upstream
from .tables import UpstreamEntry
from .tenants import mode

_COMMA = re.compile(r"^[^:]*,|,(?:console|json|log|exchange-log|prometheus|otel|none)(?:$|[:,])")
"""A comma in an observer's name, or before the name of another observer."""


def check(settings: Settings) -> None:
    """Raise SettingsError for the first disagreement. Paths are absolute by now."""
    for step in (
        check_keys.empty_keys,
        _observers,
        _lines,
        check_certificates.ca_file,
        check_certificates.client_certificates,
        _redis,
        _cors,
        _objects,
        _pages,
        _capture,
        _storage,
        _replay,
        _think,
        _upstreams,
        _models,
        check_keys.keys,
        check_keys.groups,
        check_keys.key_store,
        check_keys.upstream_keys,
    ):
        step(settings)


def _observers(settings: Settings) -> None:
    for spec in settings.observers:
        if _COMMA.search(spec):
            parted = " ".join(part.strip() for part in spec.split(","))
            raise settings.error(
                "observers",
                f"spaces separate observers, not commas: {shown(mask_spec(parted))}",
            )


def _lines(settings: Settings) -> None:
    """Refuse a static or dropped header that carries the key."""
    header = settings.upstream.auth_header.lower()
    tables: list[tuple[str, Upstream | UpstreamEntry]] = [
        ("upstream", settings.upstream),
        *((f"upstreams[{n}]", e) for n, e in enumerate(settings.upstreams)),
    ]
    for path, table in tables:
        if header in (name.lower() for name, _ in table.headers):
            raise SettingsError(f"{path}.headers: {header!r} carries the key (upstream.auth_header)")
        if header in (table.drop_headers or ()):
            raise SettingsError(f"{path}.drop_headers: {header!r} carries the key (upstream.auth_header)")


def _redis(settings: Settings) -> None:
    urls = (
        ("cache.url", settings.cache.url),
        ("rate_limit.url", settings.rate_limit.url),
        ("key_store.url", settings.key_store.url),
    )
    for path, url in urls:
        if url and url.get_secret_value().startswith("redis") and find_spec("hiredis") is None:
            raise settings.error(path, "Redis needs the extra: pip install 'twisted-openai-proxy[redis]'")


def _pages(settings: Settings) -> None:
    if settings.access.pages == "token" and settings.admin.token is None:
        raise settings.error("access.pages", "'token' needs an admin.token (ADMIN__TOKEN)")


def _capture(settings: Settings) -> None:
    """Refuse to record whole conversations if a mistake would expose them to a network."""
    if not settings.live.capture_bytes or settings.admin.token is not None:
        return
    for port in settings.ports:
        if not is_loopback_endpoint(port):
            raise settings.error(
                "live.capture_bytes",
                f"keeps whole conversations, and {shown(port)} listens beyond this machine: needs an admin.token"
                " (ADMIN__TOKEN)",
            )


def _objects(settings: Settings) -> None:
    if settings.objects.owners == "enforce" and mode(settings) != "tenants":
        raise settings.error("objects.owners", "needs client keys ([[keys]]) as owners of the objects")


def _cors(settings: Settings) -> None:
    if "*" in settings.cors.origins and mode(settings) == "inject":
        raise settings.error(
            "cors.origins",
            "'*' would let every web page spend the upstream key; list the origins, or set client keys",
        )


def _storage(settings: Settings) -> None:
    storage = settings.storage
    if storage.type == "local" and not storage.local_log_dir:
        raise SettingsError("storage.local_log_dir (LOCAL_LOG_DIR): is needed if storage.type is local")
    if storage.type != "azure":
        return
    if not storage.azure_container:
        raise SettingsError(
            "storage.azure_container (AZURE_STORAGE_CONTAINER): is needed if storage.type is azure"
        )
    if storage.azure_connection_string:
        return
    for name, value in (("name", storage.azure_account_name), ("key", storage.azure_account_key)):
        if not value:
            raise SettingsError(
                f"storage.azure_account_{name} (AZURE_STORAGE_ACCOUNT_{name.upper()}):"
                " is needed if storage.type is azure"
            )


def _replay(settings: Settings) -> None:
    if settings.replay.miss != "error" and settings.replay.live_url is None:
        raise settings.error("replay.miss", "needs replay.live_url, for requests that were not recorded")


def _think(settings: Settings) -> None:
    if settings.think.start_tag == settings.think.end_tag:
        raise settings.error("think.end_tag", "must differ from think.start_tag")
    for index, model in enumerate(settings.models):
        own = model.think
        if own is None:
            continue
        if (own.start_tag or settings.think.start_tag) == (own.end_tag or settings.think.end_tag):
            raise settings.error(f"models[{index}].think.end_tag", "must differ from start_tag")


def _upstreams(settings: Settings) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(settings.upstreams):
        if entry.name in seen:
            raise SettingsError(f"upstreams[{index}].name: {entry.name!r} is taken by another upstream")
        seen.add(entry.name)


def _models(settings: Settings) -> None:
    names = [entry.name for entry in settings.upstreams]
    for index, model in enumerate(settings.models):
        if model.upstream is not None and model.upstream not in names:
            known = ", ".join(names) or "there is none"
            raise SettingsError(
                f"models[{index}].upstream: {model.upstream!r} is no name of [[upstreams]] ({known})"
            )
