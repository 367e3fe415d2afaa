"""An upstream whose answers follow only from the request, so that a client can tell which bytes are right.

Every kind of body that the API has; a share of its connections is closed
right after an answer, as load balancers do that recycle theirs.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import random
import threading
from typing import Any

from world.requests import request
from world.upstream import Call, PeerGone

THOUGHT = "THOUGHT-nobody-may-see"
JSON = (b"Content-Type", b"application/json")


def pseudo_random(seed: int, size: int) -> bytes:
    """Return `size` bytes that no other seed has."""
    return random.Random(seed).randbytes(size)


def completion(word: str, model: str, thoughts: bool) -> dict[str, Any]:
    """Return the answer to a chat; with `thoughts` as the upstream gives it, without as the client gets it."""
    text = f"re {word} " + "x" * (len(word) * 37 % 900)
    if thoughts and model.startswith("thinker"):
        text = f"<think>{THOUGHT} {word}</think>{text}"
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{word}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def embedding(word: str, model: str) -> bytes:
    """Return the answer to a request for an embedding."""
    vector = base64.b64encode(hashlib.sha256(word.encode()).digest()).decode()
    item = {"object": "embedding", "index": 0, "embedding": vector}
    usage = {"prompt_tokens": 11, "total_tokens": 11}
    return json.dumps({"object": "list", "data": [item], "model": model, "usage": usage}).encode()


def receipt(parts: Any) -> bytes:
    """Return the answer to an upload or a form: how much came, and its hash."""
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += len(part)
    return json.dumps({"object": "file", "bytes": size, "sha256": digest.hexdigest()}).encode()


class Recycler:
    """The script; `recycled` counts the connections that it closed right after an answer."""

    def __init__(self, share: float = 0.1, seed: int = 1) -> None:
        self.recycled = 0
        self._share = share
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def __call__(self, call: Call) -> None:
        if call.header(b"upgrade"):
            self._tunnel(call)
            return
        self._answer(call)
        with self._lock:
            over = self._dice.random() < self._share
            self.recycled += over
        if over:
            call.finish() if self._dice.random() < 0.7 else call.finish_without_notice()

    def _answer(self, call: Call) -> None:
        path = call.target.partition(b"?")[0]
        if call.method == b"GET":
            name = path.rsplit(b"/", 2)[-2 if path.endswith(b"/content") else -1].decode()
            _, number, size = name.split("-")
            call.reply(
                pseudo_random(int(number), int(size)), [(b"Content-Type", b"application/octet-stream")]
            )
        elif (call.header(b"content-type") or b"").startswith(b"application/json"):
            self._json(call, json.loads(call.read_body()))
        else:
            kind = b"application/sdp" if path.endswith(b"/calls") else b"application/json"
            call.reply(receipt(call.body_parts()), [(b"Content-Type", kind)])

    def _json(self, call: Call, document: dict[str, Any]) -> None:
        model = document["model"]
        if "input" in document:
            call.reply(embedding(document["input"], model), [JSON])
            return
        word = document["messages"][0]["content"]
        whole = completion(word, model, True)
        if document.get("stream"):
            self._stream(call, whole, document)
            return
        body = json.dumps(whole).encode()
        if b"gzip" in (call.header(b"accept-encoding") or b""):
            call.reply(gzip.compress(body, mtime=0), [JSON, (b"Content-Encoding", b"gzip")])
        else:
            call.reply(body, [JSON])

    def _stream(self, call: Call, whole: dict[str, Any], asked: dict[str, Any]) -> None:
        text = whole["choices"][0]["message"]["content"]
        call.start_stream()
        for at in range(0, len(text), 23):
            self._event(call, whole, {"content": text[at : at + 23]}, None)
        self._event(call, whole, {}, "stop")
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {"choices": [], "usage": whole["usage"]}
            call.chunk(b"data: " + json.dumps({**_head(whole), **usage}).encode() + b"\n\n")
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()

    @staticmethod
    def _event(call: Call, whole: dict[str, Any], delta: dict[str, Any], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        call.chunk(b"data: " + json.dumps({**_head(whole), "choices": [choice]}).encode() + b"\n\n")

    @staticmethod
    def _tunnel(call: Call) -> None:
        call.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\n"
        )
        try:
            while True:
                call.send(call.receive())
        except PeerGone:
            call.finish()


def _head(whole: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": whole["id"],
        "object": "chat.completion.chunk",
        "created": 1,
        "model": whole["model"],
    }


def multipart(number: int, size: int) -> tuple[bytes, bytes]:
    """Return the content type and the body of a form with a file of that size."""
    mark = b"mark-%d" % number
    disposition = b"--%b\r\nContent-Disposition: form-data; name="
    head = (
        disposition % mark
        + b'"model"\r\n\r\nwhisper-1\r\n'
        + disposition % mark
        + b'"file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    )
    block = pseudo_random(number, min(size, 1 << 20))
    file = (block * (size // len(block) + 1))[:size]
    return b"multipart/form-data; boundary=" + mark, head + file + b"\r\n--%b--\r\n" % mark


def post(path: bytes, kind: bytes, body: bytes, key: str, *lines: bytes, chunked: bool = False) -> bytes:
    """Return a POST with that key and body."""
    raw = request(b"POST", path, b"", b"".join(line + b"\r\n" for line in (b"Content-Type: " + kind, *lines)))
    head = raw.replace(b"sk-client-0123456789abcdef", key.encode()).removesuffix(b"\r\n\r\n")
    if not chunked:
        return head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body)) + b"\r\n\r\n" + body
    parts = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return (
        head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"\r\n\r\n"
        + framed
        + b"0\r\n\r\n"
    )
