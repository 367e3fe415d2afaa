"""Explain a failed validation in one line, with secrets masked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_origin

from pydantic import ValidationError

from .errors import REDACTED, SettingsError, mask_whole_url, shown, without_keys
from .fields import Doc, allowed_of, doc_of
from .schema import Location, dotted, field_at, leaves, model_at, section_of


def explain(error: ValidationError, origins: Mapping[str, str]) -> SettingsError:
    """Return the error line for the first problem; unknown names take precedence over wrong values.

    `origins` has the source of each value by its TOML path.
    """
    problems = error.errors(include_url=False)
    first = next((item for item in problems if item["type"] == "extra_forbidden"), problems[0])
    location = first["loc"]
    label = _label(location, origins)
    if first["type"] == "extra_forbidden":
        return SettingsError(f"{label}: unknown setting; the nearest known one is {_nearest(location)}")
    field = field_at(location)
    doc = doc_of(field) if field else Doc()
    allowed = allowed_of(field) if field else None
    if allowed is None:
        allowed = _table_kind(location)
    if first["type"] == "missing":
        return SettingsError(f"{label}: is missing; it must be {allowed}")
    value = _shown(first["input"], doc, is_table=field is None or section_of(field.annotation) is not None)
    reason = f" ({first['ctx']['error']})" if first["type"] == "value_error" else ""
    return SettingsError(f"{label}: {value} is not allowed{reason}; it must be {allowed}")


def _shown(value: Any, doc: Doc, is_table: bool) -> str:
    if is_table and isinstance(value, str):
        return "text"  # in place of a table, such as one of [[keys]], it may be the key itself
    if doc.url and isinstance(value, str):
        return shown(mask_whole_url(value))
    return REDACTED if doc.secret else shown(value)


def _label(location: Location, origins: Mapping[str, str]) -> str:
    path = without_keys(dotted(location))
    for end in range(len(location), 0, -1):
        origin = origins.get(dotted(location[:end]))
        if origin:
            return f"{path} (from {origin})"
    # a value without a source is in the TOML file under an unknown name
    return f"{path} (from {origins['']})" if "" in origins else path


def _table_kind(location: Location) -> str:
    model = model_at(location)
    if model is not None and not isinstance(location[-1], int):
        field = field_at(location)
        annotation = field.annotation if field else None
        if get_origin(annotation) is tuple:
            return f"an array of tables ([[{dotted(location)}]])"
    return "a table"


def _nearest(location: Location) -> str:
    """Return the setting that an unknown name was probably meant to be."""
    key = str(location[-1])
    model = model_at(location[:-1])
    siblings = {} if model is None else {name: dotted((*location[:-1], name)) for name in model.model_fields}
    by_variable = {name: leaf.path for leaf in leaves() for name in leaf.environment}
    if key.upper() in by_variable:
        return by_variable[key.upper()]
    if close := get_close_matches(key.lower(), siblings, 1):
        return siblings[close[0]]
    for name in siblings:  # `[[keys]] requests_per_minute` belongs to its table `limits`
        inner = model_at((*location[:-1], name))
        if inner is not None and key.lower() in inner.model_fields:
            return f"{siblings[name]}.{key.lower()}"
    if not any(isinstance(step, int) for step in location):  # an entry of [[keys]] has no other tables
        for leaf in leaves():
            if leaf.path.rpartition(".")[2] == key:
                return leaf.path
    return siblings[get_close_matches(key.lower(), siblings, 1, cutoff=0.0)[0]]
