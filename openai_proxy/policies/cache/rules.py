"""Decide what may be cached and for how long; parse Cache-Control.

Pure. The rules are built once per configuration; a request costs two
dictionary look-ups and, on the endpoints that are cached, one condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from attrs import field, frozen

from ...exchange.record import HeaderPairs
from .key import varies_on_unkeyed

Document = Mapping[str, Any]


def _every(document: Document) -> bool:
    return True


def _is_number(value: object, number: int) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == number


def is_cold(document: Document) -> bool:
    """Say whether a completion is requested without sampling and with at most one choice.

    One that is to be stored upstream is not: a cached answer would not be
    stored.
    """
    choices = document.get("n")
    return (
        _is_number(document.get("temperature"), 0)
        and (choices is None or _is_number(choices, 1))
        and document.get("store") is not True
    )


def is_deterministic(document: Document) -> bool:
    """Say whether a completion is requested that should come out the same again: cold, with a `seed`."""
    return document.get("seed") is not None and is_cold(document)


CONDITIONS: Mapping[str, Callable[[Document], bool]] = {
    "always": _every,
    "never": _every,
    "temperature_0": is_cold,
    "deterministic": is_deterministic,
}
"""Names of conditions on a request; `never` means that nothing is cached."""


@frozen
class CacheRule:
    """A rule that says whether, and how long, requests of one endpoint may be answered from the cache.

    `endpoint` is a name such as `chat/completions`; `models` means each
    model's own page too. `model` is a glob over the request's model,
    `condition` a name in CONDITIONS, `ttl_s` seconds, 0 for never.
    """

    endpoint: str
    ttl_s: float
    model: str = "*"
    condition: str = "always"

    def __attrs_post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}")

    def is_for(self, method: bytes, endpoint: str) -> bool:
        """Say whether the rule is about this endpoint: models are read with GET, everything else with POST."""
        if self.endpoint == "models":
            return method == b"GET" and endpoint.partition("/")[0] == "models"
        return method == b"POST" and endpoint == self.endpoint

    def covers(self, document: Document | None, model: str | None) -> bool:
        """Say whether the rule decides about this request; a document of None is a body that is no JSON object."""
        if document is None:
            return self.model == "*" and self.condition in ("always", "never")
        if self.model != "*" and (model is None or not fnmatchcase(model, self.model)):
            return False
        return CONDITIONS[self.condition](document)


@frozen
class TimesToLive:
    """The seconds that answers are kept if a rule names none."""

    embeddings: float = 86400.0
    completions: float = 3600.0
    models: float = 300.0

    def of(self, endpoint: str) -> float:
        """Return the time to live for an endpoint; any other than the three counts as a completion."""
        times = {"embeddings": self.embeddings, "models": self.models}
        return times.get(endpoint, self.completions)


def default_rules(times: TimesToLive) -> tuple[CacheRule, ...]:
    """Return the rules that apply after the configured ones."""
    return (
        CacheRule("embeddings", times.embeddings),
        CacheRule("chat/completions", times.completions, condition="deterministic"),
        CacheRule("completions", times.completions, condition="deterministic"),
        CacheRule("models", times.models),
    )


@frozen(eq=False)
class CacheRules:
    """The rules in order: the first that covers a request decides."""

    rules: tuple[CacheRule, ...]
    _by_endpoint: dict[tuple[bytes, str], tuple[CacheRule, ...]] = field(factory=dict, init=False)

    def ttl_s(
        self, method: bytes, endpoint: str, document: Document | None, model: str | None = None
    ) -> float:
        """Return the time to live of the answer in seconds; 0 if it may not be cached.

        `endpoint` is one of the bounded names of `paths`, `method` one of the API's.
        """
        rules = self._by_endpoint.get((method, endpoint))
        if rules is None:
            rules = tuple(rule for rule in self.rules if rule.is_for(method, endpoint))
            self._by_endpoint[method, endpoint] = rules
        for rule in rules:
            if rule.covers(document, model):
                return 0.0 if rule.condition == "never" else rule.ttl_s
        return 0.0


@frozen
class CacheControl:
    """The client's Cache-Control directives (RFC 9111 §5.2.1)."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: int | None = None
    """The oldest answer that the client accepts, in seconds, or None."""


_PLAIN = CacheControl()
_DECIDING = frozenset(
    (b"range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range")
)
_WISH_LENGTHS = frozenset(map(len, (*_DECIDING, b"cache-control", b"pragma")))


def _directives(value: bytes) -> dict[bytes, bytes]:
    directives = {}
    for part in value.split(b","):
        name, _, argument = part.partition(b"=")
        directives[name.strip(b" \t").lower()] = argument.strip(b' \t"')
    return directives


def parse_cache_control(headers: HeaderPairs) -> CacheControl:
    """Parse the client's directives; never raises.

    Partial and conditional requests are not for the cache, so they count as
    `no-store`. `Pragma: no-cache` is the form of HTTP/1.0 clients.
    """
    values: list[bytes] = []
    pragma = False
    for name, value in headers:
        if len(name) not in _WISH_LENGTHS:
            continue  # saves converting nearly every name to lower case
        lowered = name.lower()
        if lowered == b"cache-control":
            values.append(value)
        elif lowered == b"pragma":
            pragma = pragma or b"no-cache" in value.lower()
        elif lowered in _DECIDING:
            return CacheControl(no_store=True)
    if not values:
        return CacheControl(no_cache=True) if pragma else _PLAIN
    found = _directives(b",".join(values))
    max_age = found.get(b"max-age", b"")
    max_age_s = int(max_age[:9]) if max_age.isdigit() else None
    return CacheControl(
        no_store=b"no-store" in found,
        no_cache=b"no-cache" in found,
        only_if_cached=b"only-if-cached" in found,
        max_age_s=max_age_s,
    )


class Verdict(Enum):
    """What a response's head says about sharing it."""

    STORE = "store"
    """It may answer other requests, now and later."""
    PRIVATE = "private"
    """It is only for the client that asked."""
    FAILED = "failed"
    """It is a failure, and is never stored."""


def judge(status: int, headers: HeaderPairs) -> Verdict:
    """Judge a response by its head: only a 200 that does not forbid it is stored."""
    if status != 200:
        return Verdict.FAILED
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"cache-control":
            if b"no-store" in _directives(value):
                return Verdict.PRIVATE
        elif lowered == b"vary" and varies_on_unkeyed(value):
            return Verdict.PRIVATE
    return Verdict.STORE
