"""What the mock upstream answers, before time passes over it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import orjson
from attrs import field, frozen

from ...exchange.record import HeaderPairs

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
CREATED = 1_700_000_000
"""When everything here was made, in seconds since the epoch: the same request gets the same bytes."""
DONE = b"data: [DONE]\n\n"

Pieces: TypeAlias = Iterator[tuple[int, bytes]]
"""Bytes of an answer, and the model tokens that are in them."""
Estimate: TypeAlias = Callable[[bytes, dict[str, Any] | None], int]
"""The tokens of a prompt by a body and its document."""


@frozen(repr=False)
class Reply:
    """One answer: `data`, or `pieces` that are made while they are read."""

    data: bytes = b""
    pieces: Pieces | None = None
    tokens: int = 0
    """Model tokens that `data` took to write."""
    status: int = 200
    reason: bytes = b"OK"
    content_type: bytes = JSON
    headers: HeaderPairs = field(factory=list)


class Refusal(Exception):
    """The mock upstream refuses a request, in OpenAI's words and shape."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        reason: bytes = b"Bad Request",
        kind: str = "invalid_request_error",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        self.reason = reason
        self.kind = kind
        self.headers = headers

    def reply(self) -> Reply:
        """Return the refusal as an answer."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return Reply(
            rendered({"error": error}), status=self.status, reason=self.reason, headers=list(self.headers)
        )


def not_found(message: str, code: str | None = None, param: str | None = None) -> Refusal:
    """Return the refusal of what is not here."""
    return Refusal(message, code=code, param=param, status=404, reason=b"Not Found")


def rendered(value: Any) -> bytes:
    """Return a value as JSON, whatever of Python's JSON it holds."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def event(value: Any, name: str = "") -> bytes:
    """Return a value as one event of a stream."""
    data = b"data: " + rendered(value) + b"\n\n"
    return b"event: " + name.encode("ascii") + b"\n" + data if name else data


def clean(text: str) -> str:
    """Return a text that is valid in UTF-8: JSON may name half of a character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
