"""Refuse, for keys with a budget, requests whose cost the tokens of their answer do not tell.

Runs after the body has been read.
"""

from __future__ import annotations

from collections.abc import Awaitable
from urllib.parse import unquote_to_bytes

from ...exchange.access_errors import NotMeasured
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .named_models import unmeasured_param

_TELL_NOTHING = frozenset(
    (
        "evals/{id}/runs",
        "fine_tuning/jobs",
        "fine_tuning/alpha/graders/run",
        "agents/sessions",
        "agents/sessions/{id}/events",
        "agents/automations",
        "agents/automations/{id}/invocations",
        "containers",
    )
)
"""Endpoints that run models whose usage the answer does not report, or that have a fee of their own."""
_MAY_NAME_NONE = frozenset(
    (
        "images/generations",
        "images/edits",
        "images/variations",
        "videos",
        "videos/edits",
        "videos/extensions",
        "videos/{id}/remix",
    )
)
"""Endpoints whose model has a default, which the answer does not name: it would have no price."""
_WHY = {
    "": "its usage is not reported, or it has a fee of its own",
    "model": "it names no model",
    "service_tier": "only the service tiers auto, default and flex can be measured",
    "tools": "one of its tools has a fee of its own",
    "input": "a tool in its input has a fee of its own",
    "items": "a tool in its items has a fee of its own",
    "session": "what it transcribes is in the usage of no response",
    "intent": "what it transcribes is in the usage of no response",
    "data_source": "one of its tools has a fee of its own",
    "web_search_options": "a web search has a fee of its own",
    "prompt": "a stored prompt may name any model and tools with a fee",
    "assistant_id": "an assistant may have any model and tools with a fee",
    "agent_id": "an agent may have any model and tools with a fee",
}


class RefuseUnmeasured:
    """Raise NotMeasured for dearer service tiers, tools with a fee, and stored prompts and assistants, which
    may have such tools; for runs whose answer reports no usage, and for images and videos of an unnamed model.

    `keys` are by `credential_id`.
    """

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys = keys

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if request.exchange.credential_id not in self._keys:
            return forward(request)
        param = _unmeasured(request)
        if param is not None:
            raise NotMeasured(
                f"openai-proxy cannot measure what this request costs ({_WHY[param]}), and this API key has a"
                " budget: the operator can set budget_unmeasured = 'allow' for the key.",
                param=param or None,
            )
        return forward(request)


def _unmeasured_of_handshake(request: ProxyRequest) -> str | None:
    """As `_unmeasured`, for a WebSocket that runs its models without responses."""
    if request.endpoint.startswith("realtime/"):
        return ""
    query = unquote_to_bytes(request.target.partition(b"?")[2]).lower()
    return "intent" if b"intent" in query and b"transcription" in query else None


def _unmeasured(request: ProxyRequest) -> str | None:
    """Return the member because of which the cost is not known, empty if it is the endpoint; None if it is known."""
    if request.upgrade:
        return _unmeasured_of_handshake(request)
    if request.method == b"POST":
        if request.endpoint in _TELL_NOTHING:
            return ""
        if request.endpoint in _MAY_NAME_NONE and request.model is None:
            return "model"
    return None if request.document is None else unmeasured_param(request.json, request.document)
