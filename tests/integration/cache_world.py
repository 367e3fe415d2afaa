"""What the tests of the cache's daemons share: requests, an upstream that knows who asked, many at once."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from integration.raw_client import Client, Response
from integration.scripted_upstream import PATIENCE_S, Call

JSON = (b"Content-Type", b"application/json")
_T = TypeVar("_T")


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


def chat(text: str, key: str | None = None, *lines: str, **members: object) -> bytes:
    """Return a request for a completion that may be cached."""
    document = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 1}
    return ask_for("chat/completions", {**document, **members}, key, *lines)


def get(path: str, key: str | None = None, *lines: str, method: bytes = b"GET") -> bytes:
    """Return a request without a body."""
    head = "".join(f"{line}\r\n" for line in (f"Authorization: Bearer {key or tenant()}", *lines))
    return b"%b /v1/%b HTTP/1.1\r\nHost: proxy\r\n%b\r\n" % (method, path.encode(), head.encode())


def tell_who_and_what(call: Call) -> None:
    """Answer with the caller's credential and the request's body, so that a foreign byte is seen."""
    body = call.read_body()
    who = (call.header(b"authorization") or b"").decode()
    call.reply_json({"for": who, "asked": body.decode(), "usage": {"prompt_tokens": 5, "total_tokens": 5}})


def verdict(response: Response) -> tuple[int | None, bytes | None]:
    """Return status and what the cache did."""
    return response.status, response.header(b"x-cache")


def at_once(count: int, work: Callable[[int], _T], timeout_s: float = PATIENCE_S) -> list[_T]:
    """Run `work(number)` in `count` threads; the results in order, the first failure raised."""
    results: dict[int, Any] = {}
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    if failures:
        raise failures[0]
    return [results[number] for number in range(count)]


def samples(port: int) -> dict[str, float]:
    """Return what /metrics says: value by name and labels."""
    with Client(port) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n")
        lines = client.response().body.decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }
