"""From Settings to the observers of exchanges."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import evolve

from ..observe.factories import build_observers, with_console
from ..observe.interfaces import Observer, ObserverContext
from ..observe.spec import ObserverSpec
from ..settings import Settings, client_keys

_GLOB = re.compile(r"[*?\[]")


def observers_of(
    settings: Settings, daemon: ObserverContext, running: Iterable[Observer] = ()
) -> list[Observer]:
    """Build the observers that `settings` name; raise SettingsError for one that cannot work.

    `daemon` is the context that they may query; the configured parts are added
    here. If one of the `running` observers counts, it is used again.
    """
    context = evolve(
        daemon,
        body_limit_bytes=settings.limits.exchange_log_body_bytes,
        secrets=upstream_keys(settings),
        otlp_headers=settings.otel.headers.get_secret_value() if settings.otel.headers else "",
        spool_directory=str(settings.directory / settings.storage.spool_dir),
        spool_bytes=settings.storage.spool_bytes,
        azure=_azure_options(settings),
        client_address=settings.log.client_address,
        key_labels=settings.metrics.keys,
        on_command_line=settings.origin("observers") == "--observer",
    )
    try:
        specs = with_console([*settings.observers, *_storage_specs(settings)])
        return build_observers(specs, context, running=running)
    except ValueError as error:
        raise settings.error("observers", str(error)) from error


def watch_alike(one: Settings, other: Settings) -> bool:
    """Return whether two configurations would build the same observers."""
    return _watching(one) == _watching(other)


def _watching(settings: Settings) -> tuple[object, ...]:
    limit_bytes = settings.limits.exchange_log_body_bytes
    keys = upstream_keys(settings)
    return (
        settings.observers,
        settings.storage,
        settings.otel,
        settings.log,
        settings.live,
        limit_bytes,
        keys,
    )


def upstream_urls(settings: Settings) -> dict[str, str]:
    """Return the base URLs by the upstreams' names in exchange records."""
    named = {upstream.name: upstream.base_url for upstream in settings.upstreams}
    return named or {"default": settings.upstream.base_url}


def configured_models(settings: Settings) -> frozenset[str]:
    """Return the models that the configuration names exactly, without globs."""
    names = {name for model in settings.models for name in (model.match, model.upstream_model) if name}
    names |= {price.match for price in settings.cost.prices}
    names |= {name for key in settings.keys for name in key.models or ()}
    return frozenset(name for name in names if not _GLOB.search(name))


def upstream_keys(settings: Settings) -> tuple[str, ...]:
    """Return every upstream key, for the observers to redact."""
    keys = [settings.upstream.api_key, *(upstream.api_key for upstream in settings.upstreams)]
    keys += [key.upstream_key for key in client_keys(settings)]
    return tuple(key.get_secret_value() for key in keys if key is not None)


def _storage_specs(settings: Settings) -> list[ObserverSpec]:
    """Return the exchange-log observer that STORAGE_TYPE stands for."""
    storage = settings.storage
    if storage.type == "local":
        return [ObserverSpec("exchange-log", (), {"dir": str(storage.local_log_dir)})]
    if storage.type == "azure":
        return [ObserverSpec("exchange-log", (), {"url": f"az://{storage.azure_container}"})]
    return []


def _azure_options(settings: Settings) -> dict[str, str]:
    """Return account and credentials as fsspec's storage options; so that no spec has to contain them."""
    storage = settings.storage
    options = {"account_name": storage.azure_account_name}
    for name, secret in (
        ("account_key", storage.azure_account_key),
        ("connection_string", storage.azure_connection_string),
    ):
        options[name] = secret.get_secret_value() if secret is not None else None
    return {name: value for name, value in options.items() if value}
