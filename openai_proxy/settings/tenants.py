"""The mode of authentication and the client keys that follow from the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

from attrs import evolve, field, frozen
from pydantic import SecretStr

from ..wire.keys import key_digest, key_name
from .model import Settings
from .serverless import calls_a_server
from .tables import GroupEntry, KeyEntry, KeyLimits, UpstreamEntry

INHERIT = "inherit"
"""The value of an upstream's `api_key` that means the default key."""

T = TypeVar("T")

Mode: TypeAlias = Literal["pass-through", "inject", "tenants"]


@frozen
class ClientKey:
    """One client key with all its rules."""

    name: str
    """Its configured name, or `key-` and 8 hex digits."""
    sha256: bytes = field(repr=False)
    """Digest of the key, 32 bytes; the key itself is not kept."""
    upstream_key: SecretStr | None = None
    """The key that is sent upstream; None means the chosen upstream's own key."""
    models: tuple[str, ...] | None = None
    """Names or globs; None means all."""
    endpoints: tuple[str, ...] | None = None
    """Names, globs or sets of endpoints; None means the default."""
    addresses: tuple[str, ...] = ()
    """Networks that it may be used from; empty for any."""
    limits: KeyLimits = field(factory=KeyLimits)
    budget_usd: float | None = None
    budget_period: Literal["day", "month"] = "month"
    unpriced: Literal["allow", "refuse"] | None = None
    """The rule for models without a price; None means that for all keys."""
    budget_unmeasured: Literal["allow", "refuse"] = "refuse"
    """The rule for requests whose cost cannot be measured, if it has a budget."""
    on_disconnect: Literal["cancel", "finish"] | None = None
    """The rule for a call whose client leaves; None means that of the model, or that for all."""
    group: str | None = None
    owns_all: bool = False
    """Whether it sees the stored objects of all keys."""
    expires: datetime | None = None
    """The expiry as an aware datetime; None means never."""
    tags: tuple[tuple[str, str], ...] = ()
    """Names and values of tags that its requests have."""
    note: str | None = None
    """The operator's note."""
    organization: str | None = None
    project: str | None = None
    allow_organization: bool = False
    """Whether its clients may choose organization and project."""
    former: tuple[tuple[bytes, float], ...] = field(default=(), repr=False)
    """Digests of secrets that were replaced, and when each stops working, in seconds since the epoch."""
    refused: str | None = None
    """Why all its requests are refused; None if they are admitted."""
    is_stored: bool = False
    """It was created at run time, and is in the key store."""
    groups: tuple[GroupEntry, ...] = ()
    """Its group, the parent of that group, and so on."""

    @property
    def has_budget(self) -> bool:
        """Whether a budget pays for its requests: its own, or that of a group."""
        return self.budget_usd is not None or any(group.budget_usd is not None for group in self.groups)


def mode(settings: Settings) -> Mode:
    """Return the mode of authentication: see docs/reference/keys.md."""
    if settings.client_api_keys or settings.api_key_mapping or settings.keys or settings.key_store.url:
        return "tenants"
    if settings.upstream.api_key or any(map(own_key, settings.upstreams)):
        return "inject"
    return "pass-through"


def inherits_key(entry: UpstreamEntry) -> bool:
    """Return whether the key of `upstream.base_url` is sent to this upstream, whatever its origin."""
    return entry.api_key is not None and entry.api_key.get_secret_value() == INHERIT


def own_key(entry: UpstreamEntry) -> SecretStr | None:
    """Return this upstream's own key, None without one."""
    return None if inherits_key(entry) else entry.api_key


def needs_no_default_key(settings: Settings) -> bool:
    """Return whether every upstream has a key of its own, or needs none."""
    if not settings.upstreams:
        return not calls_a_server(settings, settings.upstream.base_url)
    return all(own_key(entry) or not calls_a_server(settings, entry.base_url) for entry in settings.upstreams)


def client_keys(settings: Settings) -> tuple[ClientKey, ...]:
    """Return every client key once, those of the configuration first.

    A `[[keys]]` entry takes precedence over a bare key, and inherits its
    mapping. A stored key is left out if the configuration has its name or its
    secret. Cached for each configuration, because a rebuild needs the keys a
    dozen times.
    """
    sources = (
        settings.keys,
        settings.client_api_keys,
        settings.api_key_mapping,
        settings.groups,
        settings._stored_keys,
    )
    found = settings._client_keys
    if found is None or any(was is not now for was, now in zip(found[0], sources, strict=True)):
        found = settings._client_keys = (sources, _all_keys(settings))
    return found[1]


def found_once(settings: Settings, name: str, find: Callable[[], T]) -> T:
    """Return the result of `find`, which depends on the client keys and the general limits; cached until they
    change.

    With 10,000 keys each search takes the reactor some 50 ms, and a change of
    one key searches again. The result must not be modified.
    """
    sources = (client_keys(settings), settings.rate_limit, settings.groups)
    kept = settings._found.get(name)
    if kept is None or any(was is not now for was, now in zip(kept[0], sources, strict=True)):
        kept = settings._found[name] = (sources, find())
    found: T = kept[1]
    return found


def _all_keys(settings: Settings) -> tuple[ClientKey, ...]:
    by_digest = {key.sha256: key for key in configured_keys(settings)}
    names = {key.name for key in by_digest.values()}
    for key in settings._stored_keys:
        if key.name not in names:
            by_digest.setdefault(key.sha256, key)
    if not settings.groups:
        return tuple(by_digest.values())
    chains = {group.name: tuple(group_chain(settings, group.name)) for group in settings.groups}
    return tuple(evolve(key, groups=chains.get(key.group or "", ())) for key in by_digest.values())


def group_chain(settings: Settings, name: str | None) -> Iterator[GroupEntry]:
    """Yield the group of that name, its parent, and so on; nothing for an unknown name."""
    groups = {group.name: group for group in settings.groups}
    for _ in range(len(groups)):  # a cycle is refused elsewhere, and ends here
        group = groups.get(name or "")
        if group is None:
            return
        yield group
        name = group.parent


def configured_keys(settings: Settings) -> tuple[ClientKey, ...]:
    """Return only the client keys of the configuration."""
    mapped = {_digest(client): upstream for client, upstream in settings.api_key_mapping}
    by_digest = {found.sha256: found for found in (client_key(entry, mapped) for entry in settings.keys)}
    for key in (*settings.client_api_keys, *(client for client, _ in settings.api_key_mapping)):
        digest = _digest(key)
        by_digest.setdefault(digest, ClientKey(key_name(digest), digest, mapped.get(digest)))
    return tuple(by_digest.values())


def with_stored_keys(settings: Settings, keys: tuple[ClientKey, ...]) -> Settings:
    """Return the settings with `keys` as those of the key store, replacing the previous ones."""
    changed = settings.model_copy()
    changed._stored_keys = keys
    changed._found = {}
    return changed


def entry_digest(entry: KeyEntry) -> bytes:
    """Return the SHA-256 of an entry's key, which the entry contains itself or as the clear key."""
    if entry.key_sha256 is not None:
        return bytes.fromhex(entry.key_sha256.get_secret_value())
    return _digest(entry.key) if entry.key is not None else b""


def _digest(key: SecretStr) -> bytes:
    return key_digest(key.get_secret_value().encode())


def client_key(entry: KeyEntry, mapped: Mapping[bytes, SecretStr]) -> ClientKey:
    """Return the key of an entry; `mapped` has the upstream keys by the digests of client keys."""
    digest = entry_digest(entry)
    return ClientKey(
        name=entry.name,
        sha256=digest,
        upstream_key=entry.upstream_key or mapped.get(digest),
        models=entry.models,
        endpoints=entry.endpoints,
        addresses=entry.addresses or (),
        limits=entry.limits,
        budget_usd=entry.budget_usd,
        budget_period=entry.budget_period,
        unpriced=entry.unpriced,
        group=entry.group,
        owns_all=entry.owns_all,
        budget_unmeasured=entry.budget_unmeasured,
        on_disconnect=entry.on_disconnect,
        expires=entry.expires,
        tags=entry.tags,
        note=entry.note,
        organization=entry.organization,
        project=entry.project,
        allow_organization=entry.allow_organization,
    )
