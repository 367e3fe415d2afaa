"""What the tests of policies share: a configured daemon, a chat, a count."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from integration.pair import Pair
from integration.raw_client import Client, ask
from integration.scripted_upstream import PATIENCE_S, Call, Script, Upstream

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


UPSTREAMS = """
[[upstreams]]
name = "first"
base_url = "{0}"
api_key = "sk-first"
[[upstreams]]
name = "second"
base_url = "{1}"
api_key = "sk-second"
priority = {2}
"""


def before_two(
    start: Callable[..., Pair],
    second: Upstream,
    directory: Path,
    toml: str = "",
    priority: int = 1,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Pair:
    """Start a daemon before two upstreams, by default with `second` in reserve; both answer every request."""
    first = Upstream()
    first.script = answer()
    return start(
        upstream=first,
        env={"RETRY__MAX_RETRIES": "2", "OBSERVERS": "none", **env},
        **configured(directory, UPSTREAMS.format(first.url, second.url, priority) + toml),
    )


class Load:
    """Clients that send one request after the other as long as this is entered, each on a new connection.

    `counts` are the answers that each client had, `failed` those that were no 200.
    """

    def __init__(self, port: int, raw: bytes, clients: int, pause_s: float) -> None:
        self.counts = [0] * clients
        self.failed: list[tuple[int | None, bytes]] = []
        self._port, self._raw, self._pause_s = port, raw, pause_s
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def _ask(self, number: int) -> None:
        while not self._over.wait(self._pause_s):
            got = ask(self._port, self._raw)
            self.counts[number] += 1
            if got.status != 200:
                self.failed.append((got.status, got.body))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)


def get_json(port: int, path: str) -> Any:
    """Return the document of a page of the proxy's own."""
    return json.loads(ask(port, f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode()).body)
