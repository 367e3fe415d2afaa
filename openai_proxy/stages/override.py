"""Set the parameters that the configuration fixes for a model.

Only JSON requests that name a configured model change, and of their
bodies only the members set; every other request passes as the same object.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from typing import Any

from attrs import frozen

from ..core.json_members import append_members, rendered_members, replace_members
from ..core.llm_params import ModelParams, merge
from ..messages import Forward, ProxyRequest, ProxyResponse

_KEPT_MODELS = 1000
"""Model names come from clients: so many merged rules are kept, then forgotten."""
_LONGEST_KEPT = 256
"""Characters of a model's name; what holds for a longer one is found anew each time."""


@frozen
class _Members:
    """Members to set, by name: as values, as JSON, and as what stands behind the last member of a body."""

    values: dict[str, Any]
    encoded: dict[str, bytes]
    rendered: bytes

    @classmethod
    def of(cls, values: dict[str, Any]) -> _Members:
        encoded = {name: json.dumps(value).encode("ascii") for name, value in values.items()}
        return cls(values, encoded, rendered_members(encoded))

    def without(self, names: frozenset[str]) -> _Members:
        encoded = {name: value for name, value in self.encoded.items() if name not in names}
        return _Members({name: self.values[name] for name in encoded}, encoded, rendered_members(encoded))


@frozen
class _Change:
    """What is set in the requests for one model."""

    members: _Members
    defaults: frozenset[str]
    """Those of them that a request's own values go before."""

    def members_for(self, document: dict[str, Any], odd_names: bool) -> _Members:
        """Return what is set in a request with this document, possibly nothing.

        With `odd_names` a value of its own may be spelled in any case.
        """
        if odd_names:
            given = {name.casefold() for name in document}
            return self.members.without(frozenset(n for n in self.defaults if n.casefold() in given))
        if self.defaults.isdisjoint(document):
            return self.members
        return self.members.without(self.defaults.intersection(document))


class Override:
    """Change requests by `rules`; where several name a model, later ones win."""

    def __init__(self, rules: Sequence[ModelParams]) -> None:
        self._rules = tuple(rules)
        self._merged: dict[str, _Change | None] = {}

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        return forward(self.apply(request))

    def apply(self, request: ProxyRequest) -> ProxyRequest:
        """Return the request with its model's parameters set, or the very same one."""
        document = request.document
        if document is None:
            return request
        model = request.model
        if model is None:
            return request
        change = self._find(model)
        if change is None:
            return request
        members = change.members_for(document, request.odd_names)
        values = members.values
        if not values:
            return request
        text = request.json
        if values.keys().isdisjoint(document) and not request.odd_names:
            text = append_members(text, members.rendered)
        else:
            text = replace_members(text, members.encoded, document, request.odd_names)
        if "stream" in values:
            request.exchange.streaming = values["stream"] is True
        return request.with_json(text, {**document, **values}, request.headers)

    def _find(self, model: str) -> _Change | None:
        try:
            return self._merged[model]
        except KeyError:
            pass
        params, defaults = merge(self._rules, model)
        found = None
        if params or defaults:
            found = _Change(_Members.of({**defaults, **params}), frozenset(defaults).difference(params))
        if len(model) <= _LONGEST_KEPT:
            if len(self._merged) >= _KEPT_MODELS:
                self._merged.clear()
            self._merged[model] = found
        return found
