"""When a request is one that was recorded. Pure.

By method, path below the base, query, and body: JSON as values, whatever the
order of members, forms by their parts, all else by its digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import orjson
from attrs import frozen

from ...wire.form_model import boundary_of

DEEPEST = 64
"""Levels down to which a difference is named."""
_EMPTY = b"empty"
_BASE = re.compile(r"\A(?:/openai(?=/))?(?:/v1)*(?=/)")
"""What stands before the path of the API; see `wire.targets`."""


@frozen(repr=False)
class Asked:
    """The parts of a request by which recorded requests are found."""

    method: str
    path: str
    query: str
    """Its parameters in order of their names."""
    document: Any = None
    """The JSON of the body, without what is ignored; None for another body."""
    digest: bytes = _EMPTY
    """Stands for the body."""

    @property
    def route(self) -> bytes:
        """Return 8 bytes that stand for method and path."""
        return hashlib.sha256(f"{self.method} {self.path}".encode("utf-8", "replace")).digest()[:8]

    @property
    def key(self) -> bytes:
        """Return 16 bytes that stand for all of it."""
        line = f"{self.method} {self.path}?{self.query} ".encode("utf-8", "replace")
        return hashlib.sha256(line + self.digest).digest()[:16]


def asked_for_json(method: str, target: str, value: Any, ignore: Collection[str]) -> Asked:
    """Return what a request with this JSON is matched by."""
    if isinstance(value, dict):
        value = {name: member for name, member in value.items() if name not in ignore}
    return Asked(method, *_parts(target), value, hashlib.sha256(b"json " + _canonical(value)).digest())


def asked_for_bytes(method: str, target: str, body: bytes, content_types: Sequence[bytes]) -> Asked:
    """Return what a request with another body is matched by: a form, sound, or nothing at all."""
    if not body:
        return Asked(method, *_parts(target))
    boundary = boundary_of(content_types)
    data = body if boundary is None else _of_form(body, boundary)
    kind = b"bytes " if boundary is None else b"form "
    return Asked(method, *_parts(target), digest=hashlib.sha256(kind + data).digest())


def asked_of_line(line: dict[str, Any], ignore: Collection[str]) -> Asked:
    """Return what the request of a line of the exchange log is matched by; ValueError if it is not whole there."""
    request = line["request"]
    method, target = request["method"], request.get("target")
    if not isinstance(method, str):
        raise ValueError("its request has no method")
    if not isinstance(target, str) or not target:
        path = request["path"]
        if not isinstance(path, str):
            raise ValueError("its request has no path")
        target = _BASE.sub("", path, count=1)
    body = request.get("body")
    if not _is_opaque(body):
        return (
            asked_for_json(method, target, body, ignore)
            if body is not None
            else asked_for_bytes(method, target, b"", ())
        )
    if "base64" not in body:
        raise ValueError("the body of its request is longer than what was recorded")
    try:
        data = base64.b64decode(body["base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("the body of its request is no base64") from None
    headers = request.get("headers")
    kinds = [
        value.encode("utf-8", "replace")
        for name, value in (headers.items() if isinstance(headers, dict) else ())
        if name.lower() == "content-type" and isinstance(value, str)
    ]
    return asked_for_bytes(method, target, data, kinds)


def _is_opaque(body: Any) -> bool:
    """Whether a body stands in a line as its size and digest."""
    return isinstance(body, dict) and {"bytes", "sha256"} <= set(body) <= {
        *("bytes", "sha256", "base64", "truncated", "text")
    }


def _parts(target: str) -> tuple[str, str]:
    path, _, query = target.partition("?")
    return path.rstrip("/") or "/", "&".join(sorted(filter(None, query.split("&"))))


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # what Python's JSON reads beyond RFC 8259
        return json.dumps(value, sort_keys=True).encode("ascii")


def _of_form(body: bytes, boundary: bytes) -> bytes:
    """Return digests of a form's parts: the boundary is another one each time."""
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def first_difference(recorded: Any, asked: Any) -> str:
    """Return the path of the first member in which two documents differ, `messages[1].content`; empty if in none."""
    path = ""
    for _ in range(DEEPEST):
        if isinstance(recorded, dict) and isinstance(asked, dict):
            name = next(
                (
                    name
                    for name in (*recorded, *(name for name in asked if name not in recorded))
                    if name not in recorded or name not in asked or recorded[name] != asked[name]
                ),
                None,
            )
            if name is None:
                return path
            path = f"{path}.{_shown(name)}" if path else _shown(name)
            if name not in recorded or name not in asked:
                return path
            recorded, asked = recorded[name], asked[name]
        elif isinstance(recorded, list) and isinstance(asked, list):
            pairs = zip(recorded, asked, strict=False)
            at = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
            if at is None:
                return f"{path}[{min(len(recorded), len(asked))}]" if len(recorded) != len(asked) else path
            path = f"{path}[{at}]"
            recorded, asked = recorded[at], asked[at]
        else:
            return path
    return path


def _shown(name: str) -> str:
    """Return a member's name as it may be shown: names are a program's, but somebody may put text into one."""
    return name if name.replace("_", "").isalnum() and name.isascii() and len(name) <= 40 else "(a member)"
