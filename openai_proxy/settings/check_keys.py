"""Check that client keys, their groups and their upstream keys agree. Imported only by `checks`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches

from .derived import key_store_path
from .errors import SettingsError
from .model import Settings
from .serverless import calls_a_server
from .tenants import client_keys, entry_digest, group_chain, inherits_key, mode, needs_no_default_key


def empty_keys(settings: Settings) -> None:
    """Refuse an empty list of client keys: it admits everybody, which its author did not want."""
    if mode(settings) == "tenants":
        return
    for path in ("client_api_keys", "api_key_mapping", "keys"):
        if settings.origin(path) is not None:
            raise settings.error(path, "is empty: put a client key into it, or remove it")


def keys(settings: Settings) -> None:
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
"""The most groups that one key may belong to, its own included: each is checked before a request is forwarded."""


def groups(settings: Settings) -> None:
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
        return  # then a group is only a name for keys that share their objects
    for index, key in enumerate(settings.keys):
        if key.group is not None and key.group not in names:
            raise SettingsError(
                f"keys[{index}].group: {key.group!r} is no name of [[groups]]{_near(key.group, names)}"
            )


def _near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1, cutoff=0.0)
    return f"; the nearest is {near[0]!r}" if near else ""


def key_store(settings: Settings) -> None:
    """Refuse a file that cannot be made: a key that cannot be stored must not be given out."""
    path = key_store_path(settings)
    if path is None:
        return
    parent = path.parent
    if path.is_dir():
        raise settings.error("key_store.url", f"{path} is a directory, not a file")
    if not parent.is_dir():
        raise settings.error("key_store.url", f"there is no directory {parent}")
    # SQLite creates further files next to the database
    for each in (parent, path):
        if each.exists() and not os.access(each, os.W_OK):
            raise settings.error("key_store.url", f"{each} cannot be written")


def upstream_keys(settings: Settings) -> None:
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
