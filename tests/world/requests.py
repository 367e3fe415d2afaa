"""Requests as bytes, for `world.client`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable

KEY = "sk-client-0123456789abcdef"
AUTHORIZATION = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
CHAT = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}'


def request(
    method: bytes = b"GET",
    target: bytes = b"/v1/models",
    body: bytes | None = None,
    headers: bytes = b"",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """Return a request; `headers` are whole lines. A body gets its Content-Length."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    head = b"%b %b %b\r\nHost: proxy\r\n" % (method, target, version)
    return head + AUTHORIZATION + headers + length + b"\r\n" + (body or b"")


def chat(body: bytes = CHAT, headers: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return request(
        b"POST", b"/v1/chat/completions", body, b"Content-Type: application/json\r\n" + headers, version
    )


def post(
    key: str, document: object = None, path: str = "/v1/chat/completions", headers: Iterable[str] = ()
) -> bytes:
    """Return a JSON request of the client with that key."""
    if document is None:
        document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: proxy",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def tenant() -> str:
    """Return a key that only the running test has, so that it finds no other test's entries."""
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
    return "sk-" + hashlib.sha256(test.encode()).hexdigest()[:20]


def ask_for(
    path: str,
    document: object,
    key: str | None = None,
    *lines: str,
    method: bytes = b"POST",
    body: bytes = b"",
) -> bytes:
    """Return a request of `key`'s holder, this test's own tenant by default; `lines` are further header lines."""
    body = body or json.dumps(document).encode()
    head = [f"Authorization: Bearer {key or tenant()}", "Content-Type: application/json", *lines]
    head.append(f"Content-Length: {len(body)}")
    return b"%b /v1/%b HTTP/1.1\r\nHost: proxy\r\n%b\r\n\r\n%b" % (
        method,
        path.encode(),
        "\r\n".join(head).encode(),
        body,
    )


def embed(text: object, key: str | None = None, *lines: str, **members: object) -> bytes:
    """Return a request for an embedding."""
    return ask_for("embeddings", {"model": "m", "input": text, **members}, key, *lines)


def cacheable_chat(text: str, key: str | None = None, *lines: str, **members: object) -> bytes:
    """Return a request for a completion that may be cached."""
    document = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 1}
    return ask_for("chat/completions", {**document, **members}, key, *lines)


def get(path: str, key: str | None = None, *lines: str, method: bytes = b"GET") -> bytes:
    """Return a request without a body."""
    head = "".join(f"{line}\r\n" for line in (f"Authorization: Bearer {key or tenant()}", *lines))
    return b"%b /v1/%b HTTP/1.1\r\nHost: proxy\r\n%b\r\n" % (method, path.encode(), head.encode())
