"""What the tests of policies share: a configured daemon, a chat, a count."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from integration.raw_client import Client, Response
from integration.scripted_upstream import PATIENCE_S, Call, Script

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
}


def configured(directory: Path, toml: str) -> dict[str, Any]:
    """Return the options of a Daemon whose configuration file says `toml`."""
    file = directory / "proxy.toml"
    file.write_text(toml)
    return {"options": ("--config", str(file))}


def answer(status: bytes = b"200 OK", document: object = COMPLETION, **headers: str) -> Script:
    """Return a script that gives one JSON answer; `_` in a header's name is `-`."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    body = json.dumps(document).encode()

    def script(call: Call) -> None:
        call.read_body()
        call.reply(body, [(b"Content-Type", b"application/json"), *pairs], status)

    return script


def failure(status: bytes, code: str = "x", **headers: str) -> Script:
    """Return a script that gives an error of that code."""
    error = {"error": {"message": "no", "type": "t", "param": None, "code": code}}
    return answer(status, error, **headers)


def in_turn(*scripts: Script) -> Script:
    """Follow each script once, the last one from then on."""
    left = list(scripts)
    lock = threading.Lock()

    def script(call: Call) -> None:
        with lock:
            now = left.pop(0) if len(left) > 1 else left[0]
        now(call)

    return script


def events(*documents: object, done: bool = True) -> list[bytes]:
    """Return server-sent events of JSON documents, and OpenAI's last one."""
    made = [b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents]
    return [*made, b"data: [DONE]\n\n"] if done else made


def stream(*chunks: bytes) -> Script:
    """Return a script that streams `chunks`, each in a chunk of its own."""

    def script(call: Call) -> None:
        call.read_body()
        call.start_stream()
        for chunk in chunks:
            call.chunk(chunk)
        call.end_stream()

    return script


def delta(text: str, index: int = 0, **choice: Any) -> dict[str, Any]:
    """Return a chunk of a chat stream."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None, **choice}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


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


@contextlib.contextmanager
def sent_together(ports: Iterable[int], raw: bytes) -> Iterator[list[tuple[Client, int]]]:
    """Send the same request to each of `ports` at once; give (connection, status), heads read."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for port in ports]
        for client in clients:
            client.send(raw)
        yield [(client, int(client.read_until(b"\r\n\r\n")[9:12])) for client in clients]


def exchange(port: int, raw: bytes, timeout_s: float = PATIENCE_S) -> Response:
    """Send one request on a connection of its own and read the answer."""
    with Client(port) as client:
        client.send(raw)
        return client.response(timeout_s)


def get_json(port: int, path: str) -> Any:
    """Return the document of a page of the proxy's own."""
    return json.loads(exchange(port, f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode()).body)
