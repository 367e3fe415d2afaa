"""Building blocks of the settings' models: tables of documented fields.

Every field has its meaning, the environment variables that set it and what is
allowed; help, errors and reference are generated from that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from attrs import frozen
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A table of settings: frozen, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@frozen
class Allowed:
    """The allowed values in words: `must be <text>`."""

    text: str


@frozen
class Doc:
    """The sources of a setting besides the TOML file.

    `env` are further environment variables, looked up in this order;
    `canonical_first` puts the name made from the TOML path before them.
    `option` is the command-line option. `toml_only` means neither environment
    nor option. Values of a `secret` are never shown.
    """

    env: tuple[str, ...] = ()
    canonical_first: bool = False
    option: str | None = None
    toml_only: bool = False
    secret: bool = False
    url: bool = False
    """It is a secret URL, shown without its userinfo and query."""
    default: str | None = None
    """The default in words, if the value itself does not say it."""


def setting(
    default: Any, meaning: str, *, default_text: str | None = None, repr: bool = True, **doc: Any
) -> Any:
    """Return a pydantic field with its meaning and its `Doc`.

    `default` is the value; `...` makes the field required. `default_text` says
    the default in words. `repr=False` keeps the value out of the model's repr.
    """
    extra: Any = {"doc": Doc(default=default_text, **doc)}  # internal, and never rendered as a schema
    return Field(default, description=meaning, repr=repr, json_schema_extra=extra)


def doc_of(field: FieldInfo) -> Doc:
    """Return the `Doc` of a field; an empty one if it has none."""
    extra = field.json_schema_extra
    doc = extra.get("doc") if isinstance(extra, dict) else None
    return doc if isinstance(doc, Doc) else Doc()


def allowed_of(field: FieldInfo) -> str | None:
    """Return the allowed values of the field in words, or None."""
    return _last_allowed(field.metadata) or _allowed_in(field.annotation)


def _last_allowed(metadata: Iterable[Any]) -> str | None:
    # the last one is the outermost: an Endpoint is a Text, and is more specific
    texts = [item.text for item in metadata if isinstance(item, Allowed)]
    return texts[-1] if texts else None


def _allowed_in(annotation: Any) -> str | None:
    #  None` the words stand with Key| None` the words stand with Key
    found = _last_allowed(getattr(annotation, "__metadata__", ()))
    return found or next((inner for part in get_args(annotation) if (inner := _allowed_in(part))), None)
