"""The JSON object of a request's body: what is read of it, and what is kept. Pure.

Reads whatever Python's `json.loads(bytes)` reads: UTF-8 with or without a
byte order mark, UTF-16, UTF-32, NaN and Infinity. Servers written in Python
read all of that, so no rule of ours may overlook it. A decoded document
takes up to thirty times the memory of its bytes, so only an outline of it
is kept.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from attrs import define

from ..exchange.errors import InvalidJSON

DEEPEST = 512
"""Levels of nesting above which a body is refused."""
MOST_MEMBERS = 1024
"""Members of the object itself above which a body is refused; the API knows fewer than a hundred."""
MOST_CONTAINERS = 1024 * 1024
"""Objects and lists above which a body is refused: an empty list takes 3 bytes of a body and 64 of memory."""
MOST_VALUES = 4 * 1024 * 1024
"""Commas between values, likewise: a short text takes 5 bytes of a body and 60 of memory."""
COSTLY_CONTAINERS, COSTLY_QUOTES, COSTLY_COMMAS = 50_000, 400_000, 1_000_000
"""Up to these many a body takes some 20 ms to decode at most; no prompt of a person or an agent has more."""
COSTLY_BYTES = 4 * 1024 * 1024
"""Above this a body may take some 20 ms whatever it holds: 30 MB of white space took 165 ms."""
_LARGE_BYTES = 64 * 1024
_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{},'))
_LONG_TEXT = 1024
_LONG_DIGITS = 4000
_MOST_OPTIONS = 16

_DECIDING = frozenset(
    [
        "model",
        "stream",
        "stream_options",
        "n",
        "temperature",
        "seed",
        "store",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "service_tier",
        "tools",
        "background",
        "previous_response_id",
        "conversation",
        "modalities",
        "audio",
        "size",
        "quality",
    ]
)
"""Members that decide something here, so that they count in any spelling."""


class NestedTooDeep(InvalidJSON):
    default_message = (
        f"The JSON body of your request is nested deeper than the {DEEPEST} levels that this proxy reads."
    )


class TooManyMembers(InvalidJSON):
    default_message = (
        f"The JSON body of your request has more than the {MOST_MEMBERS} members that this proxy reads."
    )


class TooManyValues(InvalidJSON):
    default_message = (
        f"The JSON body of your request has more than the {MOST_CONTAINERS} lists and objects, or more than the"
        f" {MOST_VALUES} values, that this proxy reads."
    )


class Omitted:
    """Stands in an outline for a value that is too large to be kept and decides nothing."""

    def __repr__(self) -> str:
        return "OMITTED"


OMITTED = Omitted()


@define(eq=False)
class RequestJSON:
    """What is known of a body that is a JSON object. Never mutated (not frozen: that takes twice the time to make)."""

    text: bytes
    """The object in UTF-8 without a byte order mark; the very body where that is what it is."""
    document: dict[str, Any]
    """All of it: let go of it soon."""
    ordinary: bool
    """Every JSON reader can decode the body."""


_NO_OBJECT = "openai-proxy could not read the body of your request as a JSON object"
_KINDS = {list: "a list", str: "text", bool: "true or false", type(None): "null"}


def _where(body: bytes, error: json.JSONDecodeError) -> str:
    """Say where JSON ends to be JSON; the decoder's own words hold nothing of the body."""
    if not body.strip():
        return f"{_NO_OBJECT}: it is empty (0 characters)." if not body else f"{_NO_OBJECT}: it is empty."
    reason = error.msg[:1].lower() + error.msg[1:]
    return (
        f"{_NO_OBJECT}: {reason} at line {error.lineno}, column {error.colno} (character {error.pos} of it)."
    )


def read_request(body: bytes) -> RequestJSON:
    """Decode the JSON object `body`, or raise InvalidJSON. O(n)."""
    if len(body) > _LARGE_BYTES:
        if json.detect_encoding(body) == "utf-8":
            _check_size(body)
        with _collector_paused():
            return _read(body)
    return _read(body)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python from looking for cycles while a document is made: each look would walk all of it so far."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_size(body: bytes) -> None:
    """Raise TooManyValues for UTF-8 that would take absurd memory once decoded. O(n), before anything is."""
    if _is_small(body):
        return
    beginning = _structure(body[:_LARGE_BYTES])
    opened = beginning.count(b"[") + beginning.count(b"{")
    if opened - beginning.count(b"]") - beginning.count(b"}") > DEEPEST:
        raise NestedTooDeep
    if not _is_small(_structure(body)):
        raise TooManyValues


def _structure(body: bytes) -> bytes:
    """Return the brackets and commas of JSON, or of its beginning, that stand in no string. O(n)."""
    # Without their other bytes most strings are empty, and go cheaply: a pair of quotes is a whole string,
    # or stands between two that may as well be one. What is left between quotes is mostly a single byte,
    # which Python need not make anew.
    body = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_STRUCTURE).replace(b'""', b"")
    return b"".join(body.split(b'"')[::2])


def is_costly(body: bytes) -> bool:
    """Say whether a body may take a noticeable time to decode: a very long one, or one of very many values. O(n)."""
    if len(body) <= _LARGE_BYTES:
        return False
    if len(body) > COSTLY_BYTES:
        return True
    opened = body.count(b"[") + body.count(b"{")
    return opened > COSTLY_CONTAINERS or body.count(b'"') > COSTLY_QUOTES or body.count(b",") > COSTLY_COMMAS


def _is_small(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") <= MOST_CONTAINERS and body.count(b",") <= MOST_VALUES


def _read(body: bytes) -> RequestJSON:
    try:
        document, text, ordinary = orjson.loads(body), body, True
    except orjson.JSONDecodeError:
        document, text = _read_as_python_does(body)
        ordinary = False
    if not isinstance(document, dict):
        raise InvalidJSON(f"{_NO_OBJECT}: it is {_KINDS.get(type(document), 'a number')}.")
    if len(document) > MOST_MEMBERS:
        raise TooManyMembers
    if opened(body) > DEEPEST and _is_deep(document):
        raise NestedTooDeep
    return RequestJSON(text, document, ordinary)


def opened(body: bytes) -> int:
    """Return how many lists and objects a body may open. O(n).

    `replace` looks for a byte as memchr does, a block at a time; `count` looks
    at each byte, and takes longer for a prompt than decoding it does.
    """
    return 2 * len(body) - len(body.replace(b"[", b"")) - len(body.replace(b"{", b""))


def parse_int(digits: str) -> int | float:
    """Python refuses to read integers of more than 4,300 digits; OpenAI's servers do not."""
    return int(digits) if len(digits) < _LONG_DIGITS else float(digits)


_decode = json.JSONDecoder(parse_int=parse_int).decode


def _read_as_python_does(body: bytes) -> tuple[Any, bytes]:
    encoding = json.detect_encoding(body)
    try:
        text = body.decode(encoding, "surrogatepass")
        utf8 = body if encoding == "utf-8" else text.encode("utf-8", "surrogatepass")
        if utf8 is not body:
            _check_size(utf8)
        document = _decode(text)
    except RecursionError:
        raise NestedTooDeep from None
    except InvalidJSON:
        raise
    except UnicodeDecodeError as error:
        raise InvalidJSON(f"{_NO_OBJECT}: byte {error.start} is not valid {encoding}.") from None
    except json.JSONDecodeError as error:
        raise InvalidJSON(_where(body, error)) from None
    except ValueError:
        raise InvalidJSON from None
    return document, utf8


def _is_deep(document: dict[str, Any]) -> bool:
    """Say whether a document is nested deeper than DEEPEST levels."""
    try:
        orjson.dumps(document)
    except TypeError:
        return _depth_exceeds(document, DEEPEST)
    return False


def _depth_exceeds(document: dict[str, Any], levels: int) -> bool:
    level: list[Any] = [document]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def outline(document: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the members of `document` without their large values, and whether any is spelled oddly.

    A member that decides something counts in any spelling, as it does for
    servers written in Go (encoding/json ignores case); the last one counts.
    It stands in the outline under its ordinary name too.
    """
    kept: dict[str, Any] = {}
    odd = False
    for name, value in document.items():
        kept[name] = value = _kept(name, value)
        if name.islower() and name.isascii():
            continue
        folded = name.casefold()
        if folded != name:
            odd = True
            if folded in _DECIDING:
                kept[folded] = value
    return kept, odd


def _kept(name: str, value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return value if len(value) <= _LONG_TEXT or name.casefold() == "model" else OMITTED
    if kind is not dict and kind is not list:
        return value
    if not value:
        return value
    if kind is dict and len(value) <= _MOST_OPTIONS and name.casefold() == "stream_options":
        return {each: OMITTED if isinstance(inner, dict | list) else inner for each, inner in value.items()}
    return OMITTED


def models_named(document: dict[str, Any]) -> list[Any]:
    """Return the values of all members that some server reads as the model, in order."""
    return [value for name, value in document.items() if name.casefold() == "model"]


def begins_like_object(beginning: bytes) -> bool:
    """Say whether a body that begins so may be a JSON object, in any encoding; an empty one may be."""
    return beginning.lstrip(b"\xef\xbb\xbf\xfe\xff\0 \t\r\n")[:1] in (b"{", b"")
