"""The items and events that this proxy adds to an answer, as JSON.

They have thoughts, or text that was held and is released now. Pure; used by
`rewrite`, `filters` and `responses`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from .log_probabilities import Token

REASONING = "reasoning_content"


def encode_item(item: dict[str, Any], ascii_only: bool) -> bytes:
    """Return the JSON of an item or event that this proxy adds."""
    if not ascii_only:
        try:
            return orjson.dumps(item)
        except TypeError:
            pass
    return json.dumps(item, separators=(",", ":")).encode("ascii")


def reasoning_id(message_id: Any, later: bool = False) -> str:
    """Return the id of the item with a message's thoughts: it is the same every time the answer is read.

    Some servers call a message `msg_X` and an item of their own with thoughts `rs_X`.
    """
    source_id = message_id[:200] if isinstance(message_id, str) else ""
    return "rs_" + (source_id.removeprefix("msg_") or "thoughts") + ("_2" if later else "_1")


def reasoning_item(item_id: str, text: str | None) -> dict[str, Any]:
    """Return an output item with thoughts; None for one that only begins."""
    content = [] if text is None else [{"type": "reasoning_text", "text": text}]
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content}


def choice_chunk(
    source: dict[str, Any], index: Any, owner: str, visible: str, thoughts: str, logprobs: bytes | None
) -> bytes:
    """Return an event like `source` with one choice's released text.

    `owner` is the object with the text: `delta`, `parts` (a list in a delta) or
    `choice`. `logprobs` is the JSON of its tokens, as far as they are known.
    """
    members: dict[str, Any] = {}
    if owner == "choice":
        members["text"] = visible
    elif visible or not thoughts:
        members["content"] = [{"type": "text", "text": visible}] if owner == "parts" else visible
    if thoughts:
        members[REASONING] = thoughts
    choice = {"index": index, **(members if owner == "choice" else {"delta": members})}
    if logprobs is not None:
        choice["logprobs"] = json.loads(logprobs)
    chunk: dict[str, Any] = {
        name: source[name]
        for name in ("id", "object", "created", "model", "system_fingerprint", "service_tier")
        if name in source
    }
    chunk["choices"] = [choice | {"finish_reason": None}]
    return b"data: " + json.dumps(chunk).encode("ascii") + b"\n\n"


def text_delta(source: dict[str, Any], visible: str, logprobs: bytes) -> dict[str, Any]:
    """Return an output text delta like the event `source` with released text."""
    event = {
        name: source[name]
        for name in ("type", "item_id", "output_index", "content_index", "sequence_number")
        if name in source
    }
    return event | {"delta": visible, "logprobs": json.loads(logprobs)}


def encode_event(event: dict[str, Any]) -> bytes:
    """Return an event of the Responses API as it is sent."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode("ascii"), json.dumps(event).encode("ascii"))


def lists_json(names: Sequence[str], tokens: Sequence[Token]) -> bytes:
    """Return the JSON of an object with the lists of these tokens."""
    lists = [
        b'"%b":[%b]' % (name.encode("ascii"), b",".join([token[number] for token in tokens]))
        for number, name in enumerate(names)
    ]
    return b"{" + b",".join(lists) + b"}"
