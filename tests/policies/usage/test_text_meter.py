"""Texts are measured, however they are cut."""

import json

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.usage.text_meter import _FEWEST_PLAIN, TextMeter, _without_plain_deltas

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


@given(st.lists(st.text(st.sampled_from('ab"\\\n }é'), max_size=4), min_size=4, max_size=9))
def test_plain_chats_take_the_short_way(texts):
    """A role first, then texts, then an end: all but the last text are measured at once, and it adds up to the same."""
    parts = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts), {}]
    stream = b"".join(
        b"data: %b\n\n" % json.dumps({"choices": [{"delta": part}]}, separators=(",", ":")).encode()
        for part in parts
    )
    size_bytes, rest = _without_plain_deltas(stream)
    sizes = [len(json.dumps(text)) - 2 for text in texts]
    taken = len(texts) - 1 >= _FEWEST_PLAIN
    assert size_bytes == (sum(sizes[:-1]) if taken else 0)
    assert (rest == stream) is not taken
    meter = TextMeter()
    meter.feed(stream)
    assert meter.size_bytes == sum(sizes)
