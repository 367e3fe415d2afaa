"""Warn about settings that have no effect, or contradict each other.

A list of small checks: each is a pure function of the settings that yields one
line for each thing that its author probably did not mean. The daemon starts all
the same; settings that cannot work are errors, in `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TypeAlias
from urllib.parse import urlsplit

from .derived import base_urls
from .hosts import plain_public_host
from .model import Settings
from .sections import RateLimit
from .tables import KeyLimits
from .tenants import client_keys
from .urls import origin_of

Check: TypeAlias = Callable[[Settings], Iterator[str]]


def warnings(settings: Settings) -> tuple[str, ...]:
    """Return a line for each probable mistake in the settings."""
    return (*settings.unknown, *settings.exposed, *(line for check in CHECKS for line in check(settings)))


def name(settings: Settings, path: str) -> str:
    """Return the name of a setting in a line: its TOML path, and the origin of its value."""
    origin = settings.origin(path.partition("[")[0])
    return f"{path} (from {origin})" if origin else path


def unused_base_url(settings: Settings) -> Iterator[str]:
    """Requests go to `[[upstreams]]`; the base URL only names the origin that receives the default key."""
    if not settings.upstreams or settings.origin("upstream.base_url") is None:
        return
    origins = {origin_of(entry.base_url) for entry in settings.upstreams}
    if origin_of(settings.upstream.base_url) not in origins:
        yield (
            f"{name(settings, 'upstream.base_url')} is not used, because no [[upstreams]] is at that address:"
            " all requests go to [[upstreams]]"
        )


def upstream_of_working_directory(settings: Settings) -> Iterator[str]:
    """Any user who can write into the working directory could have the key sent to another host."""
    upstream = settings.upstream
    origin, key_origin = settings.origin("upstream.base_url"), settings.origin("upstream.api_key")
    if upstream.api_key is None or origin is None or not origin.endswith(" in .env"):
        return
    if key_origin is None or not key_origin.endswith(" in .env"):
        yield (
            f"{name(settings, 'upstream.base_url')} comes from the .env file of the working directory, but"
            f" {name(settings, 'upstream.api_key')} does not: the key goes to whatever that file names"
        )


def plain_http(settings: Settings) -> Iterator[str]:
    """Keys and prompts can be read by everybody on the way."""
    urls = [("upstream.base_url", settings.upstream.base_url)] if not settings.upstreams else []
    urls += [(f"upstreams[{n}].base_url", entry.base_url) for n, entry in enumerate(settings.upstreams)]
    for path, url in urls:
        host = plain_public_host(url)
        if host is not None:
            yield (
                f"{name(settings, path)}: keys and prompts go to the public host {host} by http, without"
                " encryption; use https"
            )


_API_PATHS = (
    (re.compile(r".+\.(?:openai|cognitiveservices|services\.ai)\.azure\.com"), "/openai/v1"),
    (re.compile(r"openrouter\.ai"), "/api/v1"),
    (re.compile(r"api\.groq\.com"), "/openai/v1"),
    (re.compile(r"generativelanguage\.googleapis\.com"), "/v1beta/openai"),
    (re.compile(r"api\.fireworks\.ai"), "/inference/v1"),
)
"""Where hosts have their OpenAI API that is not at `/v1`."""


def path_of_known_host(settings: Settings) -> Iterator[str]:
    """A host without a path gets `/v1`, and everything there is 404."""
    urls = [("upstream.base_url", settings.upstream.base_url)] if not settings.upstreams else []
    urls += [(f"upstreams[{n}].base_url", entry.base_url) for n, entry in enumerate(settings.upstreams)]
    for path, url in urls:
        parts = urlsplit(url)
        for host, api_path in _API_PATHS:
            if parts.path == "/v1" and host.fullmatch(parts.hostname or ""):
                yield (
                    f"{name(settings, path)}: {parts.hostname} has its OpenAI API at {api_path}, not at /v1:"
                    f" https://{parts.hostname}{api_path}"
                )


def plain_redis(settings: Settings) -> Iterator[str]:
    """What is stored in Redis, and its password, can be read by everybody on the way."""
    urls = (
        ("cache.url", settings.cache.url),
        ("rate_limit.url", settings.rate_limit.url),
        ("key_store.url", settings.key_store.url),
    )
    for path, url in urls:
        host = plain_public_host(url.get_secret_value(), "redis") if url is not None else None
        if host is not None:
            yield (
                f"{name(settings, path)}: the connection to the public host {host} is not encrypted; use rediss"
            )


def expired_keys(settings: Settings) -> Iterator[str]:
    """Expired keys get 401 from the first request on."""
    now = datetime.now(timezone.utc)
    for index, entry in enumerate(settings.keys):
        if entry.expires is not None and entry.expires <= now:
            yield f"keys[{index}] ({entry.name}) expired on {entry.expires:%Y-%m-%d}: it gets 401"


def keys_without_models(settings: Settings) -> Iterator[str]:
    """An empty list allows nothing; one that is left out allows all."""
    for index, entry in enumerate(settings.keys):
        if entry.models is not None and not entry.models:
            yield (
                f"keys[{index}] ({entry.name}) may use no model, because its list of models is empty;"
                " leave it out to allow all"
            )


def cache_without_store(settings: Settings) -> Iterator[str]:
    """Rules, times to live and sharing have no effect without a cache."""
    if settings.cache.url is not None:
        return
    for path in ("cache.rules", "cache.shared", "cache.max_bytes", *_TIMES):
        if settings.origin(path) is not None:
            yield f"{name(settings, path)} has no effect without cache.url (CACHE__URL)"


_TIMES = ("cache.ttl_s.embeddings", "cache.ttl_s.completions", "cache.ttl_s.models")


def max_bytes_of_redis(settings: Settings) -> Iterator[str]:
    """It bounds only the embedded cache; Redis has a bound of its own."""
    url = settings.cache.url
    if url is not None and settings.origin("cache.max_bytes") and url.get_secret_value() != "memory:":
        yield f"{name(settings, 'cache.max_bytes')} has no effect with Redis: set maxmemory there"


def wait_without_limits(settings: Settings) -> Iterator[str]:
    """No request ever waits if nothing is limited."""
    limits: list[RateLimit | KeyLimits] = [
        settings.rate_limit,
        *(key.limits for key in client_keys(settings)),
    ]
    limited = any(
        limit is not None
        for each in limits
        for limit in (each.requests_per_minute, each.tokens_per_minute, each.concurrent_requests)
    )
    if settings.rate_limit.max_wait_s and not limited:
        yield f"{name(settings, 'rate_limit.max_wait_s')} has no effect, because no limit is set"


_THINK_DETAILS = tuple(
    f"think.{name}" for name in ("trim", "start_tag", "end_tag", "where", "implicit_start")
)


def think_that_is_kept(settings: Settings) -> Iterator[str]:
    """The other settings of `think` say how blocks are removed; with `keep`, none are."""
    if settings.think.mode == "keep" and not any(
        model.think is not None and model.think.mode not in (None, "keep") for model in settings.models
    ):
        for path in _THINK_DETAILS:
            value = getattr(settings.think, path.partition(".")[2])
            if settings.origin(path) is not None and value not in (False, "anywhere"):
                yield f"{name(settings, path)} has no effect, because think.mode is 'keep'"
    for index, model in enumerate(settings.models):
        own = model.think
        if own is None or (own.mode or settings.think.mode) != "keep":
            continue
        for detail, value in (
            ("trim", own.trim),
            ("implicit_start", own.implicit_start),
            ("where", own.where == "start"),
        ):
            if value:
                yield (
                    f"models[{index}].think.{detail} has no effect, because the mode of {model.match!r} is 'keep'"
                )


def workers_with_memory(settings: Settings) -> Iterator[str]:
    """Only half of the configured bound is used for distinct answers."""
    url = settings.cache.url
    if settings.workers > 1 and url is not None and url.get_secret_value() == "memory:":
        yield (
            f"{name(settings, 'cache.url')} is 'memory:' while workers is {settings.workers}: half of"
            " cache.max_bytes is for the workers' copies of the same answers; Redis holds each answer once"
        )


def workers_with_mock(settings: Settings) -> Iterator[str]:
    """A file uploaded to one worker is unknown to the others."""
    if settings.workers > 1 and any(url.startswith("mock:") for url in base_urls(settings)):
        yield (
            f"an upstream is 'mock:' while workers is {settings.workers}: each worker has uploaded files and stored"
            " responses of its own"
        )


def ports_twice(settings: Settings) -> Iterator[str]:
    """The second of two equal ports cannot be opened."""
    seen: dict[str, str] = {}
    strings = [("ports", text) for text in settings.ports]
    if settings.admin.port is not None:
        strings.append(("admin.port", settings.admin.port))
    for path, text in strings:
        number = _port_number(text)
        if number is None:
            continue
        other = seen.setdefault(number, text)
        if other is not text and _may_collide(text, other):
            yield f"{name(settings, path)}: {text!r} has the same port as {other!r}; only one can be opened"


def _port_number(text: str) -> str | None:
    match = re.match(r"(?:haproxy:)*(?:tcp6?|ssl):(?:port=)?([0-9]+)(?![^:])", text) or re.search(
        r"^tls:.*:(?:port=)?([0-9]+)(?![^:])", text
    )
    return match[1] if match and match[1] != "0" else None


def _may_collide(one: str, other: str) -> bool:
    """Return whether two endpoints of one port share an address; one without an interface has all addresses."""
    interfaces = [re.search(r":interface=((?:\\.|[^:])+)", text) for text in (one, other)]
    return any(each is None for each in interfaces) or len({each[1] for each in interfaces if each}) == 1


def storage_without_type(settings: Settings) -> Iterator[str]:
    """A directory or an account without a type starts no exchange log."""
    if settings.storage.type is not None:
        return
    paths = ("local_log_dir", "azure_account_name", "azure_container", "azure_connection_string")
    for path in (f"storage.{each}" for each in paths):
        if settings.origin(path) is not None:
            yield f"{name(settings, path)} has no effect without storage.type (STORAGE_TYPE)"


CHECKS: tuple[Check, ...] = (
    unused_base_url,
    upstream_of_working_directory,
    plain_http,
    path_of_known_host,
    plain_redis,
    expired_keys,
    keys_without_models,
    cache_without_store,
    max_bytes_of_redis,
    wait_without_limits,
    think_that_is_kept,
    workers_with_memory,
    workers_with_mock,
    ports_twice,
    storage_without_type,
)
