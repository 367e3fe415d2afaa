"""The service tier and the model that an answer names."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.usage.answer_labels import HELD_BYTES, UNREAD_TIER, AnswerLabels, note_document


def labels(*pieces, is_stream=True, wants_model=False):
    """Return what was noted at last: tier and model."""
    noted = []
    reading = AnswerLabels(is_stream, wants_model, lambda *found: noted.append(found))
    for piece in pieces:
        reading.feed(piece)
    reading.finish()
    return noted[-1] if noted else None


def sse(*events, end=b"\n"):
    return b"".join(b"data: " + json.dumps(event).encode() + end + end for event in events)


def lines(*events, end=b"\n"):
    """Return events with one field `data` for each line of their indented JSON."""
    texts = [json.dumps(event, indent=1).encode().split(b"\n") for event in events]
    return b"".join(b"".join(b"data: " + line + end for line in text) + end for text in texts)


CHUNK = {"id": "c", "model": "gpt-5-mini", "service_tier": "flex", "choices": [], "usage": {}}
COMPLETED = {
    "type": "response.completed",
    "response": {"model": "m", "service_tier": "priority", "tools": []},
}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (sse(CHUNK), ("flex", None)),
        (sse(COMPLETED), ("priority", None)),
        (sse(CHUNK, end=b"\r\n"), ("flex", None)),
        (sse(CHUNK, end=b"\r"), ("flex", None)),
        (sse(CHUNK, {**CHUNK, "service_tier": "default"}, end=b"\r"), ("default", None)),
        (lines(CHUNK), ("flex", None)),
        (lines(COMPLETED, end=b"\r\n"), ("priority", None)),
        (lines(CHUNK, {**CHUNK, "service_tier": "default"}), ("default", None)),
        (b"event: x\n" + sse(COMPLETED), ("priority", None)),
        (sse({**CHUNK, "service_tier": "default"}), None),
        (sse({**CHUNK, "service_tier": "auto"}), None),
        (sse({**CHUNK, "service_tier": None}), None),
        (sse({"choices": [{"delta": {"content": '"service_tier":"flex"'}}]}), None),
        (sse({"service_tier": "default", "metadata": {"service_tier": "flex"}}), None),
        (sse({**CHUNK, "service_tier": "default"}, CHUNK), ("flex", None)),
        (sse(CHUNK, {**CHUNK, "service_tier": "default"}), None),
        (sse(CHUNK, {"choices": [{"service_tier": "default"}]}), ("flex", None)),
        (sse({"metadata": {"service_tier": "flex"}}, {**CHUNK, "service_tier": "default"}), None),
        (b"data: [DONE]\n\n", None),
        (b'data: {"service_tier": "flex"', None),
    ],
)
def test_the_tier_of_a_stream_is_the_answers_own(data, found):
    """Not one that a client had repeated in its metadata or text."""
    assert labels(data) == found
    assert labels(*(bytes([byte]) for byte in data)) == found


@pytest.mark.parametrize("wants_model", [False, True])
def test_the_model_is_read_where_it_is_wanted(wants_model):
    """From the first event that names one, or from the document."""
    data = sse({"type": "response.created", "response": {"model": "m1"}}, {**COMPLETED})
    found = labels(data, wants_model=wants_model)
    assert found[0] == "priority"
    document = json.dumps({"model": "m1", "choices": []}).encode()
    assert labels(document, is_stream=False, wants_model=wants_model) == (
        (None, "m1") if wants_model else None
    )
    noted = []
    note_document(document, wants_model, lambda *found: noted.append(found))
    assert noted == ([(None, "m1")] if wants_model else [])


@given(st.integers(1, 400))
def test_any_splitting_finds_the_same(size):
    """A read ends anywhere."""
    data = sse({**CHUNK, "service_tier": "default"}, {"x": "y" * 100}, CHUNK)
    assert labels(*(data[at : at + size] for at in range(0, len(data), size))) == ("flex", None)


@pytest.mark.parametrize("last", ["default", "auto"])
def test_the_last_tier_counts_in_whatever_pieces_the_stream_comes(last):
    """The standard one too: an odd one before it, in an earlier piece, was never taken back, and priced the answer."""
    first, then = sse(CHUNK), sse({**CHUNK, "service_tier": last})
    assert labels(first + then) in (None, (last, None))
    assert labels(first, then) == (last, None)
    assert labels(first, then, first) == ("flex", None)
    assert labels(first + then, wants_model=True)[0] == last
    long = sse({"delta": "x" * 5000, "service_tier": last})
    assert labels(first + long) == labels(first, long) == (last, None)


def test_what_is_held_is_bounded_and_an_unread_tier_has_no_price():
    """The last event of a long answer repeats all of it."""
    long = {
        "type": "response.completed",
        "response": {"output": "x" * HELD_BYTES, "service_tier": "priority"},
    }
    data = sse(long)
    assert labels(*(data[at : at + 65536] for at in range(0, len(data), 65536))) == (UNREAD_TIER, None)
    long["response"]["service_tier"] = "default"
    assert labels(sse(long)) is None
    reading = AnswerLabels(False, True, lambda *found: None)
    for _ in range(100):
        reading.feed(b"x" * 65536)
    assert sum(map(len, reading._held)) <= HELD_BYTES


@pytest.mark.parametrize("tier", [7, "", "x" * 300, {"a": 1}])
def test_odd_tiers_are_none(tier):
    """Whatever an upstream sends."""
    found = labels(
        sse({**CHUNK, "service_tier": tier}, {"service_tier": "flex", "model": 5}), wants_model=True
    )
    assert found == ("flex", None)
