"""Usage is read from whatever passes, however it is cut."""

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.exchange import Usage
from openai_proxy.core.usage import (
    TextMeter,
    UsageMeter,
    UsageScanner,
    estimated_input_tokens,
    maybe_usage,
    usage_of_document,
)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, Usage(5, 7)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(5, 7, 2, 4),
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(5, 7, 2, 4),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, Usage(5, 0)),
        ({"total_tokens": 9}, Usage(9, 0)),
        ({"prompt_tokens": 5.0, "completion_tokens": "7"}, Usage(5, 0)),
        ({"type": "duration", "seconds": 9}, None),
        ({"prompt_tokens": True, "completion_tokens": -1}, None),
        ({"prompt_tokens": 1e300}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_objects(usage, expected):
    """The objects of all APIs are read, and nonsense counts nothing."""
    assert maybe_usage(usage) == expected


def scan(pieces):
    found = []
    scanner = UsageScanner(found.append)
    for piece in pieces:
        scanner.feed(piece)
    return found


usages = st.builds(
    lambda a, b: {"prompt_tokens": a, "completion_tokens": b}, st.integers(0, 99), st.integers(0, 99)
)
fillers = st.sampled_from([{"usage": None}, {"x": '"usage": {"prompt_tokens": 1}'}, {"usage": {"type": "object"}}, [1, "usage"]])  # fmt: skip


@given(
    st.lists(usages | fillers, max_size=6),
    st.lists(st.integers(0, 3000), max_size=6),
    st.sampled_from([None, 2]),
)
def test_usage_is_found_however_it_is_cut(parts, marks, indent):
    """Whole, byte by byte or cut anywhere: each usage object, and nothing inside strings."""
    objects = [{"usage": part} if "prompt_tokens" in part else part for part in parts]
    body = b"\n".join(json.dumps(each, indent=indent).encode() for each in objects) + b" "
    wanted = [
        Usage(part["prompt_tokens"], part["completion_tokens"]) for part in parts if "prompt_tokens" in part
    ]
    at = sorted({0, len(body), *(mark % len(body) for mark in marks)})
    assert scan([body]) == wanted
    assert scan(body[a:b] for a, b in pairwise(at)) == wanted
    assert scan(body[i : i + 1] for i in range(len(body))) == wanted


def test_an_endless_object_is_given_up():
    """What looks like usage and never ends is not kept; usage behind it is found."""
    scanner_input = [b'"usage":{"x":[', *[b"1," * 1000] * 20, b'"usage":{"prompt_tokens":1}']
    assert scan(scanner_input) == [Usage(1)]


texts = st.text(st.sampled_from('ab"\\\n é'), max_size=12)


@given(st.lists(st.tuples(st.sampled_from(["content", "text", "id"]), texts), max_size=6), st.integers(1, 7))
def test_text_is_measured_however_it_is_cut(members, size):
    """Only what a model wrote is counted, in bytes as sent."""
    body = b"".join(json.dumps({name: text}).encode() for name, text in members)
    wanted = sum(len(json.dumps(text)) - 2 for name, text in members if name != "id")
    for step in (size, len(body) + 1):
        meter = TextMeter()
        for start in range(0, len(body), step):
            meter.feed(body[start : start + step])
        assert meter.size_bytes == wanted


deltas = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(st.sampled_from('ab"\\\n }é'), max_size=4)),
    st.sampled_from(
        [
            {"content": "token"},
            {"content": 'say "x"'},
            {},
            {"role": "assistant", "content": "", "refusal": None},
            {"content": "a", "reasoning_content": "bc"},
            {"content": None, "reasoning_content": "bc"},
            {"content": 'x"}'},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"delta":{"content":"'}}]},
        ]
    ),
)


@given(
    st.lists(st.tuples(deltas, st.integers(1, 9)), max_size=6),
    st.sampled_from([",", ", "]),
    st.integers(1, 99),
)
def test_texts_of_streams_are_measured_however_they_are_cut(runs, comma, size):
    """Runs of plain deltas are measured at once, and their sum is what each by itself adds up to."""
    stream, wanted = b"", 0
    for delta, length in runs:
        event = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}
        text = json.dumps(event, separators=(comma, comma.replace(",", ":"))).encode()
        stream += (b"data: %b\n\n" % text) * length
        written = [delta.get("content"), delta.get("reasoning_content")]
        written += [call["function"]["arguments"] for call in delta.get("tool_calls", ())]
        wanted += length * sum(len(json.dumps(each)) - 2 for each in written if each)
    for step in (size, len(stream) + 1, 1):
        meter = TextMeter()
        for start in range(0, len(stream), step):
            meter.feed(stream[start : start + step])
        assert meter.size_bytes == wanted


@pytest.mark.parametrize("coding", [b"", b"gzip"])
def test_compressed_bodies_are_read(coding):
    """Usage and text are found inside gzip too."""
    body = b'{"choices":[{"message":{"content":"12345"}}],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
    found = []
    meter = UsageMeter(found.append, coding)
    sent = gzip.compress(body) if coding else body
    for at in range(0, len(sent), 7):
        meter.look(sent[at : at + 7])
    meter.flush()
    assert found == [Usage(5, 7)]


def test_codings_of_others_are_read_up_to_a_limit():
    """What unpacks them is given; it is stopped in the middle of a bomb, and what it raises hurts nobody."""
    found, wrote = [], []

    def maybe_unpack(coding, write):
        def unpack(data):
            for _ in range(1000):
                write(data)
                wrote.append(len(data))

        return unpack if coding == b"x" else None

    meter = UsageMeter(found.append, b"x", False, maybe_unpack)
    meter.look(b'{"usage":{"prompt_tokens":5,"completion_tokens":7}}' + b" " * 1024 * 1024)
    assert found[-1] == Usage(5, 7)
    assert sum(wrote) < 100 * 1024 * 1024
    meter.look(b"more")
    assert meter.estimated_output_tokens == 0
    unknown = UsageMeter(found.append, b"y", False, maybe_unpack)
    unknown.look(b"x" * 40)
    assert unknown.estimated_output_tokens == 10


def test_strange_codings_are_estimated_by_size():
    """Of a coding that can not be read only the size is known; broken gzip is not an error."""
    meter = UsageMeter([].append, b"br")
    meter.look(b"x" * 40)
    assert meter.estimated_output_tokens == 10
    broken = UsageMeter([].append, b"gzip")
    broken.look(b"no gzip")
    broken.look(b"more")
    assert broken.estimated_output_tokens == 0


def test_deltas_alone_are_measured():
    """A Responses stream repeats its texts: the repetitions do not count."""
    meter = UsageMeter([].append, deltas=True)
    meter.look(b'{"delta":"12345678"}{"text":"12345678"}')
    assert meter.estimated_output_tokens == 2


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"messages": [{"role": "user", "content": "12345678"}]}, 3),
        ({"input": [1, 2, 3]}, 3),
        ({"input": [[1, 2], [3]]}, 3),
        ({"prompt": "é" * 4, "max_tokens": 5}, 2),
        ({"messages": [{"content": [{"type": "x", "image_url": {"url": "data:" + "A" * 9000}}]}]}, 257),
        ({"input": "\ud800", "messages": None}, 1),
        ({}, 0),
    ],
)
def test_prompts_are_estimated(document, expected):
    """A quarter of the bytes of text; token ids and media have their own price."""
    assert estimated_input_tokens(document) == expected


numbers = st.integers(0, 99)
usages = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"prompt_tokens": numbers, "completion_tokens": numbers},
        optional={"completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": numbers})},
    ),
)
members = st.dictionaries(
    st.sampled_from(["id", "choices", "service_tier", "object"]),
    st.recursive(
        st.sampled_from(["a", '{"usage":{"prompt_tokens":1}}', '"usage":{}}', "}", "]", 1, None])
        | st.fixed_dictionaries({"usage": usages}),
        lambda inner: st.lists(inner, max_size=2) | st.fixed_dictionaries({"in": inner}),
        max_leaves=4,
    ),
    max_size=3,
)


@given(members, st.booleans(), usages, members, st.sampled_from([(",", ":"), (", ", ": ")]))
def test_the_usage_of_a_document_is_its_own(before, has_usage, usage, after, separators):
    """Wherever it stands, and whatever else is called so inside other members."""
    document = {**before, **({"usage": usage} if has_usage else {}), **after}
    data = json.dumps(document, separators=separators).encode()
    assert usage_of_document(data) == maybe_usage(document.get("usage"))


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b'"usage":{}', b'{"usage":{"prompt_tokens":1}', b'{"usage":7}']
)
def test_what_has_no_usage_has_none(data):
    """Whatever it is."""
    assert usage_of_document(data) is None
