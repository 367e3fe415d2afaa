"""What an upstream may do with a call: scripts for `Upstream.script`."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any

from world.upstream import Call, Script
from world.waiting import PATIENCE_S

HELD_END = b"data: last\n\n\r\n0\r\n\r\n"
"""The last that a client receives of a `HeldStream`, if it comes whole."""


class LedStream:
    """A script that streams an event, and the rest when the test sets `go_on`; with `is_cut`, it breaks off then."""

    FIRST = b"data: one\n\n"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.rest = [
            b'data: {"choices":[{"index":0,"delta":{"content":"two"},"finish_reason":"stop"}]}\n\n',
            b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n',
            b"data: [DONE]\n\n",
        ]
        self.is_cut = False

    def __call__(self, call: Call) -> None:
        call.read_body()
        call.start_stream()
        call.chunk(self.FIRST)
        assert self.go_on.wait(PATIENCE_S)
        with contextlib.suppress(OSError):  # the proxy may have closed the connection
            for piece in self.rest:
                call.chunk(piece)
            if self.is_cut:
                call.reset()
            else:
                call.end_stream()

    @property
    def whole(self) -> bytes:
        """All that a client receives of it."""
        return self.FIRST + b"".join(self.rest)


class HeldStream:
    """A script that streams an event, and a last one when the test sets `finish`; a GET is answered at once."""

    def __init__(self) -> None:
        self.finish = threading.Event()

    def __call__(self, call: Call) -> None:
        call.read_body()
        if call.method == b"GET":
            call.reply_json({"object": "list", "data": []})
            return
        call.start_stream()
        call.chunk(b"data: first\n\n")
        if self.finish.wait(PATIENCE_S):
            with contextlib.suppress(OSError):
                call.chunk(b"data: last\n\n")
                call.end_stream()


COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
}


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


def tell_who_and_what(call: Call) -> None:
    """Answer with the caller's credential and the request's body, so that a foreign byte is seen."""
    body = call.read_body()
    who = (call.header(b"authorization") or b"").decode()
    call.reply_json({"for": who, "asked": body.decode(), "usage": {"prompt_tokens": 5, "total_tokens": 5}})
