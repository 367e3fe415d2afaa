"""Set the parameters that the configuration has for a model.

Only JSON requests that name a configured model are changed, and only in those
members; every other request is forwarded as the same object.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...wire.json_edits import append_members, rendered_members, replace_members, without_members
from ...wire.json_members import locate_all
from ...wire.request_json import OMITTED
from ..bodies.changed_json import with_json
from .endpoint_params import Change, Changes, edits_for
from .params import ModelParams


class Override:
    """Change requests by `rules`; if several name a model, later ones take precedence."""

    def __init__(self, rules: Sequence[ModelParams]) -> None:
        self._changes = Changes(rules)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        return forward(self.apply(request))

    def apply(self, request: ProxyRequest) -> ProxyRequest:
        """Return the request with its model's parameters set, or the same object if there are none."""
        document, model = request.document, request.model
        if document is None or model is None:
            return request
        change = self._changes.find(model, request.exchange.endpoint)
        if change.is_empty:
            return request
        text, odd_names = request.json, request.odd_names
        given = _given(document, change, text, odd_names)
        edits = edits_for(change, given)
        values = edits.values
        if not values and not edits.removed:
            return request
        changed = {name: value for name, value in document.items() if name.casefold() not in edits.removed}
        if edits.removed:
            text = without_members(text, edits.removed, odd_names)
        if values:
            encoded = {name: json.dumps(value).encode("ascii") for name, value in values.items()}
            if values.keys().isdisjoint(document) and not odd_names:
                text = append_members(text, rendered_members(encoded))
            else:
                text = replace_members(text, encoded, changed, odd_names)
        if "stream" in values:
            request.exchange.streaming = values["stream"] is True
        return with_json(request, text, {**changed, **values}, request.headers)


def _given(document: dict[str, Any], change: Change, text: bytes, odd_names: bool) -> Mapping[str, Any]:
    """Return the members of a request, by lower-case names; tables that will be merged are decoded whole."""
    given = {name.casefold(): value for name, value in document.items()} if odd_names else document
    tables = [
        name
        for values in (change.params, change.defaults)
        for name, value in values.items()
        if isinstance(value, dict) and given.get(name) is OMITTED
    ]
    if not tables:
        return given
    spans = locate_all(text, [(name,) for name in tables])
    whole = {str(path[0]): json.loads(text[start:end]) for path, (start, end) in spans.items() if path}
    return {**given, **whole}
