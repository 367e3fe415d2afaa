"""Chat Completions and Completions of the mock upstream. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .model import (
    MOST_CHOICES,
    Asked,
    Said,
    choice_of_tools,
    count_of,
    required,
    schema_of,
    text_of,
    tools_of,
)
from .reply import CREATED, DONE, EVENTS, Pieces, Refusal, Reply, event, rendered
from .words import digest_of, pieces_of, tokens_in

MOST_PROMPTS = 128
_FINGERPRINT = "fp_mock"


def chat(document: dict[str, Any], model: str, seed: bytes, prompt_tokens: int) -> Reply:
    """Answer POST chat/completions."""
    required(document, "messages")
    messages = document["messages"]
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refusal("Invalid 'messages': expected a list of messages that is not empty.", param="messages")
    asked = _asked(document, messages, model, seed)
    count = count_of(document, ("n",), MOST_CHOICES) or 1
    head = {
        "id": "chatcmpl-" + seed.hex()[:29],
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    if document.get("stream") is True:
        pieces = _chat_events(asked, count, head, prompt_tokens, _includes_usage(document))
        return Reply(pieces=pieces, content_type=EVENTS)
    choices, tokens = [], 0
    for index in range(count):
        said = asked.say(index)
        tokens += said.tokens
        choices.append(_chat_choice(said, index))
    usage = _usage(prompt_tokens, tokens)
    return Reply(
        rendered({**head, "object": "chat.completion", "choices": choices, "usage": usage}), tokens=tokens
    )


def _asked(document: dict[str, Any], messages: list[dict[str, Any]], model: str, seed: bytes) -> Asked:
    last = messages[-1]
    has_results = last.get("role") in ("tool", "function")
    spoken = last if has_results else next((m for m in reversed(messages) if m.get("role") == "user"), last)
    must_call, may_call, wanted = choice_of_tools(document.get("tool_choice"))
    return Asked(
        model,
        seed,
        text_of(spoken.get("content")),
        has_results,
        tools_of(document.get("tools")),
        must_call,
        may_call,
        wanted,
        schema_of(document.get("response_format")),
        count_of(document, ("max_completion_tokens", "max_tokens")),
    )


def _includes_usage(document: dict[str, Any]) -> bool:
    options = document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _usage(prompt_tokens: int, tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "length" if said.is_cut else "stop"


def _chat_choice(said: Said, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if said.calls else said.text}
    message |= {"refusal": None, "annotations": []}
    if said.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in said.calls
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(said)}


def _chat_events(
    asked: Asked, count: int, head: dict[str, Any], prompt_tokens: int, with_usage: bool
) -> Pieces:
    head = {**head, "object": "chat.completion.chunk"}
    usage: dict[str, Any] = {"usage": None} if with_usage else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], **usage})

    total = 0
    for index in range(count):
        said = asked.say(index)
        total += said.tokens
        content = None if said.calls else ""
        yield 0, chunk(index, {"role": "assistant", "content": content, "refusal": None})
        for tokens, delta in _deltas(said):
            yield tokens, chunk(index, delta)
        yield 0, chunk(index, {}, _finish(said))
    if with_usage:
        yield 0, event({**head, "choices": [], "usage": _usage(prompt_tokens, total)})
    yield 0, DONE


def _deltas(said: Said) -> Iterator[tuple[int, dict[str, Any]]]:
    for piece in pieces_of(said.text):
        yield tokens_in(piece), {"content": piece}
    for number, call in enumerate(said.calls):
        begun = {"index": number, "id": call.id, "type": "function"}
        yield 1, {"tool_calls": [{**begun, "function": {"name": call.name, "arguments": ""}}]}
        for piece in pieces_of(call.arguments):
            yield tokens_in(piece), {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}


# ---- the older endpoint


def completions(document: dict[str, Any], model: str, seed: bytes, prompt_tokens: int) -> Reply:
    """Answer POST completions."""
    prompts = _prompts(document.get("prompt", ""))
    limit = count_of(document, ("max_tokens",)) or 16
    count = count_of(document, ("n",), MOST_CHOICES) or 1
    asked = [
        Asked(model, digest_of(seed, b"%d" % number), text, max_tokens=limit)
        for number, text in enumerate(prompts)
        for _ in range(count)
    ]
    head = {
        "id": "cmpl-" + seed.hex()[:29],
        "object": "text_completion",
        "created": CREATED,
        "model": model,
        "system_fingerprint": _FINGERPRINT,
    }
    if document.get("stream") is True:
        pieces = _completion_events(asked, count, head, prompt_tokens, _includes_usage(document))
        return Reply(pieces=pieces, content_type=EVENTS)
    said = [each.say(index % count) for index, each in enumerate(asked)]
    tokens = sum(each.tokens for each in said)
    choices = [_completion_choice(each.text, index, _finish(each)) for index, each in enumerate(said)]
    return Reply(
        rendered({**head, "choices": choices, "usage": _usage(prompt_tokens, tokens)}), tokens=tokens
    )


def _prompts(prompt: Any) -> list[str]:
    """Return the prompts as texts: a text, a list of texts, of token ids, or of lists of token ids."""
    if not isinstance(prompt, list):
        return [prompt if isinstance(prompt, str) else ""]
    if prompt and all(isinstance(each, int) for each in prompt):
        return [_of_ids(prompt)]
    if len(prompt) > MOST_PROMPTS:
        raise Refusal(f"Invalid 'prompt': the mock upstream takes at most {MOST_PROMPTS}.", param="prompt")
    return [each if isinstance(each, str) else _of_ids(each) for each in prompt] or [""]


def _of_ids(ids: Any) -> str:
    return " ".join(map(str, ids[:1024])) if isinstance(ids, list) else ""


def _completion_choice(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _completion_events(
    asked: list[Asked], count: int, head: dict[str, Any], prompt_tokens: int, with_usage: bool
) -> Pieces:
    usage: dict[str, Any] = {"usage": None} if with_usage else {}

    def chunk(index: int, text: str, finish: str | None = None) -> bytes:
        return event({**head, "choices": [_completion_choice(text, index, finish)], **usage})

    total = 0
    for index, each in enumerate(asked):
        said = each.say(index % count)
        total += said.tokens
        for piece in pieces_of(said.text):
            yield tokens_in(piece), chunk(index, piece)
        yield 0, chunk(index, "", _finish(said))
    if with_usage:
        yield 0, event({**head, "choices": [], "usage": _usage(prompt_tokens, total)})
    yield 0, DONE
