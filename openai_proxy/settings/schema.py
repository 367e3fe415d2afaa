"""List all settings by walking over the models.

Used by the sources (which variable feeds which setting), the errors, the
description and the reference, so that none of them repeats a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, get_args

from attrs import frozen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .fields import Doc, Section, doc_of
from .model import Settings

Location = tuple[int | str, ...]


@frozen
class Leaf:
    """One setting with a value of its own."""

    path: str
    """Its dotted path in the TOML file: `rate_limit.requests_per_minute`."""
    field: FieldInfo
    doc: Doc

    @property
    def environment(self) -> tuple[str, ...]:
        """Its environment variables, of which the first that is set is used."""
        if self.doc.toml_only:
            return ()
        canonical = self.path.upper().replace(".", "__")
        if self.doc.canonical_first:
            return (canonical, *self.doc.env)
        return (*self.doc.env, canonical)


def section_of(annotation: Any) -> type[Section] | None:
    """Return the table type inside an annotation such as `tuple[KeyEntry, ...]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Leaf]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _walk(annotation, f"{prefix}{name}.")
        else:
            yield Leaf(prefix + name, field, doc_of(field))


@lru_cache(maxsize=1)
def leaves() -> tuple[Leaf, ...]:
    """Return every setting, in the order of the models; an array of tables is one leaf."""
    return tuple(_walk(Settings, ""))


def model_at(location: Location) -> type[BaseModel] | None:
    """Return the model of the table at a location, None if that is no table."""
    model: type[BaseModel] = Settings
    for step in location:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        inner = section_of(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def field_at(location: Location) -> FieldInfo | None:
    """Return the deepest existing field on the path to a location."""
    model: type[BaseModel] | None = Settings
    field: FieldInfo | None = None
    for step in location:
        if isinstance(step, int) or model is None:
            continue
        found = model.model_fields.get(step)
        if found is None:
            break
        field, model = found, section_of(found.annotation)
    return field


def dotted(location: Location) -> str:
    """Return a location in the notation of the TOML file.

    >>> dotted(("keys", 0, "models", 1))
    'keys[0].models[1]'
    """
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
