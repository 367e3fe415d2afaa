"""Remove the models' thoughts from answers, or move them into a separate member.

Changes the answers of chat completions, completions and the Responses API, new
ones and stored ones, if their model has a rule. They are requested without
compression, and a 200 gets a filter. If an upstream compresses a new one all
the same, the stage that reads usage decodes it, because it runs inside this
one; stored ones are decoded here. A new answer that is whole and has no start
tag passes unchanged, with its Content-Length.

The answer itself names the model of a stored answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase

from attrs import evolve

from ...exchange.buffered_bytes import BufferedBytes, Lease
from ...exchange.messages import BodyFilter, Forward, ProxyRequest, ProxyResponse
from ...wire.body_headers import EVENT_STREAM, JSON, ask_identity, is_event_stream, media_type_and_coding
from ...wire.by_beginning import ByBeginning
from ..bodies.decoded_body import decoded
from .filters import ThinkDocumentFilter, ThinkStreamFilter
from .splitter import ThinkRule
from .stored import StoredStreamFilter, without_starting_after
from .thinking_off import turns_thinking_off

_NEW = frozenset(("chat/completions", "completions", "responses", "responses/compact"))
"""Endpoints whose POST creates an answer."""
_STORED = {
    b"GET": frozenset(("chat/completions", "chat/completions/{id}", "responses/{id}")),
    b"POST": frozenset(("chat/completions/{id}", "responses/{id}/cancel")),
}
"""Endpoints that return stored answers, by method."""
_READ = (JSON, EVENT_STREAM)


class StripThink:
    """Apply `rule`, or the first of `models` (glob of the model's name, its rule) that matches.

    `served_as` has further ones for stored answers, which use the upstream's
    name of the model. Held parts of answers count in `buffered`: if that has no
    room, answers pass unchanged.
    """

    def __init__(
        self,
        rule: ThinkRule,
        models: Sequence[tuple[str, ThinkRule]] = (),
        served_as: Sequence[tuple[str, ThinkRule]] = (),
        buffered: BufferedBytes | None = None,
    ) -> None:
        self._buffered = buffered
        self._rule = rule
        self._models = tuple(models)
        self._stored_models = (*self._models, *served_as)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if _is_stored(request):
            return self._strip_stored(request, forward)
        rule = self._find(request)
        return forward(request) if rule is None else self._strip(request, forward, rule)

    async def _strip(self, request: ProxyRequest, forward: Forward, rule: ThinkRule) -> ProxyResponse:
        response = await forward(_asking(request))
        if rule.implicit_start and request.document is not None and turns_thinking_off(request.document):
            rule = evolve(rule, implicit_start=False)
        body_filter = _choose(rule, response, request.exchange.streaming, lambda: self._lease(request))
        if body_filter is None:
            return response
        return response.filtered(body_filter)

    async def _strip_stored(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        asking, after = _asking(request), None
        if request.exchange.endpoint == "responses/{id}":
            asking.target, after = without_starting_after(request.target)
        response = await forward(asking)
        if response.status != 200 or media_type_and_coding(response.headers)[0] not in _READ:
            return response
        response = decoded(response)
        media_type, coding = media_type_and_coding(response.headers)
        if coding:
            return response
        if is_event_stream(media_type):
            stream = StoredStreamFilter(self._rule_of_answer, after, lambda: self._lease(request))
            return response.filtered(stream)
        return response.filtered(ThinkDocumentFilter(self._rule_of_answer, lease=self._lease(request)))

    def _lease(self, request: ProxyRequest) -> Lease | None:
        """Return a lease for the held part of the answer to this request; it is freed when the exchange ends."""
        if self._buffered is None:
            return None
        lease = Lease(self._buffered)
        request.exchange.on_end(lease.free)
        return lease

    def reads(self, request: ProxyRequest) -> bool:
        """Return whether the answer to this request must reach this stage without compression."""
        return self._find(request) is not None

    def _find(self, request: ProxyRequest) -> ThinkRule | None:
        """Return the rule for the answer to this request, None if it passes unchanged."""
        if request.method != b"POST" or request.upgrade or request.exchange.endpoint not in _NEW:
            return None
        rule = self._rule
        if self._models:
            rule = _matching(self._models, request.model or request.exchange.model or "") or rule
        return rule if rule.active else None

    def _rule_of_answer(self, model: str) -> ThinkRule:
        return _matching(self._stored_models, model) or self._rule


def _matching(models: Sequence[tuple[str, ThinkRule]], model: str) -> ThinkRule | None:
    return next((rule for pattern, rule in models if fnmatchcase(model, pattern)), None)


def _is_stored(request: ProxyRequest) -> bool:
    return not request.upgrade and request.exchange.endpoint in _STORED.get(request.method, ())


def _asking(request: ProxyRequest) -> ProxyRequest:
    asking = request.evolve()
    asking.headers = ask_identity(request.headers)
    return asking


def _choose(
    rule: ThinkRule, response: ProxyResponse, streaming: bool, leases: Callable[[], Lease | None]
) -> BodyFilter | None:
    """Return a filter that fits the response, None if it passes unchanged."""
    if response.status != 200:
        return None
    media_type, coding = media_type_and_coding(response.headers)
    if coding:
        return None
    whole = response.body.whole
    untouched = whole is not None and not (rule.implicit_start or rule.may_begin_in(whole))
    if untouched and _pass_all(response.filters):
        return None
    if is_event_stream(media_type, streaming):
        return ThinkStreamFilter(rule, lease=leases())
    if media_type != JSON:
        return None
    if streaming:  # some servers send streams with this media type
        return ByBeginning(
            lambda: ThinkStreamFilter(rule, lease=leases()), lambda: ThinkDocumentFilter(rule, lease=leases())
        )
    return ThinkDocumentFilter(rule, lease=leases())


def _pass_all(filters: Sequence[BodyFilter]) -> bool:
    return not filters or all(each.transparent for each in filters)
