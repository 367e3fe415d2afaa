"""How many model tokens a request may cost, before anybody knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .llm_params import ModelParams, merge

BYTES_PER_TOKEN = 4
_OUTPUT_LIMITS = frozenset(("max_completion_tokens", "max_tokens", "max_output_tokens"))
_COUNTED = frozenset((*_OUTPUT_LIMITS, "n"))
_WITHOUT_PROMPT = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))
_KEPT_MODELS = 1000
_LONGEST_KEPT = 256
MOST_OUTPUT_TOKENS = 10_000_000
"""More is a slip of the client's: it must not overflow what counts it."""


def estimated_prompt_tokens(size_bytes: int) -> int:
    """Return the tokens of a JSON body of `size_bytes`: a quarter, at least 1."""
    return size_bytes // BYTES_PER_TOKEN or 1


def requested_output_tokens(document: dict[str, Any]) -> int:
    """Return the output that a request asks for at most, for all its choices; 0 where it says nothing."""
    if _OUTPUT_LIMITS.isdisjoint(document):
        return 0
    most = 0
    for name in _OUTPUT_LIMITS:
        value = document.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > most:
            most = int(min(value, MOST_OUTPUT_TOKENS))
    choices = document.get("n")
    if isinstance(choices, int) and not isinstance(choices, bool) and 1 < choices <= 128:
        most *= choices
    return most


def reserved_model_tokens(method: bytes, body: object, document: dict[str, Any] | None) -> int:
    """Return what to reserve for a request: prompt estimate and asked-for output.

    0 for a request without a body (listing, deleting, a WebSocket). A body
    that streams through (audio, files) reserves 1: it waits while the key
    is in debt, and pays what it turns out to use.
    """
    if body is None or method in _WITHOUT_PROMPT:
        return 0
    if not isinstance(body, bytes):
        return 1
    output = requested_output_tokens(document) if document else 0
    return estimated_prompt_tokens(len(body)) + output


class TokenEstimate:
    """`reserved_model_tokens` of requests as the configured parameters `rules` will change them.

    What such parameters cost is merged once for each model; model names
    come from clients, so no more than _KEPT_MODELS are kept, and none that
    is longer than _LONGEST_KEPT.
    """

    def __init__(self, rules: Iterable[ModelParams] = ()) -> None:
        self._rules = tuple(
            rule for rule in rules if not _COUNTED.isdisjoint((*rule.params, *rule.default_params))
        )
        self._merged: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def __call__(self, method: bytes, body: object, document: dict[str, Any] | None) -> int:
        """Return what to reserve for a request that comes with `document`."""
        if self._rules and document is not None:
            document = self._changed(document)
        return reserved_model_tokens(method, body, document)

    def _changed(self, document: dict[str, Any]) -> dict[str, Any]:
        model = document.get("model")
        if not isinstance(model, str):
            return document
        found = self._merged.get(model)
        if found is None:
            found = merge(self._rules, model)
            if len(model) <= _LONGEST_KEPT:
                if len(self._merged) >= _KEPT_MODELS:
                    self._merged.clear()
                self._merged[model] = found
        params, defaults = found
        return {**defaults, **document, **params}
