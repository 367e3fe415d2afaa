"""Values that follow from several settings."""

from __future__ import annotations

from pathlib import Path

from ..wire.endpoint_rules import EndpointRules
from .model import Settings
from .tenants import client_keys
from .urls import is_serverless, sqlite_path

DEFAULT_FILE = "openai-proxy.sqlite3"
"""The state file's name, in the working directory."""


def base_urls(settings: Settings) -> list[str]:
    """Return the base URL of each upstream, the lowest priority number first."""
    ordered = sorted(settings.upstreams, key=lambda entry: entry.priority)
    return [entry.base_url for entry in ordered] or [settings.upstream.base_url]


def all_serverless(settings: Settings) -> bool:
    """Return whether no upstream is a server: then no key is needed."""
    return all(map(is_serverless, base_urls(settings)))


def redis_url(settings: Settings) -> str | None:
    """Return the URL of the Redis for limits, which health reports."""
    url = settings.rate_limit.url or settings.cache.url
    text = url.get_secret_value() if url is not None else None
    return text if text is not None and text.startswith("redis") else None


def key_store_path(settings: Settings) -> Path | None:
    """Return the SQLite file of keys created at run time; None without one."""
    url = settings.key_store.url
    path = None if url is None else sqlite_path(url.get_secret_value())
    return None if path is None else settings.directory / Path(path).expanduser()


def state_path(settings: Settings, has_budgets: bool) -> Path | None:
    """Return the file for money, totals and owners; None if they are kept in memory.

    It is the configured one. Without that setting, it is a file in the working
    directory if there are budgets, a key store, owners of objects, an admin
    token or keys with models that may run batches, and else there is none.
    """
    text = settings.cost.state_file
    if text is None:
        enforces = settings.objects.owners == "enforce"
        stores = settings.key_store.url is not None  # a key with a budget may be created at any time
        wanted = (
            has_budgets or stores or enforces or settings.admin.token is not None or _reads_batches(settings)
        )
        return settings.directory / DEFAULT_FILE if wanted else None
    return None if text.lower() in ("none", "off") else settings.directory / text


def _reads_batches(settings: Settings) -> bool:
    """Return whether a key with an allow-list may run batches: the contents of their input files are needed later."""
    return any(
        key.models is not None
        and key.endpoints is not None
        and EndpointRules(key.endpoints).cover("POST", "batches")
        for key in client_keys(settings)
    )
