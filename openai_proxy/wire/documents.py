"""Decode JSON bodies from untrusted senders.

Pure. A body is decoded once; the bytes that are sent upstream are always the
original ones.
"""

from __future__ import annotations

import json
from typing import Any, cast

import orjson

from ..exchange.errors import InvalidJSON, MissingParameter
from .json_members import iter_members, locate, value_end

_WHITE = b" \t\n\r"


class TooDeep:
    """Represents a value nested deeper than the JSON decoders allow."""

    def __repr__(self) -> str:
        return "TOO_DEEP"


TOO_DEEP = TooDeep()
"""The only instance; no other value of a document is not JSON."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_int(digits: str) -> int | float:
    """Parse an integer of any length: Python refuses more than 4,300 digits, OpenAI's servers do not."""
    return int(digits) if len(digits) < 4000 else float(digits)


_lenient = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_parse_int)


def parse_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object; raise InvalidJSON for anything else.

    orjson first; input that it refuses and OpenAI accepts (lone surrogates,
    numbers out of range, deep nesting) is decoded by the standard library, or,
    if nested too deep for that, only at its top level. NaN and Infinity are not
    JSON. Members too deep to decode are TOO_DEEP.
    """
    document: Any = ordinary_object(body)
    if document is None:
        document = _parse_leniently(body)
        if not isinstance(document, dict):
            raise InvalidJSON
    return cast(dict[str, Any], document)


def ordinary_object(body: bytes) -> dict[str, Any] | None:
    """Decode a JSON object that every decoder accepts, because orjson does; None for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _parse_leniently(body: bytes) -> Any:
    try:
        return _lenient.decode(body.decode("utf-8"))
    except RecursionError:
        return shallow_document(body)
    except ValueError:
        raise InvalidJSON from None


def shallow_document(body: bytes) -> dict[str, Any] | None:
    """Decode the object `body` member by member; None if it is no JSON object.

    A value too deeply nested to decode becomes TOO_DEEP; of duplicates the
    last one counts. For bodies that the decoders refuse as a whole.
    """
    document: dict[str, Any] = {}
    start, _ = locate(body, ())
    try:
        if body[value_end(body, start) :].strip(_WHITE):
            return None
        for key, (value_start, end) in iter_members(body, start):
            document[key] = _decode_value(body[value_start:end])
    except ValueError:
        return None
    return document


def _decode_value(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return _lenient.decode(raw.decode("utf-8"))
    except RecursionError:
        return TOO_DEEP


def maybe_object(body: bytes) -> dict[str, Any] | None:
    """Decode a JSON object, or return None if it is none."""
    try:
        return parse_object(body)
    except InvalidJSON:
        return None


def maybe_only_object(body: bytes) -> dict[str, Any] | None:
    """Decode a JSON object, or a list that holds one object and nothing else; None for anything else."""
    if body.lstrip()[:1] != b"[":
        return maybe_object(body)
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return items[0] if len(items) == 1 and isinstance(items[0], dict) else None


def require(document: dict[str, Any], names: tuple[str, ...]) -> None:
    """Raise MissingParameter for the first of `names` that is not a member."""
    for name in names:
        if name not in document:
            raise MissingParameter(name)


def as_one_line(body: bytes | None, limit_bytes: int = 64 * 1024) -> bytes | None:
    """Return an error of the API as JSON on one line; None if `body` is not an error, or too long."""
    if body is None or len(body) > limit_bytes:
        return None
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("error"), dict):
        return None
    return body.strip().replace(b"\r", b" ").replace(b"\n", b" ")
