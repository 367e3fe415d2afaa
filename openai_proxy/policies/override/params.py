"""Parameters set for a model: their notation and their types.

Two notations: the flat text of one variable and the tables of a
configuration file. Both become `ModelParams`. Pure; used by settings
(to refuse bad ones at start) and by the override stage.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from attrs import Factory, frozen

_integer = re.compile(r"[+-]?[0-9]{1,300}")
_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_decimal = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_words = {"true": True, "false": False, "null": None, "": None}


@frozen
class ModelParams:
    """The parameters for requests to the models that `match` names."""

    match: str
    """A model's exact name, or a glob (`*`, `?`, `[…]`, case-sensitive) if `glob` is set."""
    params: Mapping[str, Any] = Factory(dict)
    """JSON values that replace what the client sent."""
    default_params: Mapping[str, Any] = Factory(dict)
    """JSON values for members that the client did not send."""
    glob: bool = False
    endpoints: tuple[str, ...] | None = None
    """The endpoints to set them at, names or globs; None means all that have the parameter."""

    def applies_to(self, model: str) -> bool:
        """Say whether `match` names `model`."""
        return fnmatchcase(model, self.match) if self.glob else model == self.match


def _parse_float(text: str) -> float:
    value = float(text) if _decimal.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError("must be a number")
    return value


def _parse_int(text: str) -> int:
    if not _integer.fullmatch(text):
        raise ValueError("must be an integer")
    return int(text)


def _parse_bool(text: str) -> bool:
    value = _words.get(text.lower())
    if value is None:
        raise ValueError("must be true or false")
    return value


def _parse_any(text: str) -> Any:
    """Return true, false or a number if `text` is written like one, else the text."""
    if text.lower() in _words:
        return _words[text.lower()]
    if not _number.fullmatch(text) or len(text) > 300:
        return text
    value = json.loads(text)
    return value if math.isfinite(value) else text


_TYPES: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(
        ("temperature", "top_p", "presence_penalty", "frequency_penalty", "repetition_penalty"), _parse_float
    ),
    **dict.fromkeys(
        (
            "top_k",
            "max_tokens",
            "max_completion_tokens",
            "n",
            "seed",
            "num_ctx",
            "num_predict",
            "repeat_last_n",
            "batch_size",
        ),
        _parse_int,
    ),
    **dict.fromkeys(("echo", "stream"), _parse_bool),
}
"""Parameters that have a type; all others are parsed by `_parse_any`."""


def parse_llm_params(text: str) -> dict[str, dict[str, Any]]:
    """Parse `model=A,temperature=0.5;model=B,max_tokens=200` to parameters by exact model name.

    Groups are separated by `;`, entries by `,`. Space around names and values
    does not count; the value is everything after the first `=`. An empty value
    or `null` is None. Empty groups are skipped; groups of one model are merged,
    and later entries take precedence. Raises ValueError with one line that
    shows only the faulty entry.
    """
    models: dict[str, dict[str, Any]] = {}
    for group in filter(str.strip, text.split(";")):
        first, *entries = group.split(",")
        name, model = _parse_entry(first)
        if name != "model" or not model:
            raise ValueError(f"{first.strip()!r}: a group must begin with model=NAME")
        params = models.setdefault(model, {})
        for entry in entries:
            name, value = _parse_entry(entry)
            if name == "model":
                raise ValueError(f"{entry.strip()!r}: a second model in one group; separate groups with ';'")
            params[name] = _parse_value(name, value, entry)
    return models


def _parse_entry(entry: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in entry.partition("="))
    if not equals or not name:
        raise ValueError(f"{entry.strip()!r}: an entry must be NAME=VALUE")
    return name, value


def _parse_value(name: str, value: str, entry: str) -> Any:
    if value.lower() in ("", "null"):
        return None
    try:
        return _TYPES.get(name, _parse_any)(value)
    except ValueError as error:
        raise ValueError(f"{entry.strip()!r}: {name} {error}") from None


def from_text(text: str) -> tuple[ModelParams, ...]:
    """Return the rules of `parse_llm_params`, one per model, exact names."""
    return tuple(ModelParams(model, params) for model, params in parse_llm_params(text).items())


def from_table(
    match: str,
    params: Mapping[str, Any] | None = None,
    default_params: Mapping[str, Any] | None = None,
    endpoints: tuple[str, ...] | None = None,
) -> ModelParams:
    """Return the rule of a configuration table; `match` is a glob, values any JSON.

    Raises ValueError if a value is not JSON (a date, NaN) or does not fit the
    type of a parameter that has one.
    """
    for values in (params or {}, default_params or {}):
        for name, value in values.items():
            _check_value(name, value)
    return ModelParams(match, params or {}, default_params or {}, glob=True, endpoints=endpoints)


def _check_value(name: str, value: Any) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: the value must be JSON") from None
    if value == "remove":
        return  # removes the parameter from the request, whatever its type
    if isinstance(value, str):
        text = "a text"
    if name in _TYPES and value is not None:
        try:
            _TYPES[name](text)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
