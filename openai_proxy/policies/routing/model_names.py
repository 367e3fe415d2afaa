"""Rename the model of a request to the name that its upstream uses."""

from __future__ import annotations

import json

from ...exchange.messages import ProxyRequest
from ...wire.json_edits import replace_members
from ...wire.targets import with_path_model as renamed
from ..bodies.changed_json import with_json
from ..bodies.renamed_form import with_form_model
from .table import ModelRoute, with_model_in_path


def with_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return the request with the upstream's name for its model, also in a form; the same object if nothing changes."""
    document = request.document
    if route is None or route.upstream_model is None:
        return request
    if document is None:
        return with_form_model(request, route.upstream_model)
    if route.upstream_model == document["model"] and not request.odd_names:
        return request
    model = {"model": json.dumps(route.upstream_model).encode("ascii")}
    text = replace_members(request.json, model, any_case=request.odd_names)
    return with_json(request, text, {**document, "model": route.upstream_model}, request.headers)


def with_path_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a request for a deployment with the upstream's name for it; the same object if nothing changes.

    Its body stays as it is, because the server uses the path.
    """
    if route is None or route.upstream_model in (None, request.path_model):
        return request
    return request.evolve(target=renamed(request.target, route.upstream_model))


def with_looked_up_model(request: ProxyRequest, route: ModelRoute | None) -> ProxyRequest:
    """Return a look-up of the model with the upstream's name for it; the same object if nothing changes.

    Only for GET and HEAD: a deletion must name exactly what it deletes.
    """
    if route is None or route.upstream_model is None or request.method not in (b"GET", b"HEAD"):
        return request
    return request.evolve(target=with_model_in_path(request.target, route.upstream_model))
