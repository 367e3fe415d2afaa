"""Web origins in the settings, as browsers send them: `https://app.example:8443`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from ..wire.web_origins import normal_origin
from .errors import shown
from .fields import Allowed


def _origins(value: Any) -> Any:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
        if not value:
            raise ValueError("there is no origin in it")
    if not isinstance(value, list | tuple):
        raise ValueError("a list of origins is expected")
    found = tuple(dict.fromkeys(_origin(item) for item in value))
    if "*" in found and len(found) > 1:
        raise ValueError("'*' means all: remove the other origins")
    return found


def _origin(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("an origin is text")
    text = value.strip().rstrip("/").lower()
    if text == "*":
        return text
    if text == "null":
        raise ValueError("'null' is what every page without an origin sends")
    if normal_origin(text.encode("ascii", "replace")) is None:
        raise ValueError(f"{shown(value)} is none: an origin is scheme, host and port, without a path")
    return text


Origins = Annotated[
    tuple[str, ...],
    BeforeValidator(_origins),
    Allowed("web origins such as 'https://app.example', separated by commas (a list in TOML), or '*'"),
]
