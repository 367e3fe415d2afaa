"""The Responses endpoint of the mock upstream. Pure; what is stored is in `memory`."""

from __future__ import annotations

import json
from typing import Any

from .model import (
    Asked,
    Call,
    Said,
    choice_of_tools,
    count_of,
    required,
    schema_of,
    text_of,
    tools_of,
)
from .reply import CREATED, EVENTS, Pieces, Refusal, Reply, event, rendered
from .words import pieces_of, tokens_in

_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "user",
)
"""Members of a request that its response repeats, null if they were not given."""
_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
_RESULTS = ("function_call_output", "custom_tool_call_output")


def respond(
    document: dict[str, Any], model: str, seed: bytes, prompt_tokens: int
) -> tuple[Reply, bytes | None]:
    """Answer POST responses; also return what is to be stored of it, None if nothing is."""
    required(document, "input")
    asked = _asked(document, model, seed)
    said = asked.say()
    identifier = "resp_" + seed.hex()[:48]
    output = _output(said, seed)
    base: dict[str, Any] = {
        "id": identifier,
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "background": document.get("background") is True,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "service_tier": "default",
        "store": document.get("store") is not False,
        "usage": None,
        **{name: document.get(name) for name in _ECHOED},
        **{name: document.get(name) or value for name, value in _DEFAULTS.items()},
    }
    usage = {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + said.tokens,
    }
    status = "incomplete" if said.is_cut else "completed"
    why = {"incomplete_details": {"reason": "max_output_tokens"}} if said.is_cut else {}
    whole = {**base, **why, "status": status, "output": output, "usage": usage}
    data = rendered(whole)
    stored = data if base["store"] else None
    if document.get("stream") is True:
        return Reply(pieces=_events(base, whole), content_type=EVENTS), stored
    return Reply(data, tokens=said.tokens), stored


def identifier_of(seed: bytes) -> str:
    """Return the name of the response to the request with this digest."""
    return "resp_" + seed.hex()[:48]


def input_items(document: dict[str, Any], seed: bytes) -> bytes:
    """Return the items of a request's input as a list in JSON, in their order."""
    given = document.get("input")
    if isinstance(given, str):
        content = [{"type": "input_text", "text": given}]
        given = [{"type": "message", "role": "user", "status": "completed", "content": content}]
    return rendered(
        [
            {"id": f"msg_{seed.hex()[:40]}{number}", **each}
            for number, each in enumerate(given if isinstance(given, list) else ())
            if isinstance(each, dict)
        ]
    )


def stored_stream(data: bytes, after: int) -> Reply:
    """Answer GET responses/{id} with `stream`: the events of a stored response that come after number `after`."""
    whole = json.loads(data)
    begun: dict[str, Any] = {"status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    events = enumerate(_events({**whole, **begun}, whole))
    return Reply(pieces=((0, data) for number, (_, data) in events if number > after), content_type=EVENTS)


def input_tokens(prompt_tokens: int) -> Reply:
    """Answer POST responses/input_tokens."""
    return Reply(rendered({"object": "response.input_tokens", "input_tokens": prompt_tokens}))


def compact(document: dict[str, Any], seed: bytes, prompt_tokens: int) -> Reply:
    """Answer POST responses/compact: the last message, and one item that stands for all before it."""
    required(document, "input")
    given = document["input"]
    kept = [each for each in given if isinstance(each, dict)][-1:] if isinstance(given, list) else []
    item = {"id": "cmp_" + seed.hex()[:40], "type": "compaction", "encrypted_content": seed.hex()}
    usage = {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + 1,
    }
    return Reply(
        rendered(
            {
                "id": identifier_of(seed),
                "object": "response.compaction",
                "created_at": CREATED,
                "output": [*kept, item],
                "usage": usage,
            }
        ),
        tokens=1,
    )


def _asked(document: dict[str, Any], model: str, seed: bytes) -> Asked:
    given = document["input"]
    if not isinstance(given, str | list):
        raise Refusal("Invalid 'input': expected a text or a list of items.", param="input")
    items = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    last = items[-1] if items else {}
    has_results = last.get("type") in _RESULTS
    if has_results:
        text = text_of(last.get("output"))
    elif isinstance(given, str):
        text = given
    else:
        said = next((each for each in reversed(items) if each.get("role") == "user"), last)
        text = text_of(said.get("content"))
    must_call, may_call, wanted = choice_of_tools(document.get("tool_choice"))
    text_options = document.get("text")
    return Asked(
        model,
        seed,
        text,
        has_results,
        tools_of(document.get("tools")),
        must_call,
        may_call,
        wanted,
        schema_of(text_options.get("format")) if isinstance(text_options, dict) else None,
        count_of(document, ("max_output_tokens",)),
    )


def _output(said: Said, seed: bytes) -> list[dict[str, Any]]:
    if said.calls:
        return [_call_item(call, seed, number) for number, call in enumerate(said.calls)]
    status = "incomplete" if said.is_cut else "completed"
    return [
        {
            "id": "msg_" + seed.hex()[:48],
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [_part(said.text)],
        }
    ]


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(call: Call, seed: bytes, number: int) -> dict[str, Any]:
    return {
        "id": f"fc_{seed.hex()[:46]}{number:02d}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _events(base: dict[str, Any], whole: dict[str, Any]) -> Pieces:
    number = -1

    def tell(kind: str, **members: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **members}, kind)

    yield 0, tell("response.created", response=base)
    yield 0, tell("response.in_progress", response=base)
    for index, item in enumerate(whole["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "function_call":
            begun = {**item, "status": "in_progress", "arguments": ""}
            yield 0, tell("response.output_item.added", output_index=index, item=begun)
            for piece in pieces_of(item["arguments"]):
                yield tokens_in(piece), tell("response.function_call_arguments.delta", **at, delta=piece)
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield 0, tell("response.function_call_arguments.done", **at, **done)
        else:
            text = item["content"][0]["text"]
            begun = {**item, "status": "in_progress", "content": []}
            yield 0, tell("response.output_item.added", output_index=index, item=begun)
            at["content_index"] = 0
            yield 0, tell("response.content_part.added", **at, part=_part(""))
            for piece in pieces_of(text):
                yield (
                    tokens_in(piece),
                    tell("response.output_text.delta", **at, delta=piece, logprobs=[]),
                )
            yield 0, tell("response.output_text.done", **at, text=text, logprobs=[])
            yield 0, tell("response.content_part.done", **at, part=_part(text))
        yield 0, tell("response.output_item.done", output_index=index, item=item)
    yield 0, tell(f"response.{whole['status']}", response=whole)
