"""Usage objects and documents are read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taken import Taken

from openai_proxy.exchange.usage import TokenKinds, Usage
from openai_proxy.policies.usage.objects import maybe_usage, usage_of_document


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
        (
            {"prompt_tokens": 5, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}},
            Usage(5, 0, 2),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "prompt_cache_hit_tokens": 6,
                "prompt_cache_miss_tokens": 3,
            },
            Usage(9, 7, 6),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 7, "cached_tokens": 6}, Usage(9, 7, 6)),
        ({"prompt_tokens": 9, "completion_tokens": 7, "cached_tokens": 600}, Usage(9, 7, 9)),
        ({"prompt_tokens": 9, "completion_tokens": 7, "cache_read_input_tokens": 6}, Usage(9, 7, 6)),
        ({"prompt_tokens": 9, "completion_tokens": 7, "cache_read_input_tokens": 10}, Usage(9, 7)),
        ({"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": 6}, Usage(9, 7)),
        ({"prompt_tokens": 9, "completion_tokens": 7, "cache_read_input_tokens": None}, Usage(9, 7)),
        (
            {"prompt_tokens": 9, "prompt_cache_hit_tokens": 6, "prompt_tokens_details": {"cached_tokens": 6}},
            Usage(9, 0, 6),
        ),
        (
            {"prompt_tokens": 9, "prompt_cache_hit_tokens": 6, "prompt_tokens_details": {"cached_tokens": 0}},
            Usage(9, 0, 6),
        ),
        ({"total_tokens": 9}, Usage(9, 0)),
        ({"prompt_tokens": 5.0, "completion_tokens": "7"}, Usage(5, 0)),
        ({"type": "duration", "seconds": 9}, Usage(kinds=TokenKinds(audio_seconds=9.0))),
        ({"type": "duration", "seconds": -1}, None),
        ({"type": "duration", "seconds": True}, None),
        ({"seconds": 9}, None),
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "prompt_tokens_details": {"cached_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, 6, 94),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 11}, Usage(5, 7)),
        (
            {
                "prompt_tokens": 1100,
                "completion_tokens": 600,
                "prompt_tokens_details": {"audio_tokens": 1000, "cached_tokens": 0},
                "completion_tokens_details": {"audio_tokens": 500},
            },
            Usage(1100, 600, kinds=TokenKinds(audio_input_tokens=1000, audio_output_tokens=500)),
        ),
        (
            {
                "input_tokens": 20000,
                "output_tokens": 100,
                "input_tokens_details": {"cached_tokens": 8000, "cache_write_tokens": 11000},
            },
            Usage(20000, 100, 8000, kinds=TokenKinds(cache_write_tokens=11000)),
        ),
        (
            {
                "input_tokens": 50,
                "output_tokens": 4160,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
            },
            Usage(50, 4160, kinds=TokenKinds(image_output_tokens=4160)),
        ),
        (
            {
                "input_tokens": 1050,
                "output_tokens": 4170,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 1000},
                "output_tokens_details": {"text_tokens": 10, "image_tokens": 4160},
            },
            Usage(1050, 4170, kinds=TokenKinds(image_input_tokens=1000, image_output_tokens=4160)),
        ),
        (
            {
                "input_tokens": 200,
                "output_tokens": 30,
                "input_token_details": {
                    "text_tokens": 50,
                    "audio_tokens": 150,
                    "cached_tokens": 120,
                    "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 100},
                },
                "output_token_details": {"text_tokens": 10, "audio_tokens": 20},
            },
            Usage(
                200,
                30,
                120,
                kinds=TokenKinds(audio_input_tokens=150, audio_output_tokens=20, audio_cached_tokens=100),
            ),
        ),
        (
            {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"image_tokens": 40}},
            Usage(50, 7, kinds=TokenKinds(image_input_tokens=40)),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"image_tokens": 0}},
            Usage(5, 7),
        ),
        ({"prompt_tokens": True, "completion_tokens": -1}, None),
        ({"prompt_tokens": 1e300}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_objects(usage, expected):
    """The objects of all APIs are read, and nonsense counts nothing."""
    assert maybe_usage(usage) == expected


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


COUNTS = st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)})
DETAILED = COUNTS.map(lambda each: {**each, "prompt_tokens_details": {"cached_tokens": 1}})
BESIDE = st.sampled_from(
    [
        {"system_fingerprint": "fp"},
        {"x": {"usage": {"prompt_tokens": 77}}},
        {"x": [{"usage": {"prompt_tokens": 77}}]},
        {"s": 'a "usage":{"prompt_tokens":77}'},
        {"s": "}"},
        {"s": "]"},
        {"s": {}},
        {},
    ]
)

LAST = st.sampled_from([{}, {"service_tier": "default"}, {"system_fingerprint": "fp"}]) | BESIDE


def test_usage_at_the_end_is_that_of_the_whole_document():
    """Read from its bytes only, with anything before and after it, in strings and other objects too."""
    with Taken() as note:

        @given(BESIDE, COUNTS | DETAILED | COUNTS | DETAILED | st.none(), LAST, st.sampled_from(["", "\n"]))
        def check(before, usage, after, around):
            document = {"choices": [{"message": {"content": "hi"}}], **before, "usage": usage}
            document |= {f"z{name}": value for name, value in after.items()}
            body = (around + json.dumps(document, separators=(",", ":")) + around).encode()
            end = body[body.rfind(b'"usage":') :]
            note(usage is not None and end.count(b"}") <= end.count(b"{") + 1 and b"]" not in end)
            assert usage_of_document(body) == maybe_usage(usage)

        check()
