"""The table of several upstreams, and which of them serve a model.

Pure: the draw is an argument.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote_to_bytes

from attrs import field, frozen

_MODELS = b"/models/"


@frozen
class Upstream:
    """One of several upstreams; the routing stage sets it as `ProxyRequest.route`.

    `key` replaces the key that authentication chose; None leaves that, and an
    empty one removes it (a key of another upstream must not be sent to this
    one). A key that is one of `kept_keys` stays. Upstreams with the lowest
    `priority` number serve, by `weight` (above 0); the others serve if none of
    these can.
    """

    name: str
    base_url: str
    key: bytes | None = field(default=None, repr=False)
    kept_keys: frozenset[bytes] = field(default=frozenset(), repr=False)
    auth_header: bytes = b"authorization"
    weight: float = 1.0
    priority: int = 0
    caller_headers: tuple[bytes, ...] = ()
    """Further headers that are client credentials, and are treated like them."""

    def key_for(self, credential: bytes) -> bytes:
        """Return the key to send if authentication chose `credential`."""
        return credential if self.key is None or credential in self.kept_keys else self.key


@frozen
class ModelRoute:
    """The route of a model: `match` is its name or a glob; None means the general setting."""

    match: str
    upstream: str | None = None
    upstream_model: str | None = None

    @property
    def is_alias(self) -> bool:
        """Whether clients ask for a name that the upstream does not know."""
        return self.upstream_model not in (None, self.match) and not any(c in self.match for c in "*?[")


class RoutingTable:
    """The upstreams and the models mapped to them; immutable.

    Raises ValueError for two upstreams of one name and for a model of an
    upstream that is not listed.
    """

    def __init__(self, upstreams: Sequence[Upstream], models: Sequence[ModelRoute] = ()) -> None:
        names = [upstream.name for upstream in upstreams]
        if not names:
            raise ValueError("no upstream is listed")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two upstreams are named {name!r}")
        for model in models:
            if model.upstream is not None and model.upstream not in names:
                raise ValueError(
                    f"the model {model.match!r} is mapped to no listed upstream: {model.upstream!r}"
                )
        self.upstreams = tuple(upstreams)
        self._globs = tuple(models)
        self._exact = {model.match: model for model in reversed(models)}
        self._ordered = tuple(sorted(upstreams, key=lambda upstream: upstream.priority))
        self._alone = {upstream.name: (upstream,) for upstream in upstreams}

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names of models that only this proxy has."""
        return tuple(model.match for model in self._globs if model.is_alias)

    def find(self, model: str) -> ModelRoute | None:
        """Return the entry of `model`: its exact name, else the first glob that matches."""
        if not self._globs:
            return None
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        return next((entry for entry in self._globs if fnmatchcase(model, entry.match)), None)

    def find_at(self, model: str, upstream: str) -> tuple[bool, ModelRoute | None]:
        """Return whether an upstream may serve `model`, and the entry with its name there (None: the same name)."""
        found = self.find(model)
        if found is None or found.upstream in (None, upstream):
            return True, found
        for entry in self._globs:
            if entry.upstream in (None, upstream) and (
                entry.match == model or fnmatchcase(model, entry.match)
            ):
                return True, entry
        return False, None

    def served_as(self, model: str) -> bytes:
        """Return what the entry of `model` makes of it: the upstream and the name there. Used in cache keys.

        Empty if there is no entry.
        """
        route = self.find(model)
        if route is None or (route.upstream is None and route.upstream_model is None):
            return b""
        base_urls = [upstream.base_url for upstream in self.candidates(route)]
        return json.dumps([*base_urls, route.upstream_model]).encode("ascii")

    def candidates(self, route: ModelRoute | None) -> tuple[Upstream, ...]:
        """Return the upstreams that may serve, by priority, then in the order given."""
        if route is None or route.upstream is None:
            return self._ordered
        return self._alone[route.upstream]


def best_of(candidates: Sequence[Upstream], usable: Callable[[Upstream], bool]) -> list[Upstream]:
    """Return the `usable` candidates of the best priority that has any; the candidates are ordered by priority."""
    best: list[Upstream] = []
    for upstream in candidates:
        if best and upstream.priority != best[0].priority:
            break
        if usable(upstream):
            best.append(upstream)
    return best


def by_weight(best: Sequence[Upstream], draw: float) -> Upstream:
    """Return one of `best` by weight; `draw` is in [0, 1)."""
    point = 0.0
    for upstream in best:
        point += upstream.weight
    point *= draw
    for upstream in best:
        point -= upstream.weight
        if point < 0.0:
            return upstream
    return best[-1]


def first_choice(candidates: Sequence[Upstream], spread: bool) -> Upstream | None:
    """Return the upstream that is chosen in any case if it is usable; None if the choice depends on more.

    That is the first candidate, for requests that are not `spread` or if no
    other has its priority.
    """
    first = candidates[0]
    if not spread or len(candidates) == 1 or candidates[1].priority != first.priority:
        return first
    return None


def model_in_path(target: bytes) -> str | None:
    """Return the model named by `/models/<name>`, decoded; None for every other target."""
    if not target.startswith(_MODELS):
        return None
    try:
        return unquote_to_bytes(target.partition(b"?")[0][len(_MODELS) :]).decode("utf-8") or None
    except UnicodeDecodeError:
        return None


def with_model_in_path(target: bytes, model: str) -> bytes:
    """Return `/models/<name>` with `model` as one path segment; the query stays."""
    _, mark, query = target.partition(b"?")
    return _MODELS + quote(model, safe="!$&'()*+,;=:@").encode("ascii") + mark + query
