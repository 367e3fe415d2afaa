"""A request under the name that its model has at the upstream that serves it."""

from __future__ import annotations

import json

from ...exchange.messages import ProxyRequest
from ...wire.json_members import replace_members
from ...wire.targets import with_path_model as renamed
from ..bodies.changed_json import with_json
from .table import ModelRoute, with_model_in_path


def with_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return the request with the upstream's name of its model; else the very same one, as a form stays."""
    document = request.document
    if route is None or route.upstream_model is None or document is None:
        return request
    if route.upstream_model == document["model"] and not request.odd_names:
        return request
    model = {"model": json.dumps(route.upstream_model).encode("ascii")}
    text = replace_members(request.json, model, any_case=request.odd_names)
    return with_json(request, text, {**document, "model": route.upstream_model}, request.headers)


def with_path_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a request of a deployment with the upstream's name of it; else the very same one.

    Its body stays as it is: the server goes by the path.
    """
    if route is None or route.upstream_model in (None, request.path_model):
        return request
    return request.evolve(target=renamed(request.target, route.upstream_model))


def with_looked_up_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a look-up of the model with the upstream's name of it; else the very same one.

    Only GET and HEAD: what deletes must name what it deletes.
    """
    if route is None or route.upstream_model is None or request.method not in (b"GET", b"HEAD"):
        return request
    return request.evolve(target=with_model_in_path(request.target, route.upstream_model))
