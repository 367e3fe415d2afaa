"""Which parameters go to which endpoint, and under which name. Pure.

The tables follow the request schemas of OpenAI's API description. A name that
no table has may be a parameter of another server (`top_k`,
`chat_template_kwargs`): it is sent to the endpoints that generate text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from attrs import field, frozen

from ...exchange.bounded_memo import BoundedMemo
from .params import ModelParams

_MOST_KEPT = 1000
REMOVE = "remove"
"""A parameter with this value is removed from the request."""
OUTPUT_LIMITS = frozenset(("max_tokens", "max_completion_tokens", "max_output_tokens"))
"""The names of the output limit, by endpoint."""

_CHAT, _COMPLETIONS, _RESPONSES = "chat/completions", "completions", "responses"
_LIMIT_OF = {_COMPLETIONS: "max_tokens", _RESPONSES: "max_output_tokens"}
"""The output limit's only name at an endpoint; chat has two."""
_CHAT_LIMITS = frozenset(("max_tokens", "max_completion_tokens"))
_LACKS = {
    _CHAT: frozenset(("best_of", "echo", "suffix")),
    _COMPLETIONS: frozenset(
        (
            "audio",
            "function_call",
            "functions",
            "modalities",
            "parallel_tool_calls",
            "prediction",
            "reasoning",
            "reasoning_effort",
            "response_format",
            "store",
            "tool_choice",
            "tools",
            "top_logprobs",
            "verbosity",
            "web_search_options",
        )
    ),
    _RESPONSES: frozenset(
        (
            "audio",
            "best_of",
            "echo",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "modalities",
            "n",
            "prediction",
            "presence_penalty",
            "reasoning_effort",
            "response_format",
            "seed",
            "stop",
            "suffix",
            "verbosity",
            "web_search_options",
        )
    ),
}
"""Parameters that some endpoints that generate text do not accept, though others do."""
_IMAGES = frozenset(
    (
        "background",
        "moderation",
        "n",
        "output_compression",
        "output_format",
        "partial_images",
        "quality",
        "response_format",
        "size",
        "stream",
        "style",
        "user",
    )
)
_TAKES = {
    "embeddings": frozenset(
        ("dimensions", "encoding_format", "input_type", "truncate", "truncate_prompt_tokens", "user")
    ),
    "images/generations": _IMAGES,
    "images/edits": _IMAGES | {"input_fidelity"},
    "audio/speech": frozenset(("instructions", "response_format", "speed", "stream_format", "voice")),
}
"""All parameters that other endpoints accept."""


@frozen
class Change:
    """The change to requests for one model at one endpoint.

    `params` replace what the client sent, `defaults` add what it did not send;
    tables in both are merged with the client's. `removed` are deleted.
    `limit_names` are the names of the output limit that the endpoint accepts.
    """

    params: Mapping[str, Any] = field(factory=dict)
    defaults: Mapping[str, Any] = field(factory=dict)
    removed: frozenset[str] = frozenset()
    limit_names: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.params or self.defaults or self.removed)


def change_for(rules: Iterable[ModelParams], model: str, endpoint: str) -> Change:
    """Return the change that `rules` make to a request for `model` at `endpoint`; later rules win."""
    params: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for rule in rules:
        if rule.applies_to(model):
            for values, into in ((rule.params, params), (rule.default_params, defaults)):
                for name, value in values.items():
                    there = _name_at(endpoint, name, rule.endpoints)
                    if there is not None:
                        into[there] = value
    removed = frozenset(name for name, value in params.items() if value == REMOVE)
    params = {name: value for name, value in params.items() if name not in removed}
    settled = {*params, *removed} | (OUTPUT_LIMITS if not OUTPUT_LIMITS.isdisjoint(params) else frozenset())
    defaults = {name: value for name, value in defaults.items() if name not in settled}
    return Change(params, defaults, removed, _limit_names(endpoint))


class Changes:
    """The changes that `rules` make, computed once for each model and endpoint.

    Clients choose the names of models, so at most _MOST_KEPT changes are kept,
    and none for long names.
    """

    def __init__(self, rules: Iterable[ModelParams]) -> None:
        self._rules = tuple(rules)
        self._kept: BoundedMemo[tuple[str, str], Change] = BoundedMemo(_MOST_KEPT)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def __len__(self) -> int:
        """Return the number of models and endpoints for which a change is kept."""
        return len(self._kept)

    def find(self, model: str, endpoint: str) -> Change:
        """Return the change to a request for `model` at `endpoint`."""
        change = self._kept.get((model, endpoint))
        if change is None:
            change = change_for(self._rules, model, endpoint)
            self._kept.remember((model, endpoint), change, len(model))
        return change


def _limit_names(endpoint: str) -> frozenset[str]:
    only = _LIMIT_OF.get(endpoint)
    return _CHAT_LIMITS if only is None else frozenset((only,))


def _name_at(endpoint: str, name: str, endpoints: tuple[str, ...] | None) -> str | None:
    """Return the name of a parameter at an endpoint; None if the endpoint does not accept it."""
    if endpoints is not None and not any(fnmatchcase(endpoint, each) for each in endpoints):
        return None
    if endpoint in _LACKS:
        if name in OUTPUT_LIMITS:
            if endpoint == _CHAT:
                return "max_completion_tokens" if name == "max_output_tokens" else name
            return _LIMIT_OF[endpoint]
        return None if endpoints is None and name in _LACKS[endpoint] else name
    return name if endpoints is not None or name in _TAKES.get(endpoint, ()) else None


@frozen
class Edits:
    """The edits of one request: members to set, names of members to remove."""

    values: dict[str, Any]
    removed: frozenset[str]


def edits_for(change: Change, given: Mapping[str, Any]) -> Edits:
    """Return the edits that `change` makes to a request whose members are `given`; names in lower case.

    A null counts as not given. A default for the output limit is ignored if any
    name of the limit is given; a fixed one replaces all of them, under the name
    that the client used if the endpoint accepts it.
    """
    values = dict(change.params)
    removed = set(change.removed.intersection(given))
    for name, value in change.defaults.items():
        own = given.get(name)
        if own is None and not (name in OUTPUT_LIMITS and _has_limit(given)):
            values[name] = value
        elif isinstance(own, dict) and isinstance(value, dict):
            values[name] = merged(value, own)
    for name, value in change.params.items():
        own = given.get(name)
        if isinstance(value, dict) and isinstance(own, dict):
            values[name] = merged(own, value)
    _put_limit(values, change, given, removed)
    return Edits(values, frozenset(removed))


def _has_limit(given: Mapping[str, Any]) -> bool:
    return any(given.get(name) is not None for name in OUTPUT_LIMITS)


def _put_limit(values: dict[str, Any], change: Change, given: Mapping[str, Any], removed: set[str]) -> None:
    """Set a fixed output limit whatever name the client gave it, and leave only one name."""
    fixed = next((name for name in sorted(OUTPUT_LIMITS.intersection(change.params))), None)
    if fixed is None:
        return
    theirs = sorted(OUTPUT_LIMITS.intersection(given) - {fixed})
    accepted = [name for name in theirs if name in change.limit_names]
    if accepted and fixed not in given:
        values[accepted[0]] = values.pop(fixed)
        theirs.remove(accepted[0])
    removed.update(theirs)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `over` into `under`, and the tables inside them likewise. New members come last."""
    result = dict(under)
    for name, value in over.items():
        own = result.get(name)
        if isinstance(own, dict) and isinstance(value, dict):
            result[name] = merged(own, value)
        else:
            result[name] = value
    return result
