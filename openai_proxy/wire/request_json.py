"""Decode the JSON object of a request's body, and keep an outline of it. Pure.

Accepts whatever Python's `json.loads(bytes)` accepts: UTF-8 with or without a
byte order mark, UTF-16, UTF-32, NaN and Infinity. Servers written in Python
accept all of that, so no rule of this proxy may overlook it. A decoded document
takes up to thirty times the memory of its bytes, so only an outline of it is
kept.
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
from .documents import require

DEEPEST = 512
"""The most levels of nesting in a body; deeper ones are refused."""
MOST_MEMBERS = 1024
"""The most members of the object itself; the API has fewer than a hundred."""
MOST_CONTAINERS = 1024 * 1024
"""The most objects and lists in a body: an empty list takes 3 bytes of a body and 64 of memory."""
MOST_VALUES = 4 * 1024 * 1024
"""The most commas between values: a short text takes 5 bytes of a body and 60 of memory."""
COSTLY_CONTAINERS, COSTLY_QUOTES, COSTLY_COMMAS = 50_000, 400_000, 1_000_000
"""Up to this number of values, a body takes at most some 20 ms to decode; ordinary prompts have fewer."""
COSTLY_BYTES = 4 * 1024 * 1024
"""Above this size a body may take some 20 ms whatever it contains: 30 MB of white space took 165 ms."""
MOST_WALKED_CONTAINERS, MOST_WALKED_COMMAS = 100_000, 1_000_000
"""The most of what a rule walks in Python, member by member: five times as slow as decoding."""
_LARGE_BYTES = 64 * 1024
_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{},'))
_LONG_TEXT = 1024
_LONG_DIGITS = 4000
_MOST_OPTIONS = 16
_KEPT_OPTIONS = frozenset(("stream_options", "chat_template_kwargs", "reasoning", "thinking"))
"""Members whose own members decide something."""

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
"""Members that rules use, so that they count in any spelling."""


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
    """Replaces, in an outline, a value that is too large to be kept and that no rule needs."""

    def __repr__(self) -> str:
        return "OMITTED"


OMITTED = Omitted()


@define(eq=False, repr=False)
class RequestJSON:
    """A decoded body that is a JSON object. Never mutated (not frozen: that takes twice the time to make)."""

    text: bytes
    """The object in UTF-8 without a byte order mark; the same bytes as the body if that is its form."""
    document: dict[str, Any]
    """The whole document: release it soon."""
    ordinary: bool
    """Whether every JSON decoder accepts the body."""


_NO_OBJECT = "openai-proxy could not read the body of your request as a JSON object"
_KINDS = {list: "a list", str: "text", bool: "true or false", type(None): "null"}


def _where(body: bytes, error: json.JSONDecodeError) -> str:
    """Return the position of the error; the decoder's message contains nothing of the body."""
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


def read_with_outline(body: bytes, required: tuple[str, ...]) -> tuple[RequestJSON, dict[str, Any], bool]:
    """Decode the JSON object `body`; return it with its `outline`, and whether any member is spelled oddly. O(n).

    Raises InvalidJSON, or MissingParameter for the first of `required` that is no member.
    """
    read = read_request(body)
    if required:
        require(read.document, required)
    kept, odd_names = outline(read.document)
    return read, kept, odd_names


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector while a document is made: each collection would walk all of it so far."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_size(body: bytes) -> None:
    """Raise TooManyValues for UTF-8 that would take absurd memory once decoded. O(n), before decoding."""
    if _is_small(body):
        return
    beginning = _structure(body[:_LARGE_BYTES])
    opened = beginning.count(b"[") + beginning.count(b"{")
    if opened - beginning.count(b"]") - beginning.count(b"}") > DEEPEST:
        raise NestedTooDeep
    if not _is_small(_structure(body)):
        raise TooManyValues


def check_walk(text: bytes) -> None:
    """Raise TooManyValues for JSON in UTF-8 that would take a second to walk member by member. O(n)."""
    if len(text) > _LARGE_BYTES:
        found = _structure(text)
        if (
            found.count(b"[") + found.count(b"{") > MOST_WALKED_CONTAINERS
            or found.count(b",") > MOST_WALKED_COMMAS
        ):
            raise TooManyValues(
                "A rule of your API key has to look at every member of your JSON body, and openai-proxy does so for at"
                f" most {MOST_WALKED_CONTAINERS} lists and objects with {MOST_WALKED_COMMAS} values."
            )


def _structure(body: bytes) -> bytes:
    """Return the brackets and commas of JSON, or of its beginning, outside strings. O(n)."""
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
    """Return the number of lists and objects that a body may open. O(n).

    `replace` searches a byte like memchr, a block at a time; `count` looks at
    each byte, and takes longer for a prompt than decoding it does.
    """
    return 2 * len(body) - len(body.replace(b"[", b"")) - len(body.replace(b"{", b""))


def parse_int(digits: str) -> int | float:
    """Parse an integer of any length: Python refuses more than 4,300 digits, OpenAI's servers do not."""
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

    A member that rules use counts in any spelling, as it does for servers
    written in Go (encoding/json ignores case); the last one counts. The outline
    has it under its ordinary name too.
    """
    kept: dict[str, Any] = {}
    odd = False
    for name, value in document.items():
        kind = type(value)
        if kind is dict or kind is list or kind is str:
            value = _kept(name, value)
        kept[name] = value
        if name.islower() and name.isascii():
            continue
        folded = name.casefold()
        if folded != name:
            odd = True
            if folded in _DECIDING:
                kept[folded] = value
    return kept, odd


def _kept(name: str, value: Any) -> Any:
    """Return what an outline has of a text, an object or a list."""
    if type(value) is str:
        return value if len(value) <= _LONG_TEXT or name.casefold() == "model" else OMITTED
    if not value:
        return value
    if type(value) is dict and len(value) <= _MOST_OPTIONS and name.casefold() in _KEPT_OPTIONS:
        return {each: OMITTED if isinstance(inner, dict | list) else inner for each, inner in value.items()}
    return OMITTED


def models_named(document: dict[str, Any]) -> list[Any]:
    """Return the values of all members that some server reads as the model, in order."""
    return [value for name, value in document.items() if name.casefold() == "model"]


def begins_like_object(beginning: bytes) -> bool:
    """Say whether a body with this beginning may be a JSON object, in any encoding; an empty one may be."""
    return beginning.lstrip(b"\xef\xbb\xbf\xfe\xff\0 \t\r\n")[:1] in (b"{", b"")
