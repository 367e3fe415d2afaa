"""The estimate of a request's prompt: one for limits and for budgets."""

from __future__ import annotations

from ...exchange.messages import ProxyRequest
from ...wire.documents import maybe_object
from .estimate import estimated_prompt_tokens, prompt_tokens


def estimated_prompt(request: ProxyRequest) -> int:
    """Return the tokens of the prompt by an estimate; it is made once, or again of a copy."""
    if request.prompt_estimate is None:
        if request.document is None:
            size = len(request.body) if isinstance(request.body, bytes) else request.exchange.request_bytes
            request.prompt_estimate = estimated_prompt_tokens(size)
        else:
            text = request.json
            request.prompt_estimate = prompt_tokens(text, maybe_object(text))
    return request.prompt_estimate
