"""Parse client keys from text: the comma-separated list and the JSON mapping.

Errors say what is wrong and never repeat any of the input.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SecretStr

from .fields import Allowed
from .values import check_key


def _key(value: Any) -> SecretStr:
    if not isinstance(value, str):
        raise ValueError("a key is text")
    check_key(value)
    return SecretStr(value)


def parse_key_list(value: Any) -> tuple[SecretStr, ...]:
    """Return the keys of `a,b` or of a list, each once, in order.

    An empty list means no keys. Text without a key in it (`,`) raises
    ValueError, because its author meant to restrict access; so does a JSON
    list, because no key contains brackets and quotes.
    """
    if isinstance(value, str):
        if re.fullmatch(r"\s*\[.*\]\s*", value, re.S):
            raise ValueError("it is a JSON list")
        value = [part for part in re.split(r"[,\s]+", value) if part]
        if not value:
            raise ValueError("there is no key in it")
    if not isinstance(value, list | tuple):
        raise ValueError("a list of keys is expected")
    keys = [_key(item.get_secret_value() if isinstance(item, SecretStr) else item) for item in value]
    return tuple(dict.fromkeys(keys))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a client key is in it twice")
    return found


def parse_key_mapping(value: Any) -> tuple[tuple[SecretStr, SecretStr], ...]:
    """Return (client key, upstream key) pairs of a JSON object or a table.

    Raises ValueError for anything else, for a duplicate key, and for keys that
    cannot be sent in a header.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=_once)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except json.JSONDecodeError:
            # the decoder's error contains the document
            raise ValueError("it is not valid JSON") from None
    if isinstance(value, tuple):
        value = {client.get_secret_value(): upstream.get_secret_value() for client, upstream in value}
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    return tuple((_key(client), _key(upstream)) for client, upstream in value.items())


KeyList = Annotated[
    tuple[SecretStr, ...],
    BeforeValidator(parse_key_list),
    Allowed("client keys of visible ASCII characters, separated by commas (a list in TOML)"),
]
KeyMapping = Annotated[
    tuple[tuple[SecretStr, SecretStr], ...],
    BeforeValidator(parse_key_mapping),
    PlainSerializer(lambda pairs: len(pairs)),
    Allowed("a JSON object: client key to upstream key, both text, each client key once"),
]
