"""Refuse, for keys with a budget, requests that cost more than the tokens of their answer.

Runs after the body has been read.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ...exchange.errors import NotMeasured
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .named_models import unmeasured_param

_WHY = {
    "service_tier": "only the service tiers auto, default and flex can be measured",
    "tools": "one of its tools has a fee of its own",
    "web_search_options": "a web search has a fee of its own",
    "prompt": "a stored prompt may name any model and tools with a fee",
    "assistant_id": "an assistant may have any model and tools with a fee",
}


class RefuseUnmeasured:
    """Raise NotMeasured for dearer service tiers, tools with a fee, and stored prompts and assistants, which
    may have such tools.

    `keys` are by `credential_id`.
    """

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys = keys

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if request.exchange.credential_id not in self._keys:
            return forward(request)
        if request.document is None:
            return forward(request)
        param = unmeasured_param(request.json, request.document)
        if param is not None:
            raise NotMeasured(
                f"openai-proxy cannot measure what this request costs ({_WHY[param]}), and this API key has a"
                " budget: whoever runs it can set budget_unmeasured = 'allow' for the key.",
                param=param,
            )
        return forward(request)
