"""The rules about which endpoints a client key may call. Pure.

A rule is the name of an endpoint as `ApiPath.named` has it, possibly a glob
and with a method before it (`chat/completions`, `GET files/*`), or a set of
them (`@all`, `@metered`, `@read`).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from attrs import frozen

ALL, METERED, READ = "@all", "@metered", "@read"
_METERED = (
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "responses/*",
    "moderations",
    "audio/speech",
    "GET models",
    "GET models/*",
)
"""Endpoints that name their model and report usage, so that an allow-list and a budget can be enforced."""
SETS = {ALL: ("*",), METERED: _METERED, READ: ("GET *",)}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

ADMINISTRATION = frozenset(("organization", "projects", "vaults", "webhook_endpoints"))
"""First segments of the administration of the upstream key's account: only for keys that list them by name."""


@frozen
class EndpointRule:
    """One entry of a list of endpoints."""

    glob: str
    """The name of an endpoint, or a glob."""
    method: str | None = None
    """None means every method. GET includes HEAD."""

    @property
    def segment(self) -> str:
        """The first segment of the name, which may itself be a glob."""
        return self.glob.partition("/")[0]

    def covers(self, method: str, name: str, websocket: bool) -> bool:
        """Say whether this rule covers a request.

        A WebSocket runs models although its handshake is a GET, so only a rule
        for GET that names exactly this endpoint covers it.
        """
        if self.method is not None and self.method != method:
            if not (websocket and self.method == "POST") and not (self.method == "GET" and method == "HEAD"):
                return False
        elif websocket and self.method == "GET" and self.glob != name:
            return False
        return self.glob == name or fnmatchcase(name, self.glob)


def parse_rules(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the entries of a list of endpoints in normal form: `GET files/*`.

    Raises ValueError for an empty list, and for an unknown set or method, with
    the nearest known one.
    """
    found = tuple(_normal(entry) for entry in entries)
    if not found:
        raise ValueError("an empty list would allow nothing")
    return found


def _normal(entry: str) -> str:
    words = entry.split()
    if len(words) == 2 and words[1].startswith("@"):
        raise ValueError(f"a set such as {words[1]!r} takes no method")
    if len(words) == 2 and words[0].upper() in METHODS:
        return f"{words[0].upper()} {_name(words[1])}"
    if len(words) == 2:
        nearest = _nearest(words[0].upper(), METHODS)
        raise ValueError(f"{words[0]!r} is no method; the nearest is {nearest!r}")
    if len(words) != 1:
        raise ValueError(f"{entry!r} is not the name of an endpoint, with or without a method before it")
    if not entry.strip().startswith("@"):
        return _name(words[0])
    if words[0].lower() not in SETS:
        raise ValueError(f"there is no set {words[0]!r}; the nearest is {_nearest(words[0].lower(), SETS)!r}")
    return words[0].lower()


def _name(text: str) -> str:
    name = text.strip("/").lower()
    name = name.removeprefix("v1/")
    if not name or name == "v1":
        raise ValueError(f"{text!r} is not the name of an endpoint")
    return name


def _nearest(word: str, known: Iterable[str]) -> str:
    return get_close_matches(word, list(known), 1, cutoff=0.0)[0]


class EndpointRules:
    """A list of endpoints, with its sets resolved; immutable."""

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = parse_rules(entries)
        self._rules = tuple(rule for entry in self.entries for rule in _rules_of(entry))
        self._written_out = tuple(rule for rule in self._rules if rule.segment in ADMINISTRATION)

    def cover(self, method: str, name: str, websocket: bool = False) -> bool:
        """Say whether the list covers a request, without special rules for administration."""
        return any(rule.covers(method, name, websocket) for rule in self._rules)

    def write_out(self, method: str, name: str, websocket: bool = False) -> bool:
        """Say whether the list names an administration endpoint explicitly, and not only by a glob."""
        return any(rule.covers(method, name, websocket) for rule in self._written_out)


def _rules_of(entry: str) -> Iterable[EndpointRule]:
    for text in SETS.get(entry, (entry,)):
        method, mark, name = text.rpartition(" ")
        yield EndpointRule(name, method if mark else None)


def is_administration(name: str) -> bool:
    """Say whether an endpoint administers the account behind the upstream key."""
    return name.partition("/")[0] in ADMINISTRATION


@frozen
class EndpointAccess:
    """The endpoints of one caller: its own list, and the general one.

    `own` are its rules, the default ones if `is_default`. `everybody` is None
    without general rules. `guards`: administration must be named explicitly in
    one of the two lists.
    """

    own: EndpointRules | None
    everybody: EndpointRules | None = None
    is_default: bool = True
    guards: bool = True

    def allows(self, method: str, name: str, websocket: bool = False) -> bool:
        """Say whether a request is allowed. OPTIONS always is."""
        if method == "OPTIONS":
            return True
        if self.everybody is not None and not self.everybody.cover(method, name, websocket):
            return False
        if self.own is not None and not self.own.cover(method, name, websocket):
            return False
        if not self.guards or not is_administration(name):
            return True
        lists = (self.everybody,) if self.is_default else (self.own,)
        return any(each is not None and each.write_out(method, name, websocket) for each in lists)
