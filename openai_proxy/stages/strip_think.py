"""Take the models' thoughts out of chat answers, or move them aside.

Only chat completions and Responses API requests whose model has a rule
change: they ask the upstream for an answer without compression, and a 200
gets a filter. Where an upstream compresses all the same, the stage that
reads usage decodes, for it stands between. An answer that is there whole
and has no start tag passes as it is, with its Content-Length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from fnmatch import fnmatchcase

from ..core.body_headers import ask_identity, is_event_stream, media_type_and_coding
from ..core.by_beginning import ByBeginning
from ..core.think import ThinkRule
from ..core.think_filters import ThinkDocumentFilter, ThinkStreamFilter
from ..messages import BodyFilter, Forward, ProxyRequest, ProxyResponse

_ENDPOINTS = frozenset(("chat/completions", "responses"))


class StripThink:
    """Apply `rule`, or the first of `models` (glob of the model's name, its rule) that matches."""

    def __init__(self, rule: ThinkRule, models: Sequence[tuple[str, ThinkRule]] = ()) -> None:
        self._rule = rule
        self._models = tuple(models)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        rule = self._find(request)
        return forward(request) if rule is None else self._strip(request, forward, rule)

    async def _strip(self, request: ProxyRequest, forward: Forward, rule: ThinkRule) -> ProxyResponse:
        asking = request.evolve()
        asking.headers = ask_identity(request.headers)
        response = await forward(asking)
        body_filter = _choose(rule, response, request.exchange.streaming)
        if body_filter is None:
            return response
        return response.filtered(body_filter)

    def reads(self, request: ProxyRequest) -> bool:
        """Whether the answer to this request must come to this stage without compression."""
        return self._find(request) is not None

    def _find(self, request: ProxyRequest) -> ThinkRule | None:
        """Return the rule for the answer to this request, None where it passes as it is."""
        if request.method != b"POST" or request.upgrade or request.exchange.endpoint not in _ENDPOINTS:
            return None
        rule = self._rule_of(request)
        return rule if rule.active else None

    def _rule_of(self, request: ProxyRequest) -> ThinkRule:
        if self._models:
            model = request.model or request.exchange.model or ""
            for pattern, rule in self._models:
                if fnmatchcase(model, pattern):
                    return rule
        return self._rule


def _choose(rule: ThinkRule, response: ProxyResponse, streaming: bool) -> BodyFilter | None:
    """Return a filter that fits the response, None where it passes as it is."""
    if response.status != 200:
        return None
    media_type, coding = media_type_and_coding(response.headers)
    if coding:
        return None
    whole = getattr(response.body, "whole", None)
    if whole is not None and not rule.may_begin_in(whole) and _pass_all(response.filters):
        return None
    if is_event_stream(media_type, streaming):
        return ThinkStreamFilter(rule)
    if media_type != b"application/json":
        return None
    if streaming:  # some servers label a stream so
        return ByBeginning(lambda: ThinkStreamFilter(rule), lambda: ThinkDocumentFilter(rule))
    return ThinkDocumentFilter(rule)


def _pass_all(filters: Sequence[BodyFilter]) -> bool:
    return not filters or all(each.transparent for each in filters)
