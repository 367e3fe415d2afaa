"""Find the model that a multipart form names, before the form is forwarded.

Runs after `read_body`, which lets forms stream through: their beginning is
inspected, and nothing is removed or changed. If a rule goes by the model, a
form whose file comes first (as in OpenAI's own examples) is held until the
model has come.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import cast

from ...exchange.access_errors import ModelNotAllowed
from ...exchange.buffered_bytes import TOO_MUCH_BUFFERED, BufferedBytes, Lease
from ...exchange.errors import Overloaded, UnreadableBody
from ...exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse, RequestBody
from ...wire.form_model import FormModel, boundary_of
from ..authorize.named_models import runs_model

_MODEL_FORMS = ("audio/", "images/", "videos")
"""Prefixes of the endpoints whose forms name a model."""


class ReadForm:
    """Note the model of forms; for callers with rules, allow only the one model that the form named first.

    `bound` are the callers whose models are counted or listed, `allow_lists`
    those of them that have an allow-list, by `credential_id`. The proxy breaks
    their upload off if it names another model later, also after the file.
    Their forms, and all forms if it `routes` (something is set per model), are
    held up to `limit_bytes` until the model is known, all together up to `buffered`.
    One of a caller with an allow-list is refused if it names none in its first `fence_bytes`.
    """

    def __init__(
        self,
        bound: frozenset[str],
        allow_lists: frozenset[str],
        routes: bool = False,
        limit_bytes: int = sys.maxsize,
        fence_bytes: int = sys.maxsize,
        buffered: BufferedBytes | None = None,
    ) -> None:
        self._bound = bound
        self._allow_lists = allow_lists
        self._routes = routes
        self._limit_bytes = limit_bytes
        self._fence_bytes = fence_bytes
        self._buffered = buffered or BufferedBytes(sys.maxsize)

    def concerns(self, kind: Kind) -> bool:
        return (
            kind.method == b"POST"
            and not kind.buffered
            and (
                kind.named.startswith(_MODEL_FORMS) or (bool(self._bound) and runs_model(b"POST", kind.named))
            )
        )

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if request.method != b"POST" or request.body is None or type(request.body) is bytes:
            return forward(request)
        if request.document is not None or request.encoded or request.path_model is not None:
            return forward(request)
        bound = request.exchange.credential_id in self._bound
        if not request.endpoint.startswith(_MODEL_FORMS) and not (
            bound and runs_model(b"POST", request.endpoint)
        ):
            return forward(request)
        boundary = boundary_of(value for name, value in request.headers if name.lower() == b"content-type")
        if boundary is None:
            return forward(request)
        return self._look(request, FormModel(boundary), bound, forward)

    async def _look(
        self, request: ProxyRequest, form: FormModel, bound: bool, forward: Forward
    ) -> ProxyResponse:
        exchange = request.exchange
        has_decided = (
            self._until_named(request, form, bound) if bound or self._routes else lambda: form.decided
        )
        is_fenced = exchange.credential_id in self._allow_lists

        def inspect(data: bytes) -> bool:
            form.feed(data)
            if bound and (not form.readable or form.fields > 1):
                raise self._refusal(exchange.credential_id)
            if is_fenced and self._comes_late(form):
                raise ModelNotAllowed(
                    f"This form does not name its model in its first {self._fence_bytes} bytes, as those of this API"
                    " key must: put `model` before the file, or raise limits.form_model_bytes of openai-proxy.",
                    param="model",
                )
            if form.models and form.readable and exchange.model is None:
                exchange.model = form.models[0]  # also if it comes after the file: it has a price
            return has_decided()

        await cast(RequestBody, request.body).inspect(inspect)
        if form.models and form.readable:
            request.form_model, request.form_span = form.models[0], form.span
        return await forward(request)

    def _comes_late(self, form: FormModel) -> bool:
        """Whether no model stands in the part of the form in which one has to be named."""
        begins = form.span[0] if form.span is not None else form.seen_bytes
        return form.readable and begins > self._fence_bytes

    def _until_named(self, request: ProxyRequest, form: FormModel, bound: bool) -> Callable[[], bool]:
        """Return what tells whether the form need not be held any longer."""
        lease = Lease(self._buffered)
        request.exchange.on_end(lease.free)

        def has_decided() -> bool:
            if form.named or form.seen_bytes > self._limit_bytes:
                return True
            if lease.hold(form.seen_bytes):
                return False
            if bound:
                raise Overloaded(TOO_MUCH_BUFFERED)
            return True

        return has_decided

    def _refusal(self, caller: str) -> ModelNotAllowed | UnreadableBody:
        message = "This form names more than one model, or one that cannot be read."
        if caller in self._allow_lists:
            return ModelNotAllowed(
                f"openai-proxy does not let this API key send this form. {message}", param="model"
            )
        return UnreadableBody(message, param="model")
