"""What each key may call and from where: from settings to the stages that decide it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...exchange.client_address import parse_network
from ...settings import Settings, client_keys, mode
from ...settings.tenants import ClientKey
from ...wire.endpoint_rules import ALL, METERED, EndpointAccess, EndpointRules
from ..limits.build import limited_keys, token_limited
from .allow_endpoints import AllowEndpoints
from .own_objects import ObjectOwners, OwnObjects
from .read_websockets import ReadWebSockets
from .refuse_unmeasured import RefuseUnmeasured
from .refuse_unseen import RefuseUnseen

_MOST_NAMED = 20
_OBJECTS = "stored objects of its own"
_TOKENS = "a limit of model tokens"


def allow_endpoints(settings: Settings) -> AllowEndpoints | None:
    """Return the stage that refuses endpoints and addresses; None if it would refuse nothing."""
    listed = settings.access.endpoints
    everybody = EndpointRules(listed) if listed is not None else None
    if mode(settings) == "pass-through":  # there the client's own credentials decide
        if everybody is None:
            return None
        return AllowEndpoints({}, EndpointAccess(None, everybody, guards=False))
    addresses = {
        key.name: [parse_network(text) for text in key.addresses]
        for key in client_keys(settings)
        if key.addresses
    }
    return AllowEndpoints(access_of_keys(settings), EndpointAccess(None, everybody), addresses)


def access_of_keys(settings: Settings) -> dict[str, EndpointAccess]:
    """Return the endpoints that each client key may call, by its name; keys with the same rules share an object."""
    listed = settings.access.endpoints
    everybody = EndpointRules(listed) if listed is not None else None
    shared: dict[tuple[str, ...], EndpointAccess] = {}
    access = {}
    for key in client_keys(settings):
        entries = (str(key.endpoints is None), *(key.endpoints or default_endpoints(key)))
        if entries not in shared:
            shared[entries] = EndpointAccess(
                EndpointRules(entries[1:]), everybody, is_default=key.endpoints is None
            )
        access[key.name] = shared[entries]
    return access


def default_endpoints(key: ClientKey) -> tuple[str, ...]:
    """Return the endpoints of a key without `endpoints`: `@metered` if it has models or a budget, else `@all`."""
    return (METERED,) if key.models is not None or key.has_budget else (ALL,)


def refuse_unseen(settings: Settings) -> RefuseUnseen | None:
    """Return the stage that refuses traffic that the proxy could not see; None if it would refuse nothing."""
    rules, everybodys, free = _strict_rules(settings)
    if not rules and everybodys is None:
        return None
    return RefuseUnseen(rules, everybodys, free)


def _strict_rules(settings: Settings) -> tuple[dict[str, str], str | None, frozenset[str]]:
    """Return the rule of each key whose traffic must be seen, the rule for everybody, and the keys exempt from it."""
    limited = token_limited(settings)
    rules = {}
    for key in client_keys(settings):
        if key.models is not None:
            rules[key.name] = "a list of models"
        elif key.has_budget and key.budget_unmeasured == "refuse":
            rules[key.name] = "a budget"
        elif limited[key.name]:
            rules[key.name] = _TOKENS
    everybodys = _TOKENS if settings.rate_limit.tokens_per_minute is not None else None
    return rules, everybodys, frozenset(limited).difference(rules)


def read_websockets(settings: Settings, needs_usage: bool) -> ReadWebSockets | None:
    """Return the stage that decides which WebSockets have their turns read; None if it would do nothing.

    `needs_usage`: something needs the cost of every exchange.
    """
    rules, everybodys, free = _strict_rules(settings)
    if settings.objects.owners == "enforce":
        owning = {key.name: _OBJECTS for key in client_keys(settings) if not key.owns_all}
        rules = {**owning, **rules}
    everybody = settings.rate_limit
    counts = everybody.requests_per_minute is not None or everybody.concurrent_requests is not None
    limited = limited_keys(settings) | {key.name for key in client_keys(settings) if key.has_budget}
    websocket = settings.websocket
    reads_all = needs_usage or (counts and not client_keys(settings))
    if (
        not (rules or limited or everybodys or reads_all)
        and websocket.inspect != "always"
        and websocket.responses
    ):
        return None
    return ReadWebSockets(
        rules,
        everybodys,
        free - frozenset(rules),
        inspect=websocket.inspect,
        limited=limited,
        reads_all=reads_all,
        opens_responses=websocket.responses,
    )


def refuse_unmeasured(settings: Settings) -> RefuseUnmeasured | None:
    """Return the stage that refuses what a budget cannot measure; None if no key has such a budget."""
    keys = frozenset(
        key.name for key in client_keys(settings) if key.has_budget and key.budget_unmeasured == "refuse"
    )
    return RefuseUnmeasured(keys) if keys else None


def own_objects(settings: Settings, find_owners: Callable[[], ObjectOwners | None]) -> OwnObjects | None:
    """Return the stage that lets each key see only its own objects; None if it is off.

    `find_owners` returns the store of owners, or None if none is configured; it
    raises OSError or ValueError if the store cannot be used.
    """
    if settings.objects.owners != "enforce":
        return None
    try:
        owners = find_owners()
    except (OSError, ValueError) as error:
        raise settings.error("cost.state_file", str(error)) from None
    if owners is None:
        raise settings.error(
            "objects.owners", "needs cost.state_file or Redis, to store the owners of the objects"
        )
    names = {key.name: owner_of(settings, key) for key in client_keys(settings) if not key.owns_all}
    return OwnObjects(owners, names, settings.objects.unknown == "allow")


def owner_of(settings: Settings, key: ClientKey) -> str:
    """Return the owner of a key's stored objects: the key itself, or its group."""
    if settings.objects.scope == "group" and key.group is not None:
        return f"group:{key.group}"
    return f"key:{key.name}"


def shared_objects(settings: Settings) -> Iterator[str]:
    """Return a line if several keys share an upstream key, and so see each other's stored objects."""
    if settings.objects.owners == "enforce" or mode(settings) != "tenants":
        return
    used = [key.upstream_key or settings.upstream.api_key for key in client_keys(settings)]
    if len(set(used)) < len(used):
        yield (
            "client keys that share an upstream key see each other's stored objects (files, batches, responses):"
            ' objects.owners = "enforce" lets each key see only its own.'
        )


def defaulted_keys(settings: Settings) -> list[str]:
    """Return the names of the keys that only a default excludes from a part of the API."""
    return [
        key.name
        for key in client_keys(settings)
        if key.endpoints is None and default_endpoints(key) == (METERED,)
    ]


def restricted_keys(settings: Settings) -> Iterator[str]:
    """Yield a line on the keys that a default excludes from a part of the API: which part, how to change it."""
    names = defaulted_keys(settings)
    if names:
        named = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        yield (
            f"keys with models or budget_usd and without endpoints may only call {METERED} (chat/completions,"
            " completions, embeddings, responses, moderations, audio/speech, GET models), not files, batches,"
            f" realtime and the rest: {named}. `endpoints` in an entry of [[keys]] says what it may call."
        )
