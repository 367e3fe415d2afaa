"""Thoughts of the Responses API's streams are removed, or become items of the output."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.think.filters import ThinkStreamFilter
from openai_proxy.policies.think.splitter import THOUGHT, ThinkRule, split_pieces

STRIP = ThinkRule("strip")
MOVE = ThinkRule("reasoning_content")


def message(item_id, text=None, status="completed"):
    content = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": item_id, "status": status, "role": "assistant", "content": content}


def response_events(messages, announced=True, tail=()):
    """Return the events of a response with messages, each a list of deltas."""
    events = [{"type": "response.created", "response": {"model": "m", "output": []}}]
    output = []
    for index, deltas in enumerate(messages):
        position = {"item_id": f"msg_{index}", "output_index": index, "content_index": 0}
        text = "".join(deltas)
        part = {"type": "output_text", "text": text, "annotations": []}
        output.append(message(position["item_id"], text))
        if announced:
            events.append(
                {
                    "type": "response.output_item.added",
                    "output_index": index,
                    "item": message(position["item_id"]),
                }
            )
            events.append({"type": "response.content_part.added", **position, "part": {**part, "text": ""}})
        events += [
            {"type": "response.output_text.delta", **position, "delta": delta, "logprobs": []}
            for delta in deltas
        ]
        events += [
            {"type": "response.output_text.done", **position, "text": text},
            {"type": "response.content_part.done", **position, "part": part},
            {"type": "response.output_item.done", "output_index": index, "item": output[-1]},
        ]
    events += tail
    events.append({"type": "response.completed", "response": {"model": "m", "output": [*output]}})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def encode(events):
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


def run(rule, stream, *marks):
    body_filter = ThinkStreamFilter(rule)
    at = sorted({0, len(stream), *(mark % len(stream) for mark in marks)})
    return b"".join([body_filter.feed(stream[a:b]) for a, b in pairwise(at)]) + body_filter.finish()


def decoded(stream):
    found = []
    for block in stream.decode().split("\n\n"):
        if block:
            kind, data = block.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert kind == "event: " + found[-1]["type"]
    return found


def put_together(events):
    """Return the output items as a client puts them together from the events, checking their numbers."""
    items, texts = [], {}
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] == len(items)
            items.append(event["item"])
        elif kind.endswith("_text.delta"):
            position = event["output_index"]
            assert items[position]["id"] == event["item_id"]
            texts[position] = texts.get(position, "") + event["delta"]
        elif kind.endswith("_text.done"):
            assert event["text"] == texts.get(event["output_index"], "")
        elif kind == "response.output_item.done":
            items[event["output_index"]] = event["item"]
            content = event["item"]["content"]
            assert content[0]["text"] == texts.get(event["output_index"], "")
    assert events[-1]["response"]["output"] == items
    return [(item["type"], item["content"][0]["text"]) for item in items]


pieces = st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "nk>", "<", "a", " ", "é😀", "</th", "ink>"]), max_size=7
)


@given(st.lists(pieces, min_size=1, max_size=3), st.lists(st.integers(0, 9000), max_size=6), st.booleans())
def test_thoughts_become_items_however_the_stream_is_cut(messages, marks, implicit):
    """What clients put together is what the last event says: thoughts before or after their messages."""
    rule = ThinkRule("reasoning_content", implicit_start=implicit)
    stream = encode(response_events(messages))
    out = run(rule, stream)
    assert run(rule, stream, *marks) == out
    assert run(rule, stream, *range(len(stream))) == out
    events = decoded(out)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    wanted = []
    for deltas in messages:
        split = split_pieces("".join(deltas), rule)
        begins = next((n for n, (kind, text) in enumerate(split) if kind == 0 and text.strip()), len(split))
        first = "".join(text for kind, text in split[:begins] if kind == THOUGHT)
        later = "".join(text for kind, text in split[begins:] if kind == THOUGHT)
        shown = "".join(text for kind, text in split if kind == 0)
        wanted += [("reasoning", first)] * bool(first)
        wanted += [("message", shown)]
        wanted += [("reasoning", later)] * bool(later)
    assert put_together(events) == wanted


@given(st.lists(pieces, min_size=1, max_size=2), st.lists(st.integers(0, 9000), max_size=6))
def test_stripped_streams_keep_their_events(messages, marks):
    """Without thoughts shown there is nothing new but what is released at a text's end."""
    stream = encode(response_events(messages))
    out = run(STRIP, stream)
    assert run(STRIP, stream, *marks) == out
    wanted = ["".join(t for k, t in split_pieces("".join(deltas), STRIP) if k == 0) for deltas in messages]
    assert [text for _, text in put_together(decoded(out))] == wanted


def test_the_events_of_an_item_with_thoughts():
    """The item begins, says its text, and is done, before its message begins."""
    events = decoded(run(MOVE, encode(response_events([["<think>", "so", "</think>", "Hi"]]))))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    item = {
        "id": "rs_0_1",
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "so"}],
    }
    assert events[6]["item"] == events[-1]["response"]["output"][0] == item
    assert events[2]["part"] == {"type": "reasoning_text", "text": ""}
    assert events[5]["part"] == item["content"][0]
    assert events[3] | {"sequence_number": 0} == {
        "type": "response.reasoning_text.delta",
        "item_id": "rs_0_1",
        "output_index": 0,
        "content_index": 0,
        "delta": "so",
        "sequence_number": 0,
    }


def test_thoughts_are_streamed_as_they_come():
    """Each piece of a thought goes on with the event that brought it."""
    body_filter = ThinkStreamFilter(MOVE)
    events = response_events([["<think>", "one ", "two", "</think>", "Hi"]])
    out = [body_filter.feed(encode([event])) for event in events]
    assert [b"one " in each for each in out].index(True) == 4
    assert [b"two" in each for each in out].index(True) == 5


@pytest.mark.parametrize("rule", [STRIP, MOVE, ThinkRule("strip", implicit_start=True)])
def test_a_stream_without_texts_passes(rule):
    """Tool calls that hold tags, and what is no message, pass byte for byte."""
    call = {"type": "function_call", "id": "fc", "arguments": "<think>a</think>"}
    tail = [
        {"type": "response.output_item.added", "output_index": 0, "item": {**call, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "<think>a</think>"},
        {"type": "response.output_item.done", "output_index": 0, "item": call},
    ]
    stream = encode(response_events([], tail=tail))
    assert run(rule, stream) == stream


def test_text_without_thoughts_passes():
    """A plain message has the events that it had, in both modes."""
    stream = encode(response_events([["Hi ", "there"], ["a < b"]]))
    for rule in (STRIP, MOVE):
        assert run(rule, stream) == stream


def test_messages_that_are_not_announced():
    """Small servers send texts without the events around them; the thoughts come before them all the same."""
    events = decoded(run(MOVE, encode(response_events([["<think>so</think>Hi"]], announced=False))))
    kinds = [event["type"] for event in events]
    assert kinds.index("response.reasoning_text.done") < kinds.index("response.output_text.delta")
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]


def test_a_stream_that_breaks_off_within_a_thought():
    """What a cut stream has begun is ended: no thought is shown as text, and no event is lost."""
    events = response_events([["<think>", "so"]])[:5]
    out = decoded(run(MOVE, encode(events)))
    assert out[-1]["type"] == "response.content_part.added"
    assert [each["delta"] for each in out if each["type"] == "response.reasoning_text.delta"] == ["so"]
    assert b"so" not in run(STRIP, encode(events))
