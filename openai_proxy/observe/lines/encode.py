"""Encode one JSON line from values that strangers chose.

Whatever Python value comes in, a line of valid JSON (RFC 8259) comes out:
orjson refuses lone surrogates, integers over 64 bits and deep nesting, all
of which a request's body or model name may hold. Pure.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
from attrs import define

MAX_DEPTH = 200


@define(eq=False, repr=False)
class RawJSON:
    """A JSON value as somebody wrote it, to be copied into a line: valid, on one line, of at most MAX_DEPTH levels."""

    text: bytes


def json_line(record: dict[str, Any]) -> bytes:
    """Return `record` as one line with its line end; never raises for decoded JSON, and RawJSON in it."""
    try:
        return orjson.dumps(record, _raw, orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        plain = _plain(record, MAX_DEPTH)
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _raw(value: Any) -> orjson.Fragment:
    if type(value) is RawJSON:
        return orjson.Fragment(value.text)
    raise TypeError


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, RawJSON):
        value = json.loads(value.text)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4096:
        return None
    if isinstance(value, (dict, list)):
        if depth == 0:
            return "[too deeply nested]"
        if isinstance(value, dict):
            return {key: _plain(item, depth - 1) for key, item in value.items()}
        return [_plain(item, depth - 1) for item in value]
    return value
