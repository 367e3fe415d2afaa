"""An upstream that keeps its own books: what it was asked, and which usage it reported, by the number of the request.

A model that is named in `sick` fails a share of its calls, each time in
another way.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping
from typing import Any

from world.upstream import Call

JSON = (b"Content-Type", b"application/json")
ERROR = {"error": {"message": "model needs more memory", "type": "server_error", "param": None, "code": None}}
NOT_FOUND = {
    "error": {
        "message": "The model does not exist",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }
}
THOUGHT = "THOUGHT-nobody-may-see"


def usage(number: int, thinks: bool) -> dict[str, Any]:
    """Return the usage of an answer to that request, as chats tell it."""
    written, read, kept = 5 + number % 50, 10 + number % 90, number % 8
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": kept},
        "completion_tokens_details": {"reasoning_tokens": number % 5 if thinks else 0},
    }


def word_of(document: Mapping[str, Any]) -> str:
    """Return the word by which a request is known: `w` and its number, and the tenant."""
    asked = document.get("messages") or document.get("input")
    return asked[0]["content"] if isinstance(asked, list) else asked


class Books:
    """The script of one upstream; `calls` are all requests that came, `answered` counts the good answers by word."""

    def __init__(
        self, sick: Mapping[str, float], unknown: frozenset[str] = frozenset(), seed: int = 1
    ) -> None:
        self.calls = 0
        self.answered: dict[str, int] = {}
        self.failures = 0
        self._sick, self._unknown = sick, unknown
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        document = json.loads(call.read_body())
        model, word = document["model"], word_of(document)
        with self._lock:
            self.calls += 1
            fails = self._dice.random() < self._sick.get(model, 0.0)
            way = self._dice.choice(("500", "502", "529", "429", "event", "reset"))
            if not fails and model not in self._unknown:
                self.answered[word] = self.answered.get(word, 0) + 1
            self.failures += fails
        if model in self._unknown:
            call.reply_json(NOT_FOUND, b"404 Not Found")
        elif fails:
            self._fail(call, way, bool(document.get("stream")))
        else:
            _answer(call, document, model, word)

    def _fail(self, call: Call, way: str, streaming: bool) -> None:
        if way == "event" and streaming:
            call.start_stream()
            call.chunk(b"data: " + json.dumps(ERROR).encode() + b"\n\n")
            call.end_stream()
        elif way.isdigit():
            call.reply_json(ERROR, way.encode() + b" Sick")
        else:
            call.reply_json(ERROR, b"500 Sick")


def _answer(call: Call, document: dict[str, Any], model: str, word: str) -> None:
    number = int(word[1:].partition("-")[0])
    thinks = model == "thinker"
    text = f"re {word}"
    shown = f"<think>{THOUGHT}</think>{text}" if thinks else text
    counts = usage(number, thinks)
    if call.target.endswith(b"/embeddings"):
        item = {"object": "embedding", "index": 0, "embedding": [0.1], "echo": text}
        counts = {"prompt_tokens": counts["prompt_tokens"], "total_tokens": counts["prompt_tokens"]}
        call.reply_json({"object": "list", "data": [item], "model": model, "usage": counts})
    elif call.target.endswith(b"/responses"):
        _respond(call, document, model, text, counts)
    elif document.get("stream"):
        _stream(call, document, model, shown, counts)
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": shown}, "finish_reason": "stop"}
        head = {"id": f"c-{word}", "object": "chat.completion", "created": 1, "model": model}
        call.reply_json({**head, "choices": [choice], "usage": counts})


def _respond(call: Call, document: dict[str, Any], model: str, text: str, counts: dict[str, Any]) -> None:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [item],
        "usage": {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": counts["prompt_tokens_details"],
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": counts["completion_tokens_details"],
            "total_tokens": counts["total_tokens"],
        },
    }
    if not document.get("stream"):
        call.reply_json(whole)
        return
    call.start_stream()
    ids = {"item_id": "m", "output_index": 0, "content_index": 0}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    for kind, members in (
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}),
        ("response.content_part.added", {**ids, "part": {**part, "text": ""}}),
        ("response.output_text.delta", {**ids, "delta": text}),
        ("response.output_text.done", {**ids, "text": text}),
        ("response.completed", {"response": whole}),
    ):
        data = json.dumps({"type": kind, **members}).encode()
        call.chunk(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
    call.end_stream()


def _stream(call: Call, document: dict[str, Any], model: str, text: str, counts: dict[str, Any]) -> None:
    call.start_stream()
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        *(({"content": text[at : at + 5]}, None) for at in range(0, len(text), 5)),
        ({}, "stop"),
    ]
    for delta, finish in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        call.chunk(b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n")
    if (document.get("stream_options") or {}).get("include_usage"):
        call.chunk(b"data: " + json.dumps({**head, "choices": [], "usage": counts}).encode() + b"\n\n")
    call.chunk(b"data: [DONE]\n\n")
    call.end_stream()
