"""Thoughts leave streams and documents; every other byte stays."""

import json
from itertools import pairwise

import pytest
from fakes import chat_chunk as chunk
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.think.filters import ThinkDocumentFilter, ThinkStreamFilter
from openai_proxy.policies.think.splitter import ThinkRule, split_text

STRIP = ThinkRule("strip")
MOVE = ThinkRule("reasoning_content")
DONE = b"data: [DONE]\n\n"


def encode(event, **style):
    return b"data: " + json.dumps(event, **style).encode() + b"\n\n"


def run(body_filter, *pieces):
    return b"".join([body_filter.feed(piece) for piece in pieces]) + body_filter.finish()


def decoded(stream):
    found = []
    for block in stream.decode().replace("\r\n", "\n").split("\n\n"):
        data = [line[5:] for line in block.split("\n") if line.startswith("data:")]
        if data and data[0].strip() != "[DONE]":
            found.append(json.loads("\n".join(data)))
    return found


def text_of(stream, index=0, name="content"):
    return "".join(
        choice["delta"].get(name) or ""
        for event in decoded(stream)
        for choice in event["choices"]
        if choice["index"] == index and "delta" in choice
    )


pieces = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<thi", "nk>", "<", "/", "a", "é😀", " ", '"\\', "\n", "</th", "ink>"]
    ),
    max_size=8,
)
cuts = st.lists(st.integers(0, 5000), max_size=8)
modes = st.sampled_from([STRIP, MOVE, ThinkRule("strip", trim=True)])


@given(pieces, pieces, cuts, modes, st.booleans())
def test_any_split_gives_the_reference(first, second, marks, rule, ascii_only):
    """Two interleaved choices, cut anywhere: each reads as its whole text without its thoughts."""
    events = []
    for number in range(max(len(first), len(second))):
        for index, texts in enumerate((first, second)):
            if number < len(texts):
                events.append(encode(chunk(texts[number], index=index), ensure_ascii=ascii_only))
    events += [encode(chunk({}, "stop")), encode(chunk({}, "stop", index=1)), DONE]
    stream = b"".join(events)
    whole = run(ThinkStreamFilter(rule), stream)
    at = sorted({0, len(stream), *(mark % len(stream) for mark in marks)})
    assert run(ThinkStreamFilter(rule), *(stream[a:b] for a, b in pairwise(at))) == whole
    assert run(ThinkStreamFilter(rule), *(stream[i : i + 1] for i in range(len(stream)))) == whole
    for index, texts in enumerate((first, second)):
        visible, thoughts = split_text("".join(texts), rule)
        assert text_of(whole, index) == visible
        assert text_of(whole, index, "reasoning_content") == (thoughts if rule is MOVE else "")
    assert len(decoded(whole)) == len(decoded(stream))


def test_untouched_events_pass_byte_for_byte():
    """Odd spacing, comments, line ends, tool calls and what is no JSON stay as sent, in the same read."""
    call = {"tool_calls": [{"function": {"arguments": '{"html":"<think>keep</think>"}'}}]}
    stream = b"".join(
        [
            b": ping\n\n",
            b'data:{ "choices" :[ {"delta":{"content": "a\\u003cb < c"}, "index":0} ],"x":1.0}\r\n\r\n',
            encode(chunk(call)),
            b"event: odd\nid: 1\ndata: <think>\n\n",
            b'data: {"choices":[],"usage":{"t":1}}\n\n',
            DONE,
        ]
    )
    body_filter = ThinkStreamFilter(STRIP)
    assert body_filter.feed(stream) == stream
    assert body_filter.finish() == b""


def test_only_the_content_of_a_touched_event_changes():
    """Unknown members, spacing, number forms and the event's other lines stay."""
    stream = (
        b'id: 7\r\ndata: {"choices": [ { "index" : 0, "delta": {"content": '
        b'"\\u003cthink\\u003ex</think>hey", "n":1.0e0 } } ],"obfuscation":"zz" }\r\n\r\n'
    )
    wanted = stream.replace(b"\\u003cthink\\u003ex</think>hey", b"hey")
    assert run(ThinkStreamFilter(STRIP), stream) == wanted


def test_a_partial_tag_is_released_by_the_finish():
    """What began like a tag comes out in the finishing chunk of its own choice."""
    stream = encode(chunk("a<thi")) + encode(chunk("b<", index=1)) + encode(chunk({}, "stop", index=1))
    found = decoded(run(ThinkStreamFilter(STRIP), stream + encode(chunk({}, "length"))))
    assert [event["choices"][0]["delta"] for event in found] == [
        {"content": "a"},
        {"content": "b"},
        {"content": "<"},
        {"content": "<thi"},
    ]


@pytest.mark.parametrize("tail", [DONE, b"", b": end\n\n", b"data: [DONE]"])
def test_a_partial_tag_is_released_by_the_end(tail):
    """Without a finishing chunk it comes in one of its own, before [DONE]."""
    out = run(ThinkStreamFilter(STRIP), encode(chunk("a<thi", index=3)) + tail)
    assert text_of(out, 3) == "a<thi"
    assert decoded(out)[-1]["id"] == "c1"
    if b"[DONE]" in tail:
        assert out.endswith(tail)


def test_a_finish_without_delta_gets_an_event_before_it():
    """A finishing chunk that has no delta stays as it is."""
    last = encode({"choices": [{"index": 0, "finish_reason": "stop"}]})
    out = run(ThinkStreamFilter(STRIP), encode(chunk("a<")) + last)
    assert out.endswith(last)
    assert decoded(out)[-2]["choices"][0]["delta"] == {"content": "<"}


def test_a_cut_thought_is_dropped_and_the_finish_passes():
    """A block at the start that never closes takes the rest of its choice; the finish and usage stay."""
    last = encode(chunk({}, "stop")) + encode({"choices": [], "usage": {}}) + DONE
    out = run(ThinkStreamFilter(STRIP), encode(chunk(" <think>b")) + encode(chunk("c</th")) + last)
    assert text_of(out) == " "
    assert out.endswith(last)


@pytest.mark.parametrize("tail", [encode(chunk({}, "stop")) + DONE, DONE, b"", b"data: [DONE]"])
def test_a_later_tag_that_never_closes_is_text(tail):
    """An answer that mentions the tag is whole when it ends, however the stream ends."""
    text = ["Write <think> first", ", then ", "the answer </thi", "nk."]
    out = run(ThinkStreamFilter(STRIP), b"".join(encode(chunk(each)) for each in text) + tail)
    assert text_of(out) == "".join(text)
    assert (b"[DONE]" in out) == (b"[DONE]" in tail)


def test_reasoning_content_is_added_to():
    """Thoughts move beside the content, after those the upstream put there itself."""
    delta = {"content": "<think>b</think>c", "reasoning_content": "a"}
    (event,) = decoded(run(ThinkStreamFilter(MOVE), encode(chunk(delta))))
    assert event["choices"][0]["delta"] == {"content": "c", "reasoning_content": "ab"}


def test_half_characters_survive():
    """A surrogate pair cut between two deltas is put together by the client as before."""
    stream = encode(chunk("<think>x</think>\ud83d")) + encode(chunk("\ude00"))
    assert json.loads(json.dumps(text_of(run(ThinkStreamFilter(STRIP), stream)))) == "\U0001f600"


def test_large_events_pass():
    """An event above the limit is not looked at, and those after it are."""
    big, small = encode(chunk("<think>x</think>" + "y" * 500)), encode(chunk("<think>x</think>ok"))
    out = run(
        ThinkStreamFilter(STRIP, limit_bytes=400), *(big[i : i + 50] for i in range(0, len(big), 50)), small
    )
    assert out == big + encode(chunk("ok"))


def response_event(kind, **members):
    return f"event: {kind}\n".encode() + encode({"type": kind, "sequence_number": 5, **members})


def test_responses_stream():
    """Deltas lose the thoughts, and so does every event that repeats the whole text."""
    text = "<think>x</think>answer<"
    position = {"item_id": "i", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "content": [part]}
    stream = b"".join(
        [response_event("response.output_text.delta", **position, delta=letter) for letter in text]
        + [
            response_event("response.output_text.done", **position, text=text),
            response_event("response.content_part.done", **position, part=part),
            response_event("response.output_item.done", output_index=0, item=item),
            response_event("response.completed", response={"output": [{"type": "reasoning"}, item]}),
        ]
    )
    out = run(ThinkStreamFilter(STRIP), stream)
    events = decoded(out)
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "answer<"
    done, part_done, item_done, completed = events[-4:]
    assert done["text"] == part_done["part"]["text"] == item_done["item"]["content"][0]["text"] == "answer<"
    assert completed["response"]["output"][1]["content"][0]["text"] == "answer<"
    assert out.index(b'"delta": "<"') < out.index(b"response.output_text.done")


def test_items_with_thoughts_have_ids_of_their_own():
    """A server may name its reasoning and its message after the response; SDKs refuse two items of one name."""
    own = {"type": "reasoning", "id": "rs_1", "summary": []}
    part = {"type": "output_text", "text": "<think>x</think>y"}
    body = json.dumps({"output": [own, {"type": "message", "id": "msg_1", "content": [part]}]}).encode()
    found = json.loads(run(ThinkDocumentFilter(MOVE), body))["output"]
    assert [item["type"] for item in found] == ["reasoning", "reasoning", "message"]
    assert len({item["id"] for item in found}) == 3


def test_responses_thoughts_become_an_item():
    """In the Responses API the thoughts are an item of the output before the message that had them."""
    part = {"type": "output_text", "text": "<think>x</think>y"}
    body = json.dumps({"output": [{"type": "message", "id": "msg_1", "content": [part]}]}).encode()
    found = json.loads(run(ThinkDocumentFilter(MOVE), body))
    assert found["output"] == [
        {
            "id": "rs_1_1",
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "x"}],
        },
        {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "y"}]},
    ]


@given(
    st.lists(pieces.map("".join), min_size=1, max_size=3),
    cuts,
    modes,
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_documents(texts, marks, rule, ascii_only, indent):
    """However it is cut, a document is the same but for the texts and what was moved."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text, "x": 1.0}}
        for i, text in enumerate(texts)
    ]
    document = {"choices": choices, "usage": {"n": 1e3}}
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    at = sorted({0, len(body), *(mark % len(body) for mark in marks)})
    out = run(ThinkDocumentFilter(rule), *(body[a:b] for a, b in pairwise(at)))
    for choice in choices:
        visible, thoughts = split_text(choice["message"]["content"], rule)
        choice["message"]["content"] = visible
        if thoughts and rule is MOVE:
            choice["message"]["reasoning_content"] = thoughts
    assert json.loads(out) == document
    if all("<think>" not in text for text in texts):
        assert out == body


def test_only_the_content_of_a_document_changes():
    """Key order, spacing, number forms, duplicates of other keys and tool calls stay."""
    body = (
        b' {"x":1.0, "choices" :[{"message":{"tool_calls":[{"arguments":"<think>a</think>"}],'
        b'"content" : "<think>a\\n</think>\\u00e9"}}],"x":1E0 }\n'
    )
    assert run(ThinkDocumentFilter(STRIP), body) == body.replace(b"<think>a\\n</think>", b"")


@pytest.mark.parametrize("body", [b"", b"<think>no json</think>", b'"<think>a</think>"', b'{"data":"<think>x</think>"}', b'{"choices":"<think>"}', b'{"choices":[1,{"message":null}]}'])  # fmt: skip
def test_what_is_no_chat_passes(body):
    """Any other document passes byte for byte."""
    assert run(ThinkDocumentFilter(STRIP), body) == body


def test_large_documents_pass():
    """A document above the limit is passed on, not collected."""
    body_filter = ThinkDocumentFilter(STRIP, limit_bytes=10)
    assert body_filter.feed(b"<think>") == b""
    assert body_filter.feed(b"a</think>") == b"<think>a</think>"
    assert body_filter.feed(b"b") == b"b"
    assert body_filter.finish() == b""


@given(
    st.lists(
        st.sampled_from(
            [
                "plain",
                "<think>",
                "x</think>",
                "a<",
                "thi",
                ": ping\n\n",
                "\n",
                "id: 1\n",
                "\r\n",
                "data: [DONE]\n\n",
            ]
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 5000), max_size=6),
    modes,
)
def test_reads_of_many_events_are_passed_as_events_are(pieces, marks, rule):
    """A read of several events, cut anywhere, comes out as they do one byte at a time."""
    stream = b"".join(
        piece.encode() if piece.endswith("\n") else encode(chunk(piece, index=0)) for piece in pieces
    )
    at = sorted({0, len(stream), *(mark % (len(stream) or 1) for mark in marks)})
    reads = [stream[a:b] for a, b in pairwise(at)]
    assert run(ThinkStreamFilter(rule), *reads) == run(
        ThinkStreamFilter(rule), *(stream[i : i + 1] for i in range(len(stream)))
    )


def test_whole_events_are_not_held_back_by_a_cut_one():
    """Of a read that ends within an event all before it goes on at once, the rest with the next read."""
    first, second = encode(chunk("one")), encode(chunk("two"))
    body_filter = ThinkStreamFilter(STRIP)
    assert body_filter.feed(first + first + second[:9]) == first + first
    assert body_filter.feed(second[9:] + first + second[:20]) == second + first
    assert body_filter.feed(second[20:]) == second
    assert body_filter.finish() == b""


def completion(text, finish=None, **more):
    return {"id": "c1", "choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}


@given(pieces, cuts, modes, st.booleans())
def test_completions_are_treated_like_chats(texts, marks, rule, finish):
    """The text of a choice itself loses its thoughts; they stand beside it."""
    events = [encode(completion(text)) for text in texts]
    stream = b"".join(events + [encode(completion("", "stop"))] * finish + [DONE])
    at = sorted({0, len(stream), *(mark % len(stream) for mark in marks)})
    out = run(ThinkStreamFilter(rule), *(stream[a:b] for a, b in pairwise(at)))
    choices = [event["choices"][0] for event in decoded(out)]
    visible, thoughts = split_text("".join(texts), rule)
    assert "".join(choice["text"] for choice in choices) == visible
    moved = "".join(choice.get("reasoning_content", "") for choice in choices)
    assert moved == (thoughts if rule is MOVE else "")
    document = run(ThinkDocumentFilter(rule), json.dumps(completion("".join(texts))).encode())
    found = json.loads(document)["choices"][0]
    assert (found["text"], found.get("reasoning_content", "")) == (visible, moved)


def parts_of(*texts):
    return [{"type": "text", "text": text} for text in texts]


@given(st.lists(pieces, max_size=5), st.sampled_from([STRIP, MOVE]))
def test_lists_of_parts_are_one_text(lists, rule):
    """A block may begin in one part and end in another, in documents and deltas; other parts stay."""
    texts = [text for each in lists for text in each]
    image = {"type": "image_url", "image_url": {"url": "<think>"}}
    visible, thoughts = split_text("".join(texts), rule)
    body = {"choices": [{"message": {"content": [*parts_of(*texts), image]}}]}
    message = json.loads(run(ThinkDocumentFilter(rule), json.dumps(body).encode()))["choices"][0]["message"]
    assert message["content"][-1] == image
    assert len(message["content"]) == len(texts) + 1
    assert "".join(part["text"] for part in message["content"][:-1]) == visible
    assert message.get("reasoning_content", "") == (thoughts if rule is MOVE else "")
    events = [encode(chunk({"content": parts_of(*each)})) for each in lists]
    out = run(ThinkStreamFilter(rule), *events, encode(chunk({}, "stop")), DONE)
    contents = [event["choices"][0]["delta"].get("content") or [] for event in decoded(out)]
    assert all(isinstance(content, list) for content in contents)
    assert "".join(part["text"] for content in contents for part in content) == visible
    assert text_of(out, name="reasoning_content") == (thoughts if rule is MOVE else "")


@given(pieces, pieces, cuts, st.sampled_from(["strip", "reasoning_content"]), st.booleans(), st.booleans())
def test_rules_about_the_start_count_for_each_choice(first, second, marks, mode, implicit, only_start):
    """What is at the start of a text is known for every choice, also after events that passed unread."""
    rule = ThinkRule(mode, where="start" if only_start else "anywhere", implicit_start=implicit)
    events = [encode(chunk(text)) for text in first] + [encode(chunk(text, index=1)) for text in second]
    stream = b"".join(events)
    at = sorted({0, len(stream), *(mark % (len(stream) or 1) for mark in marks)})
    out = run(ThinkStreamFilter(rule), *(stream[a:b] for a, b in pairwise(at)))
    for index, texts in enumerate((first, second)):
        visible, thoughts = split_text("".join(texts), rule)
        assert text_of(out, index) == visible
        assert text_of(out, index, "reasoning_content") == (thoughts if mode == "reasoning_content" else "")


def test_implicit_thoughts_are_streamed_as_reasoning():
    """Each piece of a thought that began in the prompt goes on at once, as reasoning."""
    rule = ThinkRule("reasoning_content", implicit_start=True)
    body_filter = ThinkStreamFilter(rule)
    out = [body_filter.feed(encode(chunk(text))) for text in ("Let me", " see", "</think>", "Hi", " you")]
    deltas = [decoded(each)[0]["choices"][0]["delta"] for each in out]
    assert deltas == [
        {"content": "", "reasoning_content": "Let me"},
        {"content": "", "reasoning_content": " see"},
        {"content": ""},
        {"content": "Hi"},
        {"content": " you"},
    ]


def test_texts_pass_unread_once_they_have_begun():
    """After the first word of an answer its events are not taken apart, whatever else the rule says."""
    for rule in (STRIP, MOVE, ThinkRule("strip", where="start")):
        body_filter = ThinkStreamFilter(rule)
        body_filter.feed(encode(chunk("Hi")))
        odd = b'data: {"choices":[{"index":0,"delta":{"content":"no JSON}\n\n'
        assert body_filter.feed(odd) is odd


def test_what_is_held_after_a_tag_is_bounded():
    """An answer that mentions the tag and goes on for long is passed on after a mebibyte."""
    body_filter = ThinkStreamFilter(STRIP)
    word = "word " * 1000
    sent = encode(chunk("Write <think>")) + encode(chunk(word)) * 300
    out = body_filter.feed(sent)
    assert len(text_of(out)) > 1_400_000
    assert "Write <think>" + word * 300 == text_of(out + body_filter.finish())


def test_endless_texts_are_bounded():
    """Of an upstream that numbers its choices endlessly no more is kept than of a few thousand."""
    body_filter = ThinkStreamFilter(STRIP)
    stream = b"".join(encode(chunk("a <", index=number)) for number in range(6000))
    out = body_filter.feed(stream)
    assert len(body_filter._texts.splitters) <= 4096
    assert text_of(out + body_filter.finish(), 5999) == "a <"
