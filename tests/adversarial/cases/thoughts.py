"""Thoughts in answers."""

from __future__ import annotations

import json

from adversarial.cases.registry import JSONS, STREAMS, case, choices, fed, rep, text
from adversarial.meter import metered


def rule(mode="strip", **more):
    return metered("policies.think.splitter").ThinkRule(mode=mode, **more)


thinking = [
    text("<"),
    text("<think>"),
    text("</think>"),
    text("<think>a</think>"),
    text("<thin"),
    lambda n: " " * n + "<think>",
    lambda n: "a<think>" + "</thin" * (n // 6),
    lambda n: "a" + "<think>b</think>" * (n // 16) + "<think>" + "<" * n,
]
rules = [rule, lambda: rule(implicit_start=True, trim=True), lambda: rule(where="start")]
for name in ("split_text", "split_pieces"):
    for make in rules:
        case(f"policies.think.splitter:{name}", *thinking, call=lambda f, v, make=make: f(v, make()))
case("policies.think.splitter:ThinkRule", rep(b"<"), rep(b"\\"), call=lambda c, v: rule().may_begin_in(v))
for step in (None, 1, 1000):
    for make in rules:
        case(
            "policies.think.splitter:ThinkSplitter",
            *thinking,
            call=fed(lambda c, make=make: c(make(), True, 1000), step),
        )
chunks = [
    lambda n: b"data: " + json.dumps(choices(n)).encode() + b"\n\n",
    lambda n: b"data: " + json.dumps(choices_with_tokens(n)).encode() + b"\n\n",
    lambda n: b'data: {"choices":[{"index":0,"delta":{"content":"<think>a</think><"}}]}\n\n' * (n // 70),
    lambda n: b'data: {"type":"response.output_text.delta","delta":"<","output_index":0}\n\n' * (n // 70),
]


def tokens_of(n):
    tokens = [{"token": each} for each in ("<think>", "a", "</think>", "b")] * (n // 80)
    joined = "".join(each["token"] for each in tokens)
    return {
        "choices": [{"index": 0, "message": {"content": joined}, "logprobs": {"content": tokens}}],
        "output": [{"content": [{"type": "output_text", "text": joined, "logprobs": tokens}]}],
    }


def message_events(texts):
    for number, each in enumerate(texts):
        position = {"output_index": number, "content_index": 0, "sequence_number": number}
        yield {"type": "response.output_item.added", **position, "item": {"type": "message", "content": []}}
        yield {"type": "response.output_text.delta", **position, "delta": each, "logprobs": []}
        yield {"type": "response.output_item.done", **position, "item": {"type": "message", "id": "m"}}


def streamed(events):
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)


messages = [
    lambda n: streamed(message_events(["<think>a</think>b<think>c</think>"] * (n // 600))),
    lambda n: streamed(message_events(["<think>"] * (n // 600))),
    lambda n: streamed(message_events(["a<think>"] * (n // 600))),
    lambda n: streamed(message_events([" "] * (n // 600))),
    lambda n: streamed([tokens_of(n)]),
]
for mode in ("strip", "reasoning_content"):
    for step in (1 << 20, 1000):
        case(
            "policies.think.filters:ThinkStreamFilter",
            *chunks,
            *STREAMS,
            call=fed(lambda c, mode=mode: c(rule(mode)), step),
        )
    case(
        "policies.think.filters:ThinkDocumentFilter",
        lambda n: json.dumps(choices(n)).encode(),
        *JSONS,
        call=fed(lambda c, mode=mode: c(rule(mode)), 1000),
    )

    for step in (None, 1000):
        case(
            "policies.think.responses:ResponseStream",
            *messages,
            call=lambda c, v, mode=mode, step=step: [
                fed(
                    lambda _, mode=mode: metered("policies.think.filters").ThinkStreamFilter(rule(mode)), step
                )(c, v)
            ],
        )
        case(
            "policies.think.stored:StoredStreamFilter",
            *messages,
            *STREAMS,
            call=fed(lambda c, mode=mode: c(lambda model: rule(mode), 3), step),
        )
case("policies.think.stored:SkipEvents", *messages, *STREAMS, call=fed(lambda c: c(1 << 40), 1000))
case(
    "policies.think.stored:without_starting_after",
    rep(b"&starting_after=1", b"/r?stream=true"),
    rep(b"starting_after=", b"/r?"),
    rep(b"1", b"/r?starting_after="),
)
case("policies.think.filters:model_of", choices)


def text_edits(target, value):
    rewrite = metered("policies.think.rewrite")
    body = json.dumps(value).encode()
    for mode in ("strip", "reasoning_content"):
        rewrite.document_edits(body, value, rule(mode))
    texts = list(rewrite.document_texts(value))
    rewrite.whole_text_members(body, texts, rule("reasoning_content"), True)


def choices_with_tokens(n):
    tokens = [{"token": each} for each in ("<think>", "a", "</think>", "b<")]
    each = {"delta": {"content": "<think>a</think>b<"}, "message": {"content": "<think>a</think>b<"}}
    each["logprobs"] = {"content": tokens}
    return {"choices": [{**each, "index": number} for number in range(n // 260)]}


def part_list(n):
    part = {"type": "text", "text": "<think>a</think>b"}
    return {"choices": [{"index": 0, "message": {"content": [part] * (n // 50)}}]}


def messages_of(n):
    part = {"type": "output_text", "text": "<think>a</think>b<think>c</think>"}
    return {"output": [{"type": "message", "content": [part]}] * (n // 100)}


for name in (
    "edits_of",
    "document_edits",
    "document_texts",
    "response_texts",
    "content_fields",
    "whole_text_members",
    "visible_of_fields",
    "ordered_thoughts",
    "item_edits",
    "merge",
):
    case(
        f"policies.think.rewrite:{name}",
        choices,
        choices_with_tokens,
        part_list,
        messages_of,
        tokens_of,
        call=text_edits,
    )
case(
    "policies.think.rewrite:snapshot_texts",
    lambda n: {"item": {"content": [{"type": "output_text", "text": "a"}] * (n // 50)}},
)
case(
    "policies.think.rewrite:encode_text",
    text("\u00e9"),
    text("\ud800"),
    call=lambda f, v: (f(v, True), f(v, False)),
)
for name in (
    "chat_tokens",
    "legacy_tokens",
    "response_tokens",
    "shown_tokens",
    "text_bytes",
    "LocatedTokens",
):
    case(f"policies.think.log_probabilities:{name}", tokens_of, call=text_edits)
case("policies.think.log_probabilities:TokenQueue", tokens_of, call=text_edits)
case(
    "policies.think.texts:Texts",
    *chunks,
    *messages,
    *STREAMS,
    call=lambda c, v: (c(rule()).may_pass(v), c(rule(implicit_start=True)).may_pass(v)),
)
