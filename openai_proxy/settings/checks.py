"""What must agree between settings, and what must exist on this machine."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from .derived import key_store_path
from .endpoint_hints import is_loopback_endpoint
from .errors import SettingsError, mask_spec, shown
from .fields import Section
from .header_lines import check_line, file_of
from .model import Settings
from .sections import Upstream
from .serverless import calls_a_server
from .sources import read_secret_file
from .tables import UpstreamEntry
from .tenants import client_keys, entry_digest, group_chain, inherits_key, mode, needs_no_default_key

AnySection = TypeVar("AnySection", bound=Section)
_COMMA = re.compile(r"^[^:]*,|,(?:console|json|log|exchange-log|prometheus|otel|none)(?:$|[:,])")
"""A comma in an observer's name, or one before the name of another."""


def resolve_paths(settings: Settings, directory: Path) -> Settings:
    """Return the settings with their paths made absolute, since a daemon changes its directory."""
    storage = settings.storage
    upstream = _with_absolute(settings.upstream, directory, "ca_file", "client_cert", "client_key")
    upstreams = tuple(
        _with_absolute(entry, directory, "client_cert", "client_key") for entry in settings.upstreams
    )
    if storage.local_log_dir:
        storage = storage.model_copy(update={"local_log_dir": str(directory / storage.local_log_dir)})
    return settings.model_copy(update={"upstream": upstream, "upstreams": upstreams, "storage": storage})


def _with_absolute(section: AnySection, directory: Path, *names: str) -> AnySection:
    paths = {name: str(directory / value) for name in names if (value := getattr(section, name))}
    return section.model_copy(update=paths) if paths else section


def read_secret_lines(settings: Settings, directory: Path) -> Settings:
    """Return the settings with the values of `NAME_FILE` headers and parameters read. Raises SettingsError."""
    upstream = _with_secret_lines(settings.upstream, "upstream", directory)
    entries = tuple(
        _with_secret_lines(entry, f"upstreams[{number}]", directory)
        for number, entry in enumerate(settings.upstreams)
    )
    return settings.model_copy(update={"upstream": upstream, "upstreams": entries})


_Table = TypeVar("_Table", Upstream, UpstreamEntry)


def _with_secret_lines(table: _Table, path: str, directory: Path) -> _Table:
    return table.model_copy(
        update={
            member: tuple(_read(pair, f"{path}.{member}", directory) for pair in getattr(table, member))
            for member in ("headers", "query")
        }
    )


def _read(pair: tuple[str, SecretStr], path: str, directory: Path) -> tuple[str, SecretStr]:
    name = file_of(pair[0])
    if name is None:
        return pair
    text = read_secret_file(path, pair[0], directory / pair[1].get_secret_value())
    try:
        check_line(name, text)
    except ValueError as error:
        raise SettingsError(f"{path} (from {pair[0]}): {error}") from None
    return name, SecretStr(text)


def check(settings: Settings) -> None:
    """Raise SettingsError for the first disagreement. Paths are absolute by now."""
    for step in (
        _empty_keys,
        _observers,
        _lines,
        _ca_file,
        _client_certificates,
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
        _keys,
        _groups,
        _key_store,
        _upstream_keys,
    ):
        step(settings)


def _empty_keys(settings: Settings) -> None:
    """Refuse a list of client keys that has none: it closes no door, though its writer wanted one closed."""
    if mode(settings) == "tenants":
        return
    for path in ("client_api_keys", "api_key_mapping", "keys"):
        if settings.origin(path) is not None:
            raise settings.error(path, "is empty: put a client key into it, or remove it")


def _observers(settings: Settings) -> None:
    for spec in settings.observers:
        if _COMMA.search(spec):
            parted = " ".join(part.strip() for part in spec.split(","))
            raise settings.error(
                "observers",
                f"spaces separate observers, not commas: {shown(mask_spec(parted))}",
            )


def _lines(settings: Settings) -> None:
    """Refuse a static or dropped header that is the one which carries the key."""
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


def _ca_file(settings: Settings) -> None:
    path = settings.upstream.ca_file
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise settings.error("upstream.ca_file", f"{path} is no PEM file with certificates") from None
    except OSError as error:
        raise settings.error("upstream.ca_file", f"cannot read {path}: {error.strerror}") from None


def _client_certificates(settings: Settings) -> None:
    own = settings.upstream
    tables: list[tuple[str, Upstream | UpstreamEntry]] = [("upstream", own)]
    tables += [(f"upstreams[{index}]", entry) for index, entry in enumerate(settings.upstreams)]
    for table, section in tables:
        _client_certificate(settings, table, section.client_cert, section.client_key)
    if own.client_cert and settings.upstreams and settings.origin("upstream.base_url") is not None:
        origins = [_origin(entry.base_url) for entry in settings.upstreams if entry.client_cert is None]
        if _origin(own.base_url) not in origins:
            raise settings.error(
                "upstream.client_cert",
                "none of [[upstreams]] has the origin of upstream.base_url, so nothing uses this"
                " certificate; give client_cert in the [[upstreams]] that it is for",
            )


def _client_certificate(settings: Settings, table: str, file: str | None, key_file: str | None) -> None:
    if file is None:
        if key_file is not None:
            raise settings.error(f"{table}.client_key", f"needs {table}.client_cert beside it")
        return
    for name, path in (("client_cert", file), ("client_key", key_file)):
        try:
            if path is not None:
                Path(path).read_bytes()
        except OSError as error:
            raise settings.error(f"{table}.{name}", f"cannot read {path}: {error.strerror}") from None
    try:
        # A passphrase would be asked for at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file, key_file, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise settings.error(f"{table}.client_cert", _why_no_pair(error, file, key_file)) from None


def _why_no_pair(error: Exception, file: str, key_file: str | None) -> str:
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        return f"the key in {key_file or file} is not that of the certificate in {file}"
    both = f"{file} and {key_file}" if key_file else file
    return f"{both} must hold a certificate and its key in PEM, the key without a passphrase"


def _origin(base_url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(base_url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


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
    """Refuse to keep whole conversations where a slip would show them to a network."""
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
        raise settings.error("objects.owners", "needs client keys ([[keys]]), whose the objects are")


def _cors(settings: Settings) -> None:
    if "*" in settings.cors.origins and mode(settings) == "inject":
        raise settings.error(
            "cors.origins",
            "'*' would let every web page spend the upstream key; list the origins, or set client keys",
        )


def _storage(settings: Settings) -> None:
    storage = settings.storage
    if storage.type == "local" and not storage.local_log_dir:
        raise SettingsError("storage.local_log_dir (LOCAL_LOG_DIR): is needed where storage.type is local")
    if storage.type != "azure":
        return
    if not storage.azure_container:
        raise SettingsError(
            "storage.azure_container (AZURE_STORAGE_CONTAINER): is needed where storage.type is azure"
        )
    if storage.azure_connection_string:
        return
    for name, value in (("name", storage.azure_account_name), ("key", storage.azure_account_key)):
        if not value:
            raise SettingsError(
                f"storage.azure_account_{name} (AZURE_STORAGE_ACCOUNT_{name.upper()}):"
                " is needed where storage.type is azure"
            )


def _replay(settings: Settings) -> None:
    if settings.replay.miss != "error" and settings.replay.live_url is None:
        raise settings.error("replay.miss", "needs replay.live_url, which is asked what was not recorded")


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


def _keys(settings: Settings) -> None:
    names: set[str] = set()
    digests: dict[bytes, str] = {}
    for index, entry in enumerate(settings.keys):
        label = f"keys[{index}]"
        if (entry.key is None) == (entry.key_sha256 is None):
            raise SettingsError(f"{label}: {entry.name!r} must have either key or key_sha256")
        if entry.name in names:
            raise SettingsError(f"{label}.name: {entry.name!r} is taken by another key")
        twin = digests.get(entry_digest(entry))
        if twin is not None:
            raise SettingsError(f"{label}: {entry.name!r} has the same key as {twin!r}")
        names.add(entry.name)
        digests[entry_digest(entry)] = entry.name


MOST_ANCESTORS = 8
"""So many groups may hold one key, its own included: each is asked before a request goes on."""


def _groups(settings: Settings) -> None:
    names = [group.name for group in settings.groups]
    for index, group in enumerate(settings.groups):
        path = f"groups[{index}]"
        if group.name in names[:index]:
            raise SettingsError(f"{path}.name: {group.name!r} is taken by another group")
        if group.parent is not None and group.parent not in names:
            raise SettingsError(
                f"{path}.parent: {group.parent!r} is no name of [[groups]]{_near(group.parent, names)}"
            )
        chain = list(group_chain(settings, group.name))
        if chain[-1].parent is not None:
            raise SettingsError(f"{path}.parent: {group.name!r} is a part of itself")
        if len(chain) > MOST_ANCESTORS:
            raise SettingsError(f"{path}.parent: groups may be {MOST_ANCESTORS} deep, not {len(chain)}")
    if not names:
        return  # then a group is only a name under which keys share their objects
    for index, key in enumerate(settings.keys):
        if key.group is not None and key.group not in names:
            raise SettingsError(
                f"keys[{index}].group: {key.group!r} is no name of [[groups]]{_near(key.group, names)}"
            )


def _near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1, cutoff=0.0)
    return f"; the nearest is {near[0]!r}" if near else ""


def _key_store(settings: Settings) -> None:
    """Refuse a file that cannot be made: a key that cannot be kept must not be given out."""
    path = key_store_path(settings)
    if path is None:
        return
    parent = path.parent
    if path.is_dir():
        raise settings.error("key_store.url", f"{path} is a directory, not a file")
    if not parent.is_dir():
        raise settings.error("key_store.url", f"there is no directory {parent}")
    # SQLite writes files of its own beside the database
    for each in (parent, path):
        if each.exists() and not os.access(each, os.W_OK):
            raise settings.error("key_store.url", f"{each} cannot be written")


def _upstream_keys(settings: Settings) -> None:
    if settings.upstream.api_key:
        return
    for index, upstream in enumerate(settings.upstreams):
        if not calls_a_server(settings, upstream.base_url):
            continue
        if inherits_key(upstream) and mode(settings) != "pass-through":
            raise SettingsError(
                f"upstreams[{index}].api_key: {upstream.name!r} inherits upstream.api_key (OPENAI_API_KEY),"
                " and that is not set"
            )
    if needs_no_default_key(settings):
        return
    if settings.key_store.url is not None:
        raise SettingsError(
            "upstream.api_key (OPENAI_API_KEY): keys of key_store.url have no upstream key of their own, and"
            " this one is not set"
        )
    for key in client_keys(settings):
        if key.upstream_key is None:
            raise SettingsError(
                f"upstream.api_key (OPENAI_API_KEY): the client key {key.name} has neither an upstream key"
                " of its own nor this one"
            )
