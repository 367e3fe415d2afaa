"""The extra usage chunk disappears, every other byte passes."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.usage.filters import HideUsage, ReadUsageWhole, WatchUsage
from openai_proxy.policies.usage.meter import UsageMeter

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
HIDDEN = json.dumps({"id": "c", "choices": [], "usage": USAGE}).encode()
ODDLY_HIDDEN = [
    json.dumps({"id": "c", "object": "chat.completion.chunk", "usage": USAGE}).encode(),
    json.dumps({"id": "c", "choices": None, "usage": USAGE}).encode(),
    json.dumps({"id": "c", "choices": [{"index": 0, "delta": {}}], "usage": USAGE}).encode(),
    json.dumps(
        {"choices": [{"index": 0}, {"index": 1, "delta": {}, "finish_reason": None}], "usage": USAGE}
    ).encode(),
]
KEPT = [
    b": ping\n\n",
    b": ping\r\n",
    'data: {"choices":[{"delta":{"content":"hé"}}],"usage":null}\n\n'.encode(),
    b'data:{"choices":[{"delta":{},"finish_reason":"stop"}]}\r\n\r\n',
    b'data: {"choices":[],"prompt_filter_results":[],"usage":null}\n\n',
    b'data: {"choices":[],"usage": null}\n\n',
    b'data: {"error":{"code":500},"choices":[],"usage":{"prompt_tokens":1}}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n',
    b'event: x\nid: 7\ndata: {"choices":[{"delta":{"content":""}}],"usage":{"prompt_tokens":1}}\r\r',
    b"data: [DONE]\n\n",
    b"\n",
    b"data: " + b"x" * 20000 + b"\n\n",
]


def run(pieces, kind=HideUsage):
    found = []
    body_filter = kind(UsageMeter(found.append))
    passed = b"".join([body_filter.feed(piece) for piece in pieces]) + body_filter.finish()
    return passed, found[-1:]  # the last is the one that counts


@given(
    st.lists(st.sampled_from(KEPT), max_size=5),
    st.lists(st.sampled_from(KEPT), max_size=3),
    st.sampled_from([b"data: %b\n\n", b"data:%b\r\n\r\n", b"id: 1\rdata: %b\r\r", b"event: e\ndata: %b\n\n"]),
    st.lists(st.integers(0, 30000), max_size=10),
    st.sampled_from([HIDDEN, *ODDLY_HIDDEN]),
)
def test_the_chunk_is_hidden_however_it_is_cut(before, after, form, marks, chunk):
    """Cut anywhere, the stream is what the upstream sent but for that one chunk."""
    hidden = form % chunk
    while form.endswith(b"\r\r") and after and after[0].startswith(b"\n"):
        after = after[1:]  # the LF would be a part of the CRLF that hides
    if before and before[-1].endswith(b"\r\r"):
        before = [*before, b": x\n"]
    stream = b"".join(before) + hidden + b"".join(after)
    at = sorted({0, len(stream), *(mark % len(stream) for mark in marks)})
    out, found = run(stream[a:b] for a, b in pairwise(at))
    assert out == b"".join(before) + b"".join(after)
    assert found[-1] == (Usage(1) if any(b'"prompt_tokens"' in event for event in after) else Usage(5, 7))


@given(
    st.lists(
        st.sampled_from(
            [
                *KEPT,
                *(b"data: " + chunk + b"\n\n" for chunk in (HIDDEN, *ODDLY_HIDDEN)),
                b"data: " + HIDDEN,
                b"\n\n",
                b"\n",
            ]
        ),
        max_size=8,
    )
)
def test_events_that_come_whole_pass_as_they_do_in_pieces(pieces):
    """What passes at a glance is what passes taken apart."""
    stream = b"".join(pieces)
    step = 1 if len(stream) < 20000 else 13
    taken_apart = run(stream[at : at + step] for at in range(0, len(stream), step))
    assert run(pieces) == taken_apart
    assert run([stream]) == taken_apart
    assert run([stream[:-3], stream[-3:]]) == taken_apart


@pytest.mark.parametrize("chunk", ODDLY_HIDDEN)
def test_a_chunk_that_says_nothing_but_the_usage_is_hidden(chunk):
    """Clients stopped at a chunk that they had not asked for and whose choices they could not read."""
    event = b"data: " + chunk + b"\n\n"
    assert run([KEPT[2] + event + b"data: [DONE]\n\n"]) == (KEPT[2] + b"data: [DONE]\n\n", [Usage(5, 7)])
    assert run([KEPT[7] + event]) == (KEPT[7], [Usage(5, 7)])


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b""])
def test_byte_by_byte(ending):
    """Even single bytes, and a chunk that the stream ends with."""
    stream = KEPT[2] + b"data: " + HIDDEN + ending
    out, found = run(stream[i : i + 1] for i in range(len(stream)))
    assert out == KEPT[2]
    assert found == [Usage(5, 7)]


def test_events_pass_at_once():
    """A whole event, a comment and a large event are not waited upon."""
    body_filter = HideUsage(UsageMeter([].append))
    assert body_filter.feed(KEPT[2] + b": pi") == KEPT[2] + b": pi"
    assert body_filter.feed(b"ng\n" + KEPT[-1][:-2]) == b"ng\n" + KEPT[-1][:-2]


@pytest.mark.parametrize(
    "event",
    [
        KEPT[7],
        b'data: {"usage":{"prompt_tokens":1},\ndata: "choices":[{"delta":{"role":"x"}}]}\n\n',
        b"data: [DONE]\n\n",
        b":\n\n",
    ],
)
@pytest.mark.parametrize("before", [b"", KEPT[2], b"data: " + HIDDEN + b"\n\n"])
def test_a_whole_event_passes_behind_any_other_and_before_half_of_one(before, event):
    """Of what one read brings only what is not whole stays for the next."""
    body_filter = HideUsage(UsageMeter([].append))
    body_filter.feed(KEPT[2])
    passed = b"" if HIDDEN in before else before
    assert body_filter.feed(before + event + b'data: {"cho') == passed + event
    assert body_filter.feed(b'ices":[{}]}\n\n' + event) == b'data: {"choices":[{}]}\n\n' + event
    assert body_filter.feed(b"data: " + b"y" * 17000) == b"data: " + b"y" * 17000


@given(st.lists(st.sampled_from([*KEPT, b"data: " + HIDDEN + b"\n\n"]), max_size=6))
def test_a_watched_stream_passes(pieces):
    """A stream whose client asked for the usage is not changed."""
    out, found = run(pieces, WatchUsage)
    assert out == b"".join(pieces)
    assert WatchUsage.transparent
    assert not HideUsage.transparent
    reported = [Usage(5, 7) if HIDDEN in each else Usage(1) for each in pieces if b'"prompt_tokens"' in each]
    assert found == reported[-1:]


def test_a_whole_document_is_read_at_once_and_in_pieces():
    """A short answer's usage is found however it comes, and its text estimated if it reports none."""
    body = b'{"choices":[{"message":{"content":"12345"}}],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
    for size in (1, 11, len(body)):
        found = []
        whole = ReadUsageWhole(found.append, len(body), False, _ignore)
        assert b"".join(whole.feed(body[at : at + size]) for at in range(0, len(body), size)) == body
        assert whole.finish() == b""
        assert found == [Usage(5, 7)]
    silent = b'{"choices":[{"message":{"content":"12345"}}]}'
    whole = ReadUsageWhole(found.append, len(silent), False, _ignore)
    whole.feed(silent)
    assert (whole.estimated_output_tokens, len(found)) == (2, 1)


def _ignore(tier, model):
    """Nobody asks for labels here."""
