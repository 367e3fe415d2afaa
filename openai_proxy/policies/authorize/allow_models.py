"""Refuse a model that the client's key may not use.

Runs after the body has been read, and is therefore separate from `tenants`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from urllib.parse import unquote_to_bytes

from ...exchange.access_errors import ModelNotAllowed
from ...exchange.errors import UnreadableBody
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...wire.targets import models_of_query
from ..authenticate.keyring import Keyring
from ..refusal_words import model_words
from .named_models import models_in, runs_model, top_level_models

_MODELS = b"/models/"


class AllowModels:
    """Check the models that a request names against its key's allow-list.

    A model is named in the JSON body, in the query (`/realtime?model=`) or in
    the path (`/models/<name>`). The name of an Azure deployment takes
    precedence over `model` in the body, as in Azure's API. A POST that runs a
    model must name one, because a stored prompt or an assistant may use any.

    So must a request whose body cannot be read (a multipart form without a
    `model` at its beginning, audio, JSON in an unknown coding), and a WebSocket
    whose query names no model, unless its turns are read. A batch names the
    models of its input file. Requests that run no model, such as listing them,
    need not name one.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        name = request.exchange.key
        entry = self._keyring.named(name) if name is not None else None
        if entry is None or entry.models is None:
            return forward(request)
        models = named_models(request)
        if models is None:
            raise ModelNotAllowed(model_words(None, entry.models), param="model")
        for model in models:
            if not isinstance(model, str):
                raise ModelNotAllowed(param="model")
            if not entry.allows(model):
                raise ModelNotAllowed(model_words([model], entry.models), param="model")
        if request.odd_names and request.path_model is None and _is_ambiguous(request):
            raise UnreadableBody("The JSON body of your request names more than one model.", param="model")
        return forward(request)


def _is_ambiguous(request: ProxyRequest) -> bool:
    named = top_level_models(request.json)
    return any(model != named[0] for model in named[1:])


def named_models(request: ProxyRequest) -> list[object] | None:
    """Return the models that `request` names, possibly none; None if it must name one that cannot be read."""
    path, _, query = request.target.partition(b"?")
    asked: list[object] = [*models_of_query(query)]
    plain = unquote_to_bytes(path)
    if plain.startswith(_MODELS):
        asked.append(plain[len(_MODELS) :].decode("utf-8", "replace"))
    if request.upgrade and not asked and request.path_model is None and request.exchange.inspection is None:
        return None
    needs_one = runs_model(request.method, request.endpoint)
    named: list[object] = []
    if request.document is not None:
        named = models_in(request.json, request.document)
        if request.batch_input is not None:
            named = [*named, *request.batch_input.models]
    elif request.form_model is not None:
        named = [request.form_model]
    elif request.body and request.path_model is None and needs_one:
        return None
    if request.path_model is not None:
        # the server uses the path; other models in the body still count
        own = top_level_models(request.json) if named else []
        named = [request.path_model, *(model for model in named if model not in own)]
    if needs_one and not named:
        return None
    return asked + named
