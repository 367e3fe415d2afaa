"""Refuse a model that the client's key may not use.

Stands where the body has been read, and so apart from `tenants`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from urllib.parse import unquote_to_bytes

from ..core.errors import ModelNotAllowed
from ..core.json_members import iter_members
from ..core.keyring import Keyring
from ..core.paths import models_of_query
from ..messages import Forward, ProxyRequest, ProxyResponse

_MODELS = b"/models/"


class AllowModels:
    """Check the model named by a request against its key's allow-list.

    The model stands in the JSON body, in the query (`/realtime?model=`) or
    in the path (`/models/<name>`); the name of an Azure deployment decides
    whatever the body says, as it does there. A key with an allow-list may not send a
    body in which a model can not be read: a multipart form, audio or
    JSON in an unknown coding may name any. So may a WebSocket whose query names none. Bodies of requests that have none to name,
    as listing the models, pass.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        name = request.exchange.key
        entry = self._keyring.named(name) if name is not None else None
        if entry is None or entry.models is None:
            return forward(request)
        models = named_models(request)
        if models is None or not all(entry.allows(model) for model in models):
            raise ModelNotAllowed(param="model")
        return forward(request)


def named_models(request: ProxyRequest) -> list[str] | None:
    """Return the models that `request` names, possibly none; None where they can not be read."""
    path, _, query = request.target.partition(b"?")
    models = models_of_query(query)
    plain = unquote_to_bytes(path)
    if plain.startswith(_MODELS):
        models.append(plain[len(_MODELS) :].decode("utf-8", "replace"))
    if request.path_model is not None:
        models.append(request.path_model)
    elif request.document is not None:
        for model in _body_models(request):
            if not isinstance(model, str):
                return None
            models.append(model)
    elif request.body or (request.upgrade and not models):
        return None
    return models


def _body_models(request: ProxyRequest) -> list[object]:
    """Return the value of every `model` member, in any spelling: an upstream may take any of them."""
    document = request.document
    if document is None or "model" not in document:
        return []
    text = request.json
    if text.count(b'"model"') == 1 and b"\\u" not in text and not request.odd_names:
        return [document["model"]]
    start = len(text) - len(text.lstrip(b" \t\r\n"))
    spans = [span for name, span in iter_members(text, start) if name.casefold() == "model"]
    return [json.loads(text[first:end]) for first, end in spans]
