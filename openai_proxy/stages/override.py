"""Set the parameters that the configuration fixes for a model.

Only JSON requests that name a configured model change, and of their
bodies only the members set; every other request passes as the same object.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from typing import Any

from attrs import frozen

from ..core.body_headers import with_length
from ..core.json_members import replace_members
from ..core.llm_params import ModelParams, merge
from ..messages import Forward, ProxyRequest, ProxyResponse

_KEPT_MODELS = 1000
"""Model names come from clients: so many merged rules are kept, then forgotten."""
_LONGEST_KEPT = 256
"""Characters of a model's name; what holds for a longer one is found anew each time."""


@frozen
class _Member:
    value: Any
    encoded: bytes


def _encode(values: dict[str, Any]) -> dict[str, _Member]:
    return {name: _Member(value, json.dumps(value).encode("ascii")) for name, value in values.items()}


class Override:
    """Change requests by `rules`; where several name a model, later ones win."""

    def __init__(self, rules: Sequence[ModelParams]) -> None:
        self._rules = tuple(rules)
        self._merged: dict[str, tuple[dict[str, _Member], dict[str, _Member]] | None] = {}

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        return forward(self.apply(request))

    def apply(self, request: ProxyRequest) -> ProxyRequest:
        """Return the request with its model's parameters set, or the very same one."""
        document, body = request.document, request.body
        if document is None or not isinstance(body, bytes):
            return request
        model = document.get("model")
        if not isinstance(model, str):
            return request
        found = self._find(model)
        if found is None:
            return request
        params, defaults = found
        members = {name: member for name, member in defaults.items() if name not in document}
        members.update(params)
        if not members:
            return request
        body = replace_members(body, {name: member.encoded for name, member in members.items()}, document)
        if "stream" in members:
            request.exchange.streaming = members["stream"].value is True
        return request.evolve(
            body=body,
            document={**document, **{name: member.value for name, member in members.items()}},
            headers=with_length(request.headers, len(body)),
        )

    def _find(self, model: str) -> tuple[dict[str, _Member], dict[str, _Member]] | None:
        try:
            return self._merged[model]
        except KeyError:
            pass
        params, defaults = merge(self._rules, model)
        found = (_encode(params), _encode(defaults)) if params or defaults else None
        if len(model) <= _LONGEST_KEPT:
            if len(self._merged) >= _KEPT_MODELS:
                self._merged.clear()
            self._merged[model] = found
        return found
